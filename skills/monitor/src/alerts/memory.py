"""Which occurrences a receiver has been told of, kept across calls: `watch` ends and is called again, and nobody wants the same twice."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import trainyard_shell as shell
from trainyard_files import Unusable, read_object, replace_file

LOCK_POLL_S = 0.1


class Memory:
    """One file for each run and receiver; where it cannot be kept, it is remembered as long as this process lives."""

    def __init__(self, run: str, receiver: str) -> None:
        home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
        name = hashlib.sha256(f"{run}\n{receiver}".encode()).hexdigest()[:24]
        self.path = Path(home) / "trainyard" / "alerts" / f"{name}.json"
        self._told: dict[str, str] = {}
        self._complained = False
        self._lock = threading.Lock()
        self._read()

    def knows(self, kind: str, key: str) -> bool:
        with self._lock:
            self._read()
            return self._told.get(kind) == key

    def tell(self, kind: str, key: str) -> None:
        with self._lock:
            self._read()
            self._told[kind] = key
            self._write()

    def forget(self, kinds: frozenset[str]) -> None:
        """What is over may occur again."""
        with self._lock:
            if kinds & self._told.keys():
                self._told = {kind: key for kind, key in self._told.items() if kind not in kinds}
                self._write()

    @contextlib.contextmanager
    def alone(self, timeout_s: float) -> Iterator[None]:
        """One watcher at a time asks and tells; without the lock after `timeout_s`, for an alert twice is better than none."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._complain(error)
            yield
            return
        try:
            deadline = time.monotonic() + timeout_s
            while not _locked(handle) and time.monotonic() < deadline:
                time.sleep(LOCK_POLL_S)
            yield
        finally:
            os.close(handle)

    def _read(self) -> None:
        try:
            found = read_object(self.path)
        except (OSError, Unusable):
            return
        if found is not None:
            self._told = {str(kind): str(key) for kind, key in found.items()}

    def _write(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(self.path, json.dumps(self._told).encode())
        except OSError as error:
            self._complain(error)

    def _complain(self, error: OSError) -> None:
        if not self._complained:
            shell.progress(f"what was alerted cannot be kept ({error}): another watch may send it again")
        self._complained = True


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
