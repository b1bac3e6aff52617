"""The ledger: a run's attempts, each with its cause and the steps that it gained, and whether another start can help.

The same root without progress is not tried for ever: once more where its cause is certain and lies in the job, three times more
where it may go away by itself. A run that fails at the same step each time meets the same batch each time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from diagnosis.case import Case
from diagnosis.case_reading import read_case
from diagnosis.choosing import Diagnosis, diagnose
from diagnosis.evidence import Evidence
from diagnosis.rules import rule
from diagnosis.run_history import Attempt

CERTAIN_LIMIT, GENERAL_LIMIT = 1, 3
"""Repetitions that are one too many, of a confirmed root and of any other (as NVRx' restart_agent has it)."""
MAX_READ = 20
"""Attempts whose logs are read, the newest."""
CERTAIN = frozenset(
    [
        "script-error",
        "assertion",
        "bad-option",
        "module-missing",
        "command-not-found",
        "gpu-oom",
        "file-missing",
        "file-permission",
        "checkpoint-mismatch",
        "bad-batch",
        "collective-mismatch",
        "disk-full",
        "memlock",
        "driver-mismatch",
        "image-platform",
        "image-missing",
        "nan-loss",
        "segfault",
    ]
)
BY_DATA = frozenset(
    ["script-error", "assertion", "nan-loss", "loader-death", "segfault", "gpu-xid", "bad-option", "file-missing"]
)
"""What one sample can do; of others (memory, a signal) the same step means it only when it happens three times."""
MEMORY = frozenset(("gpu-oom", "host-oom"))


@dataclass(frozen=True)
class Entry:
    attempt: Attempt
    found: Diagnosis
    case: Case

    @property
    def signature(self) -> tuple[str, str]:
        return self.found.cause, re.sub(r"0x[0-9a-f]+|\d+", "0", self.found.root.text[-200:])

    @property
    def failed(self) -> bool:
        return self.found.cause not in ("none", "stopped-by-user", "agreed-stop")


MISTAKE = re.compile(
    r"\b(?:Name|UnboundLocal|Attribute|Type|Import|ModuleNotFound|Syntax|Indentation|Tab|NotImplemented)Error\b"
)
"""Of the program, whatever the data of that step are."""


@dataclass(frozen=True)
class Verdict:
    restart: str
    why: str
    repeats: int = 0


def entries_of(evidence: Evidence, case: Case) -> list[Entry]:
    """Of the newest attempts, the oldest first."""
    attempts = case.history.attempts[-MAX_READ:] if case.history else []
    cases = [(each, case if each is case.attempt else read_case(evidence, each.number)) for each in attempts]
    return [Entry(each, diagnose(read), read) for each, read in cases]


def verdict_of(entries: list[Entry]) -> Verdict:
    """What another start would bring, by all that was tried."""
    newest = entries[-1]
    if not newest.failed:
        return Verdict(newest.found.restart, f"the newest attempt: {newest.found.root.rule.title}")
    if same := same_step(entries):
        return Verdict("STOP", f"{same} attempts failed after step {newest.attempt.last_step} in the same way", same - 1)
    repeats = _repeats(entries)
    certain = newest.found.cause in CERTAIN and newest.found.root.uncaught
    limit = CERTAIN_LIMIT if certain else GENERAL_LIMIT
    if newest.found.restart == "STOP":
        return Verdict("STOP", newest.found.root.rule.title, repeats)
    if repeats >= limit:
        return Verdict("STOP", f"the same cause {repeats + 1} times without a step gained (limit {limit + 1})", repeats)
    return Verdict(newest.found.restart, f"{repeats} of {limit} repetitions without progress", repeats)


def _repeats(entries: list[Entry]) -> int:
    """How often the newest root has come again without a step gained since it came first."""
    count = 0
    for newer, older in zip(reversed(entries), reversed(entries[:-1]), strict=False):
        if not older.failed or older.signature[0] != newer.signature[0] or newer.attempt.gained > 0:
            break
        count += 1
    return count


def same_step(entries: list[Entry]) -> int:
    """How many of the newest attempts ended after the same step in the same way; 0 where that proves nothing."""
    newest = entries[-1]
    if newest.attempt.last_step is None or not newest.failed:
        return 0
    count = 1
    for older in reversed(entries[:-1]):
        if not older.failed or older.attempt.last_step != newest.attempt.last_step or older.signature != newest.signature:
            break
        count += 1
    needed = 2 if newest.found.cause in BY_DATA | MEMORY else 3
    return count if count >= needed else 0


def with_history(evidence: Evidence, case: Case, found: Diagnosis) -> Diagnosis:
    """The diagnosis of the newest attempt in the light of those before: the same step every time is a cause of its own."""
    attempts = case.history.attempts if case.history else []
    at = next((number for number, each in enumerate(attempts) if each is case.attempt), 0)
    if (
        at == 0
        or found.cause in ("none", "stopped-by-user", "agreed-stop")
        or case.attempt is None
        or case.attempt.last_step is None
    ):
        return found
    older = [each for each in attempts[max(0, at - 2) : at] if each.last_step == case.attempt.last_step]
    if not older:
        return found
    entries = [Entry(each, diagnose(read := read_case(evidence, each.number)), read) for each in older]
    if not same_step([*entries, Entry(case.attempt, found, case)]):
        return found
    if found.cause in MEMORY or MISTAKE.search(found.root.text):
        return replace(found, restart="STOP")
    root = replace(found.root, rule=rule("run.same-step"))
    return replace(found, root=root, restart="STOP", others=[found.root, *found.others])
