"""A command under guard.py, from the caller's side: its output line by line, a deadline, and an end that leaves nothing."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import trainyard_shell as shell

GUARD = Path(__file__).with_name("guard.py")
MAX_LINE_BYTES = 64 << 10
GRACE_S = 5.0
ENDING_S = 45.0
"""Grace of the command, and the clean-up's own deadline."""
RUNNING: set[Guarded] = set()
LOCK = threading.Lock()
_stopped = threading.Event()


@dataclass(eq=False)
class Guarded:
    """One running command."""

    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)

    def stop(self) -> None:
        """Ask the guard to end the command and clean up."""
        with contextlib.suppress(OSError, ValueError):
            assert self.process.stdin is not None
            self.process.stdin.close()


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    seconds: float
    timed_out: bool


def run(
    command: Sequence[str],
    on_line: Callable[[str], None],
    *,
    timeout_s: float,
    env: Mapping[str, str] | None = None,
    cleanup: Sequence[Sequence[str]] = (),
    orphaned: Sequence[Path] = (),
) -> Ended:
    """Runs it to its end; `on_line` gets each line. `cleanup` is run at the end, whatever that is, and what is
    `orphaned` is removed if this process is killed.

    Raises SkillError dependency where no process can be started, timeout where `stop_all` ended it.
    """
    spec = {
        "command": list(command),
        "cleanup": [list(each) for each in cleanup],
        "orphaned": [str(each) for each in orphaned],
        "grace_s": GRACE_S,
    }
    running = _start(spec, {**os.environ, **(env or {})})
    timer = threading.Timer(timeout_s, running.stop)
    timer.daemon = True
    timer.start()
    try:
        _read(running, on_line)
        code = running.process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        code = 124
    finally:
        timer.cancel()
        running.stop()
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(ENDING_S)
        with LOCK:
            RUNNING.discard(running)
    seconds = time.monotonic() - running.started
    if _stopped.is_set():
        raise shell.SkillError("timeout", "interrupted", hint="the same call", retryable=True)
    return Ended(code, seconds, seconds >= timeout_s)


def _start(spec: dict[str, object], env: Mapping[str, str]) -> Guarded:
    words = [sys.executable, "-I", "-S", str(GUARD)]
    try:
        process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
    except OSError as error:
        raise shell.SkillError(
            "dependency", f"{sys.executable} cannot be started: {error.strerror}", hint="the same call"
        ) from error
    running = Guarded(process)
    with LOCK:
        RUNNING.add(running)
    with contextlib.suppress(OSError):
        assert process.stdin is not None
        process.stdin.write(json.dumps(spec).encode() + b"\n")
        process.stdin.flush()
    if _stopped.is_set():
        running.stop()
    return running


def _read(running: Guarded, on_line: Callable[[str], None]) -> None:
    output = running.process.stdout
    assert output is not None
    with output:
        while line := output.readline(MAX_LINE_BYTES):
            on_line(line.decode("utf-8", "replace").rstrip("\r\n"))


def stop_all() -> None:
    """After Ctrl-C: every command of this process ends, and none begins."""
    _stopped.set()
    with LOCK:
        running = list(RUNNING)
    for each in running:
        each.stop()
