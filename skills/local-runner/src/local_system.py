"""What the supervisor asks of the kernel: signals as messages, children that cannot outlive it. Standard library only."""

from __future__ import annotations

import ctypes
import functools
import os
import pwd
import select
import signal
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
STOP, STOP_NOW = signal.SIGUSR1, signal.SIGUSR2
MESSAGES = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, STOP, STOP_NOW}
SIGSET_BYTES = 128
RESET = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")


def become_supervisor() -> None:
    """Signals are queued for `next_message` from now on; whoever loses its parents becomes our child."""
    signal.pthread_sigmask(signal.SIG_BLOCK, MESSAGES)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the terminal of our caller is none of our business
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def next_message(timeout_s: float, handles: Iterable[int] = ()) -> signal.struct_siginfo | None:
    """The next signal, or None after `timeout_s` or as soon as one of the descriptors `handles` is readable."""
    if not (waiting := list(handles)):
        return signal.sigtimedwait(MESSAGES, max(0.0, timeout_s))
    poll = select.poll()
    for handle in (_signals_waiting(), *waiting):
        poll.register(handle, select.POLLIN)
    poll.poll(max(0.0, timeout_s) * 1000)
    return signal.sigtimedwait(MESSAGES, 0)


@functools.cache
def _signals_waiting() -> int:
    """A descriptor that is readable while one of MESSAGES is pending (signalfd(2)); nobody reads it."""
    mask = ctypes.create_string_buffer(SIGSET_BYTES)
    _libc.sigemptyset(mask)
    for number in MESSAGES:
        _libc.sigaddset(mask, number)
    handle = _libc.signalfd(-1, mask, os.O_CLOEXEC | os.O_NONBLOCK)  # SFD_CLOEXEC and SFD_NONBLOCK have these values
    if handle < 0:
        raise OSError(ctypes.get_errno(), "signalfd failed")
    return int(handle)


def user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's user without an entry
        return f"uid {uid}"


def _prepare_child(supervisor_pid: int) -> Callable[[], None]:
    def prepare() -> None:
        # SIGTERM, not SIGKILL: torchrun then ends its workers, which are sessions of their own and would train on.
        _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != supervisor_pid:  # the supervisor died before the line above
            os._exit(1)
        for number in RESET:  # "ignored" is inherited, from a caller that ran us in the background
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, MESSAGES)

    return prepare


def start(arguments: list[str], *, env: dict[str, str], cwd: str, log: Path) -> subprocess.Popen[bytes]:
    """Start the launcher: a session of its own, both outputs appended to `log`, nothing inherited. Raises OSError."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        return subprocess.Popen(
            arguments,
            env=env,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=_prepare_child(os.getpid()),  # safe: the supervisor has one thread
        )


def reap(launcher: subprocess.Popen[bytes] | None) -> None:
    """Collect every child that has ended: the launcher's exit code, and the orphans that came to us."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if launcher is not None and pid == launcher.pid:
            launcher.returncode = os.waitstatus_to_exitcode(status)
