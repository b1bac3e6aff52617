"""What the coordinator tells about the run: runner.json and events.jsonl in the run folder (shared-docs/run-folder.md).

It lies on the checkpoint volume, so a coordinator on another machine goes on counting. Without a run folder nothing is written.
Telemetry must not end a run: what cannot be written is said once on stderr.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainyard.files import write_atomically

RUNNING = "running"
"""A run that was left in this state lost its coordinator in mid-run. What was gathering or backing off is counted already."""


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
        old = _read(folder / "runner.json") if folder else {}
        old = old if old.get("run_id") == run_id else {}
        state, pod, submission = old.get("state"), os.environ.get("TRAINYARD_POD_UID"), os.environ.get("TRAINYARD_SUBMISSION")
        by_user = submission is not None and submission != old.get("submission")
        same = (submission is not None and not by_user) or (pod is not None and old.get("pod") == pod)
        restarts = 0 if by_user or (state in ("failed", "finished") and not same) else int(old.get("restarts", 0))
        restarts += not by_user and state == RUNNING
        given_up = old.get("reason") or "given up" if state == "failed" and same else None
        if state == RUNNING and restarts > max_restarts:
            given_up = f"node 0 died again; max_restarts ({max_restarts}) is used up"
        document = {
            "format": 1,
            "run_id": run_id,
            "name": folder.name.rpartition("-")[0] if folder else "",
            "state": "starting",
            "reason": None,
            "supervisor": None,  # a process of another machine: nobody who reads this could look at it
            "launcher": None,
            "nodes": nodes,
            "attempt": int(old.get("attempt", 0)),
            "restarts": restarts,
            "max_restarts": max_restarts,
            "exit_code": None,
            "submission": submission,
            "pod": pod,
            "started": old.get("started") or time.time(),
            "ended": None,
            "log": None,
            "stop_requested": None,
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

    def next_attempt(self) -> None:
        attempt = self.attempt + self.begun
        self.begun = True
        self.save(state="running", reason=None, stop_requested=None, attempt=attempt)
        self.event("attempt", attempt=attempt, pid=None)

    def save(self, **changes: Any) -> None:
        self.document |= changes
        self._try(lambda folder: write_atomically(folder / "runner.json", json.dumps(self.document).encode(), durably=False))

    def event(self, type: str, **fields: Any) -> None:
        line = json.dumps({"time": time.time(), "type": type, "source": "runner", **fields}) + "\n"

        def append(folder: Path) -> None:
            with (folder / "events.jsonl").open("ab", buffering=0) as file:
                file.write(line.encode())  # one write: the trainer appends to the same file

        self._try(append)

    def _try(self, write: Any) -> None:
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write(self.folder)
        except OSError as error:
            if not self._complained:
                self._complained = True
                print(
                    f"trainyard: {self.folder} cannot be written ({error.strerror}); the job goes on",
                    file=sys.stderr,
                    flush=True,
                )


def _read(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
