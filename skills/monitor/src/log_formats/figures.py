"""What one line of any log tells: its names with their numbers, its place in the epochs, a rate, the time that is left."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from log_formats.base import EVAL_LOSSES, LOSSES, json_object
from log_formats.columns import kind_of
from log_formats.places import Place, place_of, place_of_bar
from log_formats.values import NUMBER, bar_of, clock_s, number

if TYPE_CHECKING:
    from log_formats.values import Bar

GROUPED = r"\d{1,3}(?:,\d{3})+|\d{1,15}"
# One key of one or two words (`INFO step` and `at step` are none), a separator, a number. The possessive quantifier keeps a long word from being tried again from each of
# its letters.
PAIR = re.compile(
    r"(?<![\w/.@-])(?!(?:INFO|DEBUG|WARNING|WARN|ERROR|at|after|in|on|for) )(?P<key>[A-Za-z_][\w/.@-]{0,60}+(?: (?:loss|rate|norm|step|reward|per s(?:ec(?:ond)?)?))?)"
    r"[\"']?(?: ?\([^)]{0,20}\))?(?: {0,4}[=:]\s{0,12}|\s{1,12})[\"']?"
    rf"(?P<value>{NUMBER})(?![A-Za-z0-9_]|\.\d)(?: ?/ {{0,12}}(?P<of>{GROUPED}))?",
    re.IGNORECASE,
)
RATE = re.compile(
    rf"(?<![\w.,])(?P<value>{NUMBER}) {{0,2}}(?P<unit>(?:tok(?:en)?s?|samples?|im(?:a)?ge?s?|seqs?|frames?|examples?)?/s(?:ec(?:ond)?)?)\b",
    re.IGNORECASE,
)
CLOCKS = re.compile(
    r"\b(?P<what>eta|remaining(?:[_ ]time)?|elapsed(?:[_ ]time)?)[\"']?[:= ]{1,4}[\"']?(?P<time>(?:\d{1,5} days?, )?\d{1,6}(?::\d\d){1,2})(?!\d)",
    re.IGNORECASE,
)
# nanoGPT: time 123.45ms, Megatron: elapsed time per iteration (ms): 438.3, NeMo: train_step_timing in s=3.37, modded-nanogpt: step_avg:363.34ms
STEP_TIME = re.compile(
    r"\b(?P<what>step[_ ]time|iter[_ ]time|step_avg|time per (?:step|iter(?:ation)?)|train_step_timing in s"
    # of another word's time (data time, total time), or of a dt that may be a simulation's, nothing is believed
    r"|dt(?=[\"']?[:= ]{1,4}[\d.]{1,20} ?m?s\b)|(?<![A-Za-z] )time(?= ?[:=]? ?[\d.]{1,20} ?ms\b))"
    r"(?: ?\((?P<before>m?s)\))?[\"']?[:= ]{1,4}(?P<value>\d{1,12}(?:\.\d{1,12})?) ?(?P<behind>ms|s(?:ec(?:onds?)?)?)?\b",
    re.IGNORECASE,
)
# mmengine: eta: 0:13:14  time: 0.4073  data_time: 0.0335
STEP_AND_DATA = re.compile(r"\btime: (?P<value>\d{1,9}\.\d{1,9})  data_time: ")
# Megatron: throughput per GPU (TFLOP/s/GPU): 80.2
PER_GPU = re.compile(r"throughput per GPU \((?P<unit>[\w/]{1,20})\): (?P<value>\d{1,9}(?:\.\d{1,9})?)")
# modded-nanogpt counts the training's own time: train_time:2176390ms
TRAIN_TIME = re.compile(r"\btrain_time[:= ]{1,2}(?P<ms>\d{1,15})ms\b")
EVALUATES = re.compile(
    r"(?:^|[\s|\[(*])(?:valid|validation|validate|validating|val|eval|evaluation|evaluating|test|testing)(?=[\s:|\])])"
)


class Pair(NamedTuple):
    kind: str
    name: str
    value: float
    of: str = ""

    @property
    def whole(self) -> int | None:
        return int(self.value) if 0 <= self.value < 2**62 and self.value % 1 == 0 else None


@dataclass(slots=True)
class Line:
    """The figures of one line under the names that it gives them."""

    pairs: list[Pair]
    place: Place | None = None
    bar: Bar | None = None
    evaluates: bool = False
    """Words in front of the figures say that they are an evaluation's."""
    clocks: dict[str, float] = field(default_factory=dict)
    rate: tuple[str, str] | None = None
    """(number, unit): a throughput that has a unit and no name."""

    def names(self, kind: str) -> list[str]:
        return [pair.name for pair in self.pairs if pair.kind == kind]

    @property
    def steps(self) -> list[str]:
        """Names under which the line tells a whole number of steps."""
        return [pair.name for pair in self.pairs if pair.kind == "step" and pair.whole is not None]


def line_of(text: str) -> Line:
    """Lines are read alike whether text or JSON; a time is no place and a share of an epoch is no step."""
    values = json_object(text) if text.startswith("{") else None
    pairs = _of_json(values) if values is not None else _of_text(text)
    line = Line(pairs, bar=bar_of(text), clocks=_clocks(text))
    if values is not None:
        return line
    line.place = place_of_bar(line.bar) if line.bar else place_of(text)
    head = text.lower().partition("loss")[0]
    line.evaluates = ("val" in head or "test" in head) and EVALUATES.search(head) is not None
    if "/s" in text and line.bar is None and not line.names("throughput") and (found := RATE.search(text)):
        line.rate = found["value"], found["unit"]
    if "throughput per GPU" in text and (found := PER_GPU.search(text)):
        line.rate = found["value"], found["unit"]
    return line


def _of_text(text: str) -> list[Pair]:
    found = [(_known(key), value, of) for key, value, of in PAIR.findall(text)]
    return [Pair(*known, float(value.replace(",", "")), of) for known, value, of in found if known is not None]


@functools.lru_cache(maxsize=4096)
def _known(key: str) -> tuple[str, str] | None:
    """Kind and name of a key that is a figure's."""
    name = key.lower()
    kind = kind_of(name)
    return (kind, name) if kind is not None else None


def _of_json(values: dict[str, object]) -> list[Pair]:
    """An object in an object counts as `outer/inner`; of a loss the best known name stands first."""
    flat: dict[str, object] = {}
    for name, value in list(values.items())[:400]:
        flat |= (
            {f"{name}/{inner}": one for inner, one in list(value.items())[:400]} if isinstance(value, dict) else {name: value}
        )
    pairs = [
        Pair(kind, name, told)
        for name, value in flat.items()
        if (kind := kind_of(name)) is not None
        and isinstance(value, int | float | str)
        and not isinstance(value, bool)
        and (told := number(str(value))) is not None
    ]
    return sorted(pairs, key=_rank)


def _rank(pair: Pair) -> int:
    best = {"loss": LOSSES, "eval_loss": EVAL_LOSSES}.get(pair.kind, ())
    return best.index(pair.name) if pair.name in best else len(best)


def _clocks(text: str) -> dict[str, float]:
    """Seconds: `left`, `elapsed` and, of one step, `step`."""
    return _of_clocks(text) | _of_steps(text)


def _of_steps(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    if "train_time" in text and (trained := TRAIN_TIME.search(text)):
        found["elapsed"] = int(trained["ms"]) / 1000
    if ("time" in text or "timing" in text or "step_avg" in text or "dt" in text) and (told := STEP_TIME.search(text)):
        unit = told["behind"] or told["before"] or "s"
        found["step"] = float(told["value"]) / (1000 if unit.lower() == "ms" else 1)
    elif "data_time" in text and (told := STEP_AND_DATA.search(text)):
        found["step"] = float(told["value"])
    return found


def _of_clocks(text: str) -> dict[str, float]:
    if not ("eta" in text or "ETA" in text or "emaining" in text or "lapsed" in text):
        return {}
    told = ((found["what"].lower(), clock_s(found["time"])) for found in CLOCKS.finditer(text))
    return {"elapsed" if what.startswith("elapsed") else "left": seconds for what, seconds in told if seconds is not None}
