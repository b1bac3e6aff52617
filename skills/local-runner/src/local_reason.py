"""Exit codes and signals in plain text. Standard library only."""

from __future__ import annotations

import signal

SIGNAL_HINTS: dict[int, str] = {
    signal.SIGKILL: "somebody's kill -9, or the kernel when memory ran out",
    signal.SIGSEGV: "a crash in native code",
    signal.SIGBUS: "often /dev/shm or the disk is full",
    signal.SIGABRT: "native code gave up: a failed assertion or a communication time-out",
    signal.SIGTERM: "somebody asked it to stop",
    signal.SIGINT: "somebody pressed Ctrl-C",
    signal.SIGILL: "this processor lacks an instruction that the build uses",
}
EXIT_HINTS: dict[int, str] = {
    1: "an error; the log has it",
    2: "wrong arguments, or a script that is not there",
    126: "found but not executable",
    127: "command not found",
    143: "stopped by SIGTERM before the work was finished",
}


def signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "an unknown signal"


def explain(exit_code: int) -> str:
    """`exited with 1 (an error; the log has it)`; a negative code is a signal, as subprocess counts."""
    if exit_code < 0:
        hint = SIGNAL_HINTS.get(-exit_code)
        return f"killed by {signal_name(-exit_code)} ({-exit_code})" + (f": {hint}" if hint else "")
    hint = EXIT_HINTS.get(exit_code)
    if hint is None and 128 < exit_code <= 128 + signal.SIGRTMAX:
        hint = f"a child was killed by {signal_name(exit_code - 128)}"
    return f"exited with {exit_code}" + (f" ({hint})" if hint else "")
