"""When a restart cannot help: an attempt that died as the one before did, before its first step, at the same step or at the same NaN.

Text of a log takes part in this, so it errs on the side of another restart: `max_restarts` bounds those. Standard library only.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable
from dataclasses import dataclass, replace

IN_TRAINYARD = bool(__package__)
if IN_TRAINYARD:
    from trainyard.death_cause import Cause, is_victim
    from trainyard.death_words import Words
else:  # a copy beside its siblings, in the local-runner skill
    from death_cause import Cause, is_victim
    from death_words import Words

ALIKE = 3
"""As NVIDIA's Resiliency Extension has it: the same root without progress is tried again, and given up the third time."""
YOUNG_S = 120.0
"""A script that reports nothing and shows no progress is believed to have made no step if it lived shorter than this."""
# Ends that come from outside say nothing about the next attempt.
OUTSIDE = {-signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP, 128 + signal.SIGKILL, 128 + signal.SIGTERM, 130}
PROGRESS = re.compile(
    r"\b(global_?step|steps?|iter(ation)?|epoch|batch|loss)\b\W{0,4}\d|\d%\||\b\d+/\d+\b.{0,40}(it/s|s/it|loss|\[\d)",
    re.IGNORECASE,
)
# What may be over in a minute: the network, a port, a disk or a server that is busy.
PASSING = re.compile(
    r"address already in use|connection|temporary failure|name or service not known|resource temporarily|input/output error|"
    r"stale file handle|too many open files|cannot allocate memory|unreachable|unavailable|too many requests|"
    r"max retries|HTTP\D{0,20}(429|5\d\d)|\b(429|50[0234]) (client|server) error",
    re.IGNORECASE,
)
# What differs from start to start without being another failure.
VARYING = (
    (re.compile(r"\b0x[0-9a-fA-F]+"), "ADDRESS"),
    (re.compile(r"(/tmp|/var/tmp|/dev/shm|/run)/[^\s'\",:;)]+"), "TEMPORARY"),
    (re.compile(r"\b(?=[0-9a-f-]*\d)[0-9a-f]{8}[0-9a-f-]*\b"), "ID"),
    (re.compile(r"\d+([.,:]\d+)*"), "N"),
)
NOT_FINITE = re.compile(r"\bnan\b|\binf\b|not finite|non-?finite", re.IGNORECASE)


NOTHING = "nothing"
"""The signature of an end without a word of its own."""


@dataclass(frozen=True)
class Death:
    """How an attempt ended by itself."""

    reason: str
    signature: str | None
    """See `signature`."""
    lived_s: float
    has_stepped: bool | None
    """Whether it finished a training step, as its trainers reported; None: they reported nothing."""
    shows_progress: bool
    """Whether its log looks like training."""
    not_finite_step: int | None = None
    says: str = ""
    """The last words themselves, numbers and all."""
    last_step: int | None = None
    """The last step that its trainers finished; None where nobody told."""
    alike: int = 1
    """So many deaths in a row, this one included, had the same last words after the same step."""

    def after(self, before: Death | None) -> Death:
        """The same death, counted on from the one before it."""
        same = (
            before is not None and self.last_step is not None and (self.last_step, self.says) == (before.last_step, before.says)
        )
        return replace(self, alike=before.alike + 1) if before is not None and same else self


def shows_progress(lines: Iterable[str]) -> bool:
    """Whether a line looks like one about training; rather one too many than one too few."""
    return any(PROGRESS.search(line) for line in lines)


def cannot_pass(before: Death | None, now: Death) -> str | None:
    """Why a third attempt would end like these two; None where it may not."""
    if before is None or now.signature is None or now.signature != before.signature:
        return None
    if now.not_finite_step is not None and now.not_finite_step == before.not_finite_step:
        return f"twice in the same way, with NaN or Inf at step {now.not_finite_step} both times; a restart cannot help"
    if now.signature == NOTHING:
        return None
    if now.says == before.says and NOT_FINITE.search(now.says):
        return "twice at the same NaN or Inf; a restart cannot help"
    if now.alike >= ALIKE:
        return f"{ALIKE} times in the same words after step {now.last_step}; a restart cannot help"
    if _before_the_first_step(before) and _before_the_first_step(now):
        return "twice in the same way before the first step; a restart cannot help"
    return None


def _before_the_first_step(death: Death) -> bool:
    if death.has_stepped is not None:
        return not death.has_stepped
    return death.lived_s < YOUNG_S and not death.shows_progress


def signature(cause: Cause) -> str | None:
    """The end in words that stay the same from start to start; None for one that comes from outside, and may not come again."""
    words, code = cause.words, cause.failure.exit_code
    if code in OUTSIDE or (words is not None and (is_victim(words) or _is_passing(words))):
        return None
    if words is None or not (words.complains or code < 0):
        return NOTHING
    text = f"{code} {words.text}"
    for pattern, name in VARYING:
        text = pattern.sub(name, text)
    return text


def _is_passing(words: Words) -> bool:
    return any(PASSING.search(text) for text in (words.text, words.earlier))
