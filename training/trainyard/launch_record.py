"""What the coordinator tells about the run: runner.json and events.jsonl in the run folder (shared-docs/run-folder.md).

It lies on the checkpoint volume, so a coordinator on another machine goes on counting. Without a run folder nothing is written.
Telemetry must not end a run: what cannot be written is said once. What was edited or damaged is as if it were not there; what
cannot be read is waited for, and then ends this container, for a count that begins anew would have no end.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainyard.fence import why_overtaken
from trainyard.files import make_run_folder, read_json_bounded, write_atomically
from trainyard.whose import reason

RUNNING = "running"
"""A run that was left in this state lost its coordinator in mid-run. What was gathering or backing off is counted already."""
STATES = ("starting", RUNNING, "backing-off", "stopping", "finished", "failed", "stopped")
MAX_COUNT = 2**31 - 1
UNREADABLE_S = 10.0
TERMINATION_LOG = Path("/dev/termination-log")
"""The kubelet makes it, and shows what is in it in the status of the pod: the one record that needs no volume to be read."""
MAX_REASON_CHARS = 1000


def say(text: str) -> None:
    """A line on stdout; a pipe that nobody reads, or a full disk behind it, costs the line. Not through sys.stdout: what that cannot
    write it keeps, and fails with at exit."""
    with contextlib.suppress(OSError):
        os.write(1, f"trainyard: {text}\n".encode("utf-8", "replace"))


@dataclass
class Record:
    folder: Path | None
    run_id: str
    max_restarts: int
    document: dict[str, Any] = field(default_factory=dict)
    begun: bool = False
    """Whether `attempt` is one that was started, or the number of the first."""
    given_up: str | None = None
    """Why there is no further attempt: an earlier launcher of this submission gave up, or node 0 died once too often."""
    _complained: bool = False

    @classmethod
    def begin(cls, folder: Path | None, run_id: str, max_restarts: int, *, nodes: int) -> Record:
        """Goes on from what an earlier coordinator of this run wrote: attempts count on, and one that died in mid-run is a restart.

        What the user submits again (another TRAINYARD_SUBMISSION) has a fresh budget of restarts.
        """
        old = _read(folder / "runner.json", run_id) if folder else {}
        state, pod, submission = old.get("state"), os.environ.get("TRAINYARD_POD_UID"), os.environ.get("TRAINYARD_SUBMISSION")
        by_user = submission is not None and submission != old.get("submission")
        same = (submission is not None and not by_user) or (pod is not None and old.get("pod") == pod)
        restarts = 0 if by_user or (state in ("failed", "finished") and not same) else int(old.get("restarts", 0))
        last_failure = old.get("last_failure")
        given_up = old.get("reason") or "given up" if state == "failed" and same else None
        if state == RUNNING and not by_user and restarts >= max_restarts:
            given_up = f"the launcher of node 0 was killed; max_restarts ({max_restarts}) is used up"
        elif state == RUNNING and not by_user:
            restarts += 1
            last_failure = "the launcher of node 0 was killed"
        document = {
            "format": 1,
            "run_id": run_id,
            "name": folder.name.rpartition("-")[0] if folder else "",
            "state": "starting",
            "reason": None,
            "supervisor": None,  # a process of another machine: nobody who reads this could look at it
            "launcher": None,
            "nodes": nodes,
            "attempt": old.get("attempt", 0),
            "restarts": restarts,
            "max_restarts": max_restarts,
            "last_failure": last_failure,
            "exit_code": None,
            "submission": submission,
            "pod": pod,
            "started": old.get("started") or time.time(),
            "ended": None,
            "log": None,
            "stop_requested": None,
            "longest_pause_s": old.get("longest_pause_s"),
        }
        record = cls(folder, run_id, max_restarts, document, begun="attempt" in old, given_up=given_up)
        record.save()
        return record

    @property
    def attempt(self) -> int:
        return int(self.document["attempt"])

    @property
    def restarts(self) -> int:
        return int(self.document["restarts"])

    @property
    def longest_pause_s(self) -> float:
        """Seconds without a step that this run came out of by itself, over all attempts."""
        value = self.document["longest_pause_s"]
        return float(value) if type(value) in (int, float) and 0 <= value < 1e9 else 0.0

    def next_attempt(self) -> None:
        attempt = self.attempt + self.begun
        self.begun = True
        self.save(state="running", reason=None, stop_requested=None, attempt=attempt)
        self.event("attempt", attempt=attempt, pid=None)

    def overtaken(self) -> str | None:
        """Why nothing may be started or written any more: a later attempt of this run has begun, and the records are its own."""
        checkpoints = os.environ.get("TRAINYARD_CHECKPOINTS")
        return why_overtaken(Path(checkpoints)) if checkpoints else None

    def save(self, **changes: Any) -> None:
        self.document |= changes
        self._try(lambda folder: write_atomically(folder / "runner.json", json.dumps(self.document).encode(), durably=False))

    def end(self, state: str, reason: str, exit_code: int) -> None:
        self.save(state=state, reason=reason, exit_code=exit_code, ended=time.time())
        self.event("run-ended", state=state, exit_code=exit_code, reason=reason)
        tell_kubernetes(state, self.restarts, reason)

    def event(self, type: str, **fields: Any) -> None:
        line = json.dumps({"time": time.time(), "type": type, "source": "runner", **fields}) + "\n"

        def append(folder: Path) -> None:
            with (folder / "events.jsonl").open("ab", buffering=0) as file:
                file.write(line.encode())  # one write: the trainer appends to the same file

        self._try(append)

    def _try(self, write: Callable[[Path], None]) -> None:
        if self.folder is None or self.overtaken():
            return
        try:
            make_run_folder(self.folder)
            write(self.folder)
        except OSError as error:
            if not self._complained:
                self._complained = True
                say(f"{self.folder} cannot be written ({reason(error)}); the job goes on")


def tell_kubernetes(state: str, restarts: int, reason: str) -> None:
    """The end, for whoever reads the status of this pod."""
    with contextlib.suppress(OSError):
        if TERMINATION_LOG.is_file():
            told = {"state": state, "restarts": restarts, "reason": reason[:MAX_REASON_CHARS]}
            TERMINATION_LOG.write_text(json.dumps({"trainyard": told}))


def _read(path: Path, run_id: str) -> dict[str, Any]:
    """What a coordinator of this run wrote; {} for anything else. Raises OSError where it stays unreadable."""
    deadline = time.monotonic() + UNREADABLE_S
    while True:
        try:
            document = read_json_bounded(path)
            break
        except OSError as error:
            if time.monotonic() > deadline:
                raise
            say(f"{path} cannot be read ({reason(error)}); trying again")
            time.sleep(1)
    return document if document is not None and document.get("run_id") == run_id and _is_whole(document) else {}


def _is_whole(document: dict[str, Any]) -> bool:
    texts = (document.get(name) for name in ("reason", "last_failure", "submission", "pod"))
    counts = (document.get(name) for name in ("attempt", "restarts"))
    return (
        document.get("state") in STATES
        and all(type(count) is int and 0 <= count <= MAX_COUNT for count in counts)
        and all(text is None or isinstance(text, str) for text in texts)
        and (document.get("started") is None or _is_time(document["started"]))
    )


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11
