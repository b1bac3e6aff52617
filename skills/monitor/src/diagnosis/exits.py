"""How a process ended, as a rule: its exit code or its signal, where it said nothing itself."""

from __future__ import annotations

import signal

from diagnosis.rules import Rule, rule
from diagnosis.torchrun_words import signal_of

BY_SIGNAL = {
    signal.SIGKILL: "exit.killed",
    signal.SIGSEGV: "exit.segfault",
    signal.SIGBUS: "exit.bus",
    signal.SIGABRT: "exit.abort",
    signal.SIGILL: "exit.illegal",
    signal.SIGINT: "python.keyboard",
}
BY_CODE = {2: "exit.usage", 126: "exit.not-executable", 127: "exit.not-found"}


def rule_of_code(code: int, of_one_rank: bool) -> Rule:
    """`of_one_rank`: it is known which; a launcher that is told to end is another matter than a rank that is."""
    number = signal_of(code)
    if number == signal.SIGTERM:
        return rule("exit.signal" if of_one_rank and code < 0 else "exit.term")
    if number is not None:
        return rule(BY_SIGNAL.get(signal.Signals(number), "exit.signal") if number in set(signal.Signals) else "exit.signal")
    return rule(BY_CODE.get(code, "exit.code"))
