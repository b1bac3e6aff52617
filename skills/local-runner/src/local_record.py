"""runner.json and the runner's lines in events.jsonl, written so that a full disk does not end the supervision.

The writer is whoever holds runner.lock: the supervisor, or `stop` once the supervisor is gone. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict
from typing import Any

from trainyard_files import Unusable

from local_folder import RunFolder, append_event, read_runner, write_json
from trainyard_process import Identity
from local_spec import Spec

LAST_WRITE_TRIES = 60


def note(text: str) -> None:
    """A line of supervisor.log, which may be on the full disk too."""
    with contextlib.suppress(
        OSError
    ):  # unbuffered: what a full disk refused would be tried again at the exit, and change its code
        os.write(2, f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}\n".encode(errors="replace"))


def _before(folder: RunFolder) -> dict[str, Any]:
    """What an earlier supervisor wrote; {} where that is damaged: the logs tell the attempts, and the run goes on."""
    try:
        return read_runner(folder) or {}
    except (Unusable, OSError) as error:
        note(f"goes on as if there were no runner.json: {error}")
        return {}


def spent_s(folder: RunFolder, record: dict[str, Any]) -> float:
    """Seconds of running, over all starts that `record` knows. A start that nobody ended counts up to its last output."""
    earlier, begun, ended = record.get("earlier_s") or 0.0, record.get("begun") or record.get("started"), record.get("ended")
    if begun is None:
        return float(earlier)
    until = ended or _last_output(folder) or begun
    return float(earlier) + max(0.0, float(until) - float(begun))


def _last_output(folder: RunFolder) -> float | None:
    with contextlib.suppress(OSError):
        return max((path.stat().st_mtime for path in folder.path.glob("logs/attempt-*.log")), default=None)
    return None


class RunRecord:
    """The document in runner.json; `document` is the truth, the file follows as soon as it can."""

    def __init__(self, folder: RunFolder, document: dict[str, Any]) -> None:
        self.folder, self.document = folder, document

    @classmethod
    def begin(cls, folder: RunFolder, spec: Spec, supervisor: Identity) -> RunRecord:
        """A first start, or a resumed one: attempts are counted on, the restarts begin anew."""
        before = _before(folder)
        attempts = [number for number in [*folder.attempts(), before.get("attempt")] if isinstance(number, int)]
        document = {
            "format": 1, "run_id": spec.run_id, "name": spec.name, "state": "starting", "reason": None,
            "supervisor": asdict(supervisor), "launcher": None, "attempt": max(attempts, default=-1) + 1,
            "restarts": 0, "max_restarts": spec.max_restarts, "last_failure": None, "exit_code": None,
            "started": before.get("started") or time.time(), "ended": None, "log": None, "stop_requested": None,
            "longest_pause_s": before.get("longest_pause_s"), "begun": time.time(), "earlier_s": spent_s(folder, before),
        }  # fmt: skip
        return cls(folder, document)

    def __getitem__(self, name: str) -> Any:
        return self.document[name]

    @property
    def longest_pause_s(self) -> float:
        """Seconds without a step that this run came out of by itself, over all attempts."""
        value = self.document.get("longest_pause_s")
        return float(value) if isinstance(value, int | float) and 0 <= value < 1e9 else 0.0

    def save(self, **changes: Any) -> bool:
        self.document |= changes
        try:
            write_json(self.folder.runner, self.document)
        except OSError as error:
            note(f"runner.json not written: {error}")
            return False
        return True

    def event(self, type: str, **fields: Any) -> None:
        note(f"{type} {json.dumps(fields)}")
        try:
            append_event(self.folder.events, type, **fields)
        except OSError as error:
            note(f"event not written: {error}")

    def end(self, state: str, reason: str, exit_code: int | None) -> None:
        self.event("run-ended", state=state, exit_code=exit_code, reason=reason)
        self.document |= {"state": state, "reason": reason, "exit_code": exit_code, "launcher": None}
        for _ in range(LAST_WRITE_TRIES):  # a disk that is full now may have room soon, and this word matters
            if self.save(ended=time.time()) or not self.folder.path.is_dir():
                return
            time.sleep(1)
