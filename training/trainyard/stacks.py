"""Python's stacks of a rank, written by the rank itself when somebody asks. Without torch.

faulthandler writes them in the signal's handler, in C: also while the main thread waits in native code, where a handler in Python would
run only after the wait. Nobody needs rights to look into the process (ptrace, exec in a pod): whoever may read the run folder may read.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import secrets
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from trainyard.files import make_run_folder
from trainyard.hang_files import MAX_STACKS_BYTES, flight_file, stacks_file

ASKS = signal.SIGUSR2
"""Nobody else's in a rank: local-runner has it for its supervisor, trainyard.launch passes it on, hyperpodrun stops with SIGUSR1."""
KEPT_ATTEMPTS = 3
"""So many attempts' files of a rank stay."""
KEPT_BYTES = MAX_STACKS_BYTES // 4


@dataclass(frozen=True)
class Own:
    """The file that this process writes when it is asked."""

    pid: int
    path: Path
    descriptor: int
    head_bytes: int


_own: Own | None = None


def print_when_asked() -> None:
    """From now on SIGUSR2 makes this process write the stacks of all its threads, also while it waits in native code.

    Into its file in the run folder (hang_files.py); on stderr where that cannot be had. Only in a run of Trainyard, and never in place of
    a handler of the script's own, which is not called either: it may mean a stop. A second call changes nothing.
    """
    global _own
    if not os.environ.get("TRAINYARD_RUN_ID") or _is_taken():
        return
    own = _open()
    with contextlib.suppress(AttributeError, OSError, RuntimeError, ValueError):  # stderr is not a file: a notebook, a test
        if own is None:
            faulthandler.register(ASKS, all_threads=True)
        else:
            faulthandler.register(ASKS, file=own.descriptor, all_threads=True)
            _own = own


def own_file() -> Own | None:
    """Of this process, and not of the one that it was forked from."""
    return _own if _own is not None and _own.pid == os.getpid() else None


def give_back() -> None:
    """The signal has another handler by now, or is to have one: whoever asks must not send it any more."""
    global _own
    own, _own = own_file(), None
    if own is not None:
        if signal.getsignal(ASKS) == signal.SIG_DFL:  # faulthandler's is not seen there, so this is still ours
            faulthandler.unregister(ASKS)
        with contextlib.suppress(OSError):
            own.path.unlink()


def cut(own: Own) -> None:
    """Keep the beginning and the end of a file that has grown long."""
    size = os.fstat(own.descriptor).st_size
    if size <= MAX_STACKS_BYTES:
        return
    end = os.pread(own.descriptor, KEPT_BYTES, size - KEPT_BYTES)
    os.ftruncate(own.descriptor, own.head_bytes)
    os.write(own.descriptor, b"[... cut ...]\n" + end.partition(b"\n")[2])


def number(name: str) -> int:
    """A variable that a launcher sets; 0 where it is not there, or no number."""
    text = os.environ.get(name, "0")
    return int(text) if text.isdecimal() and len(text) < 9 else 0


def has_flight() -> bool:
    """Whether this process is to dump its flight recorder when it is asked (flight.py). `TRAINYARD_FLIGHT=off` switches it off."""
    is_off = os.environ.get("TRAINYARD_FLIGHT", "on").lower() in ("off", "0", "false", "no")
    return not is_off and number("WORLD_SIZE") > 1 and bool(os.environ.get("TRAINYARD_RUN_DIR"))


def _open() -> Own | None:
    """A new file: one that an earlier start still has open stays its own."""
    run_dir, rank, attempt = os.environ.get("TRAINYARD_RUN_DIR"), number("RANK"), number("TRAINYARD_ATTEMPT")
    if not run_dir:
        return None
    path = stacks_file(Path(run_dir), attempt, rank)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    head = (json.dumps(_head(rank)) + "\n").encode()
    try:
        make_run_folder(path.parent.parent)
        make_run_folder(path.parent)
        _forget(Path(run_dir), attempt, rank)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(part, flags, 0o640)  # the folder's mode keeps others out, and lets a volume's group in
        os.write(descriptor, head)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink()
        return None
    return Own(os.getpid(), path, descriptor, len(head))


def _head(rank: int) -> dict[str, object]:
    try:
        started = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        started = None
    who = {"rank": rank, "world_size": number("WORLD_SIZE") or 1, "pid": os.getpid(), "start_time": started}
    return {**who, "host": socket.gethostname(), "time": time.time(), "signal": ASKS.name, "flight": has_flight()}


def _forget(run_dir: Path, attempt: int, rank: int) -> None:
    """Of this rank: the dump of an earlier start of this attempt, and the files of attempts long ago."""
    old = attempt - KEPT_ATTEMPTS
    gone = [flight_file(run_dir, attempt, rank)]
    gone += [stacks_file(run_dir, old, rank), flight_file(run_dir, old, rank)] if old >= 0 else []
    for path in gone:
        with contextlib.suppress(OSError):
            path.unlink()
        with contextlib.suppress(OSError):  # not the last one in it
            if path.parent.name != f"attempt-{attempt:04d}":
                path.parent.rmdir()


def _is_taken() -> bool:
    """Whether anybody, native code too, catches or ignores the signal; so does whoever is not known to leave it alone."""
    try:
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        masks = [int(line[1], 16) for line in lines if line[0] in ("SigCgt:", "SigIgn:")]
    except (OSError, ValueError, IndexError):
        return True
    return any(mask >> (ASKS - 1) & 1 for mask in masks)
