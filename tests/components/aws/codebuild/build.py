"""One build: what BatchGetBuilds shows of it, its phases, and how it is interrupted."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.components.aws.codebuild.faults import Fault
from tests.components.aws.world import ACCOUNT

Document = dict[str, Any]


class PhaseFailed(Exception):  # a result, not an error of the stand-in
    """Ends a phase; `status` is FAILED, or FAULT where AWS itself failed."""

    def __init__(self, code: str, message: str, status: str = "FAILED") -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


class Interrupted(Exception):
    """The build was stopped, or its time is over: `status` is STOPPED or TIMED_OUT."""

    def __init__(self, status: str) -> None:
        super().__init__(status)
        self.status = status


@dataclass
class Build:
    region: str
    id: str
    """project:uuid"""
    request: Document
    """StartBuild's, for a retry."""
    settings: Document
    """The project with the overrides of this build."""
    number: int
    fault: Fault
    minute_s: float
    """How long a minute lasts, for time-outs."""
    document: Document = field(default_factory=dict)
    stop: threading.Event = field(default_factory=threading.Event)
    lock: threading.RLock = field(default_factory=threading.RLock)
    queued_at: float = field(default_factory=time.monotonic)
    running_at: float | None = None
    """time.monotonic() when it left the queue."""
    retry_limit: int = 0
    """Automatic retries that the project or the buildspec asks for."""

    @property
    def arn(self) -> str:
        return f"arn:aws:codebuild:{self.region}:{ACCOUNT}:build/{self.id}"

    @property
    def project(self) -> str:
        return self.id.partition(":")[0]

    @property
    def complete(self) -> bool:
        return bool(self.document["buildComplete"])

    def shown(self) -> Document:
        with self.lock:
            return copy.deepcopy(self.document)

    def update(self, **members: Any) -> None:
        with self.lock:
            self.document.update(members)

    def enter(self, phase: str) -> None:
        with self.lock:
            self.document["phases"].append({"phaseType": phase, "startTime": time.time()})
            self.document["currentPhase"] = phase

    def leave(self, status: str, code: str = "", message: str = "") -> None:
        """End the current phase."""
        with self.lock:
            last, now = self.document["phases"][-1], time.time()
            last |= {"phaseStatus": status, "endTime": now, "durationInSeconds": int(now - last["startTime"])}
            last["contexts"] = [{"statusCode": code, "message": message}]

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A phase from its begin to its end, which PhaseFailed and Interrupted give it."""
        self.enter(name)
        try:
            self.check()
            self.fault.strike(name, self.check)
            yield
            self.check()
        except PhaseFailed as failed:
            self.leave(failed.status, failed.code, failed.message)
            raise
        except Interrupted as interrupted:
            timed_out = ("BUILD_TIMED_OUT", "Build has timed out.") if interrupted.status == "TIMED_OUT" else ("", "")
            self.leave(interrupted.status, *timed_out)
            raise
        self.leave("SUCCEEDED")

    def check(self) -> None:
        """Raises Interrupted once the build was stopped or its time is over."""
        if self.stop.is_set():
            raise Interrupted("STOPPED")
        now, minutes = time.monotonic(), self.settings
        if self.running_at is None:
            over = now - self.queued_at > minutes["queuedTimeoutInMinutes"] * self.minute_s
        else:
            over = now - self.running_at > minutes["timeoutInMinutes"] * self.minute_s
        if over:
            raise Interrupted("TIMED_OUT")

    def begin_to_run(self) -> None:
        """It leaves the queue."""
        self.running_at = time.monotonic()

    def finish(self, status: str) -> None:
        with self.lock:
            self.enter("COMPLETED")
            self.document |= {"buildStatus": status, "buildComplete": True, "endTime": time.time()}
