"""Why an attempt ended, in plain text: exit codes, signals, and the last words of the rank that failed first.

Standard library only.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass

IN_TRAINYARD = bool(__package__)
if IN_TRAINYARD:
    from trainyard.death_words import Words
else:  # a copy beside its siblings, in the local-runner skill
    from death_words import Words

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
REASON_CHARS = 600
# What a rank says whose peer is gone, or that waited for one: the cause is elsewhere.
VICTIM = re.compile(
    r"connection (was )?(closed|reset)|closed by (remote )?peer|reset by peer|broken pipe|connectFullMesh|timed? ?out|"
    r"heartbeat|watchdog|remote process (has )?exited|ncclRemoteError|ncclInternalError|unhandled system error|"
    r"recvValue failed|failed to recv|DistNetworkError|DistStoreError|RendezvousConnectionError|RendezvousTimeoutError|"
    r"PeerLostError|another rank is gone|NCCL communicator was aborted|BrokenPipeError|ConnectionResetError|"
    r"SignalException|death signal|no part from rank",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Failure:
    """How the process that matters ended: the first rank to fail, or the command itself."""

    exit_code: int
    """Negative: -signal."""
    rank: int | None = None
    left: tuple[int, ...] = ()
    """Ranks that had ended with 0 before."""


@dataclass(frozen=True)
class Cause:
    """Why an attempt failed."""

    reason: str
    failure: Failure
    words: Words | None = None
    """What the guilty one said; None where it said nothing."""


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


def is_victim(words: Words) -> bool:
    """Whether these are the words of a rank that another one left waiting."""
    return words.is_error and any(VICTIM.search(text) for text in (words.text, words.earlier))


def find_cause(exit_code: int, seen: Failure | None, named: Failure | None, spoken: list[Words]) -> Cause:
    """Why the launcher ended with `exit_code`.

    `seen`: the first failure as the kernel told it, `named`: as torchrun's last message has it, `spoken`: the last words of
    the ranks, in their order. A rank that a signal ended wrote no traceback, so those of the others are no cause; any other
    failure is looked for among the errors that are not a victim's.
    """
    failure = seen or named or Failure(exit_code)
    errors = [words for words in spoken if words.is_error]
    guilty = [words for words in errors if not is_victim(words)]
    own = [words for words in guilty if words.rank == failure.rank]
    aborted = failure.exit_code == -signal.SIGABRT  # NCCL's watchdog ends a victim in this way
    if failure.exit_code < 0 and not (aborted and guilty):
        native = [words for words in own or guilty if not words.where and words.rank in (failure.rank, None)]
        return _cause(failure, native[-1:] or _last_line(failure, spoken))
    if failure.rank is None:
        return _cause(failure, guilty[-1:] or errors[-1:] or _last_line(failure, spoken))
    return _cause(failure, own[-1:] or guilty[:1] or _last_line(failure, spoken) or errors[:1])


def _last_line(failure: Failure, spoken: list[Words]) -> list[Words]:
    """What the one that failed may have said last, though it does not look like an error; of several ranks only a complaint."""
    lines = [words for words in spoken if not words.is_error and words.rank in (None, failure.rank)]
    return [words for words in lines if failure.rank is None or failure.exit_code < 0 or words.complains][-1:]


def _cause(failure: Failure, found: list[Words]) -> Cause:
    words = found[0] if found else None
    if words is None or not words.is_error:
        told = f'; its last line: "{words.text}"' if words and failure.exit_code > 0 else ""
        return Cause(cut(f"{_rank(failure.rank)}{explain(failure.exit_code)}{told}"), failure, words)
    of_another = words.rank not in (None, failure.rank)
    how = "failed" if of_another else explain(failure.exit_code).partition(" (")[0]
    told = words.text + (f" ({words.where})" if words.where else "") + (f"; first: {words.earlier}" if words.earlier else "")
    if is_victim(words) and failure.left:
        told += f"; {', '.join(_rank(rank).strip() for rank in failure.left)} had ended with 0 before"
    return Cause(cut(f"{_rank(words.rank if of_another else failure.rank)}{how}: {told}"), failure, words)


def _rank(rank: int | None) -> str:
    return "" if rank is None else f"rank {rank} "


def cut(text: str, limit: int = REASON_CHARS) -> str:
    """Both ends of a text that is too long: an exception line begins with its kind, and ends with what is wrong."""
    if len(text) <= limit:
        return text
    half = (limit - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
