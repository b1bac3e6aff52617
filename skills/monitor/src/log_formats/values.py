"""What a line of a log can say: numbers as trainers spell them, progress bars, and the point that a line gives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

METRICS = ("loss", "lr", "grad_norm", "throughput", "reward", "epoch")
"""What a training line may carry beside its step; `eval_loss` is kept apart."""
NUMBER = (
    r"[-+]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+\.?\d*(?:[eE][-+]?\d+)?|\.\d+(?:[eE][-+]?\d+)?|(?:nan|inf(?:inity)?)(?![A-Za-z]))"
)
PLAIN = re.compile(NUMBER, re.IGNORECASE)
WRAPPED = re.compile(rf"(?:[a-z]\w*\.)*[a-z]\w*\(\s*(?P<number>{NUMBER})", re.IGNORECASE)
"""np.float64(0.5), tensor(0.5, device='cuda:0')."""
CLOCK = re.compile(r"(?:(?P<days>\d{1,5}) days?, )?(?P<clock>\d{1,6}(?::\d{1,2}){1,2})")
# tqdm: DESCRIPTION:  42%|####      | 42/100 [00:05<00:07,  8.01it/s, loss=2.3]
BAR = re.compile(
    r"(?P<percent>\d{1,3})%\|[^|]{0,400}\|\s{0,8}(?P<at>\d{1,15})/(?P<total>\d{1,15}) "
    r"\[(?P<elapsed>[\d:]{2,20})<(?P<left>[\d:?, a-z]{1,30}), {0,3}(?P<rate>[\d.?]{1,20})(?P<unit>[A-Za-z]{1,12}/s|s/[A-Za-z]{1,12})(?P<more>[^\]]{0,4000})"
)


@dataclass(frozen=True)
class Bar:
    at: int
    total: int
    elapsed_s: float
    rate: str
    more: str
    """What stands behind the rate: `, loss=2.31`."""
    before: str = ""
    """The description, and whatever stands in front of it."""
    left_s: float | None = None
    """Until the bar is full, as it says itself."""


@dataclass(slots=True)
class Point:
    """One line's figures; None is what it does not tell."""

    step: int | None = None
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    throughput: float | None = None
    reward: float | None = None
    epoch: float | None = None
    eval_loss: float | None = None
    total: int | None = None
    """Steps that the run will have."""
    time: float | None = None
    elapsed_s: float | None = None
    """Seconds since the start, as a progress bar counts them."""
    eta_s: float | None = None
    """Seconds that are left, as the log itself says."""
    step_s: float | None = None
    """Seconds that a step takes, as the log itself says."""
    counts: bool = False
    """The line tells how far the training is, without a figure of it."""
    life: int | None = None
    """Number of this start of the script, where the line tells it."""
    bar: Bar | None = None
    """The progress bar that was drawn right behind the line."""
    redraws: bool = False
    """A progress bar, drawn again with every change: of the same step the last line counts."""
    ends: bool = False
    """The line says that the training is over."""

    @property
    def trains(self) -> bool:
        """It tells of a training step, not only of an evaluation."""
        told = self.loss is not None or self.lr is not None or self.throughput is not None
        return told or self.counts or self.grad_norm is not None or self.reward is not None


@dataclass
class Fields:
    """Which name of the log each figure was taken from: the first one met stays."""

    of: dict[str, str] = field(default_factory=dict)
    units: dict[str, str] = field(default_factory=dict)
    """Of `throughput` and whatever else is no pure number; as the trainer's source or the name itself says."""

    def take(self, metric: str, name: str) -> bool:
        """True when `name` is the one that this metric is read from."""
        return self.of.setdefault(metric, name) == name


def number(text: str) -> float | None:
    """1,234 and np.float64(0.5) and 'nan' as a float; None when it is no number."""
    text = text.strip().strip("'\"")
    found = PLAIN.fullmatch(text)
    digits = found[0] if found else None
    if digits is None:
        wrapped = WRAPPED.match(text)
        digits = wrapped["number"] if wrapped else None
    if digits is None:
        return None
    try:
        return float(digits.replace(",", ""))
    except ValueError:
        return None


def whole(text: str) -> int | None:
    """A step: a whole number that a 64-bit counter can hold."""
    value = number(text)
    return int(value) if value is not None and 0 <= value < 2**62 and value == int(value) else None


def bar_of(text: str) -> Bar | None:
    """The progress bar that the line shows."""
    found = BAR.search(text) if "%|" in text else None
    if not found:
        return None
    rate = f"{found['rate']} {found['unit']}"
    elapsed_s = clock_s(found["elapsed"]) or 0.0
    at, total, before = int(found["at"]), int(found["total"]), text[: found.start()]
    return Bar(at, total, elapsed_s, rate, found["more"], before, clock_s(found["left"]))


def clock_s(text: str) -> float | None:
    """`1:02:03`, `02:03` and `1 day, 1:02:03` in seconds; None for what is no such time (`?`)."""
    found = CLOCK.fullmatch(text)
    if not found:
        return None
    seconds = 0.0
    for part in found["clock"].split(":"):
        seconds = seconds * 60 + int(part)
    return seconds + 86400 * int(found["days"] or 0)
