"""The one way to stdout and stderr: whatever becomes of them, neither the runtime nor the script fails over a line of text.

A closed pipe (`python train.py | tee log` and Ctrl-C, which ends tee as well), a full disk behind a redirection, a descriptor that is
closed: with Python's own streams the next `print` raises, and so does the flush at exit, which turns any exit code into 120. After
`guard()` such text is lost instead. A reader that lives and does not read holds the training for PATIENCE_S, less than the time after
which the other ranks give this one up; from then on text is dropped until it reads again.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
from typing import Any, TextIO

PATIENCE_S = 30.0
ATOMIC_BYTES = select.PIPE_BUF
"""What a descriptor that polls as writable takes without blocking (pipe(7))."""


def say(text: str) -> None:
    """A line on stdout."""
    _put(sys.stdout, text)


def warn(text: str) -> None:
    """A line on stderr."""
    _put(sys.stderr, text)


def warn_from_handler(text: str) -> None:
    """A line on stderr from a signal handler, which may have interrupted a print: no buffers, and no waiting for a reader."""
    descriptor = _descriptor(sys.stderr) or _descriptor(sys.__stderr__)
    if descriptor is None:
        return
    with contextlib.suppress(OSError):
        if _is_writable(descriptor, timeout_s=0):
            os.write(descriptor, f"{text}\n".encode(errors="backslashreplace"))


def guard(patience_s: float = PATIENCE_S) -> None:
    """Make the process's own stdout and stderr unable to raise, for the script's prints too; a second call changes nothing.

    Streams that a script has put in their place (a notebook's, a test's) are its own, and stay. Never undone: the flush at exit
    comes last of all.
    """
    _occupy_closed_descriptors()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        raw = getattr(getattr(stream, "buffer", None), "raw", getattr(stream, "buffer", None))  # no buffer under `python -u`
        if type(stream) is io.TextIOWrapper and type(raw) is io.FileIO and not stream.closed:
            own = _guarded(stream, raw, patience_s)
            setattr(sys, name, own)
            for method in ("write", "writelines", "flush"):  # progress bars and log handlers that have the old one already
                setattr(stream, method, getattr(own, method))


def _guarded(stream: io.TextIOWrapper, raw: io.FileIO, patience_s: float) -> io.TextIOWrapper:
    with contextlib.suppress(OSError):
        stream.flush()
    own = GuardedFile(raw.fileno(), raw.name, patience_s)
    buffer: Any = own if stream.buffer is raw else io.BufferedWriter(own)
    return io.TextIOWrapper(
        buffer,
        encoding=stream.encoding,
        errors="backslashreplace" if stream.errors == "strict" else stream.errors,
        newline="\n",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class GuardedFile(io.FileIO):
    """A descriptor whose `write` never fails and takes everything: what cannot be written is dropped."""

    def __init__(self, descriptor: int, name: Any, patience_s: float) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.name, self._patience_s = name, patience_s
        self._is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._gave_up = False
        """The reader did not read for `patience_s`; until it does, nobody waits for it again."""
        self._written, self._lost = b"\n", b""
        """The last byte that was written, and of what was lost since: lines are lost whole, though they come in pieces."""

    def write(self, data: Any) -> int:
        size = memoryview(data).nbytes
        left = self._whole_lines(bytes(data))
        try:
            while left and (self._is_file or self._wait_for_reader()):
                left = self._write_some(left)
        except OSError as error:
            if error.errno in (errno.EPIPE, errno.ECONNRESET):
                _discard(self.fileno())
        self._lost = left[-1:] or self._lost
        return size

    def _whole_lines(self, data: bytes) -> bytes:
        """`data` without the rest of a line whose beginning was lost, on a line of its own."""
        if self._lost not in (b"", b"\n"):
            _, newline, data = data.partition(b"\n")
            self._lost = newline or self._lost
        return b"\n" + data if data and self._lost and self._written != b"\n" else data

    def _write_some(self, data: bytes) -> bytes:
        """What is left of it."""
        try:
            count = os.write(self.fileno(), data if self._is_file else data[:ATOMIC_BYTES])
        except BlockingIOError:  # somebody else was faster at filling a pipe that does not block
            return data
        self._written, self._lost = data[count - 1 : count], b""
        return data[count:]

    def _wait_for_reader(self) -> bool:
        self._gave_up = not _is_writable(self.fileno(), timeout_s=0 if self._gave_up else self._patience_s)
        return not self._gave_up


def _is_writable(descriptor: int, *, timeout_s: float) -> bool:
    """True also where a write fails at once, False where it would block for longer than that."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(timeout_s * 1000))


def _discard(descriptor: int) -> None:
    """/dev/null in the place of a pipe that nobody reads any more: for C code and for the children of this process too."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, descriptor)
        os.close(null)


def _occupy_closed_descriptors() -> None:
    """/dev/null where 0, 1 or 2 is closed (`>&-`): the next file opened, maybe a shard, would get all that C code prints."""
    with contextlib.suppress(OSError):
        while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
            os.set_inheritable(descriptor, True)
        os.close(descriptor)


def _descriptor(stream: TextIO | None) -> int | None:
    try:
        return None if stream is None else stream.fileno()
    except (AttributeError, OSError, ValueError):  # no file, or closed
        return None


def _put(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(f"{text}\n")
        stream.flush()
    except UnicodeEncodeError:
        _put(stream, text.encode("ascii", "backslashreplace").decode())
    except Exception:  # a stream that a script put there is anybody's code, and a line of text is no reason to end a training
        return
