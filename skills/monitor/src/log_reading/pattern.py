"""A log in no known format, read by the user's own regular expression."""

from __future__ import annotations

import re

import trainyard_shell as shell
from log_formats.base import Format, told
from log_formats.values import METRICS, Point, number, whole
from log_reading.lines import stamp_of

GROUPS = ("step", "eval_loss", "total", "time", *METRICS)
MAX_PATTERN_LINE_CHARS = 4096
PATTERN_HINT = r"""--pattern 'step (?P<step>\d+).*?loss (?P<loss>\S+)'"""


class Pattern(Format):
    """The user's own regular expression; its named groups are the metrics."""

    name = "pattern"

    def __init__(self, pattern: str) -> None:
        super().__init__()
        try:
            self.rule = re.compile(pattern)
        except re.error as error:
            raise shell.SkillError("usage", f"--pattern is not a regular expression: {error}", hint=PATTERN_HINT) from error
        unknown = sorted(set(self.rule.groupindex) - set(GROUPS))
        if unknown or not set(self.rule.groupindex) & {"loss", "eval_loss", "reward"}:
            problem = f"has groups that are no metric: {', '.join(unknown)}" if unknown else "names no loss"
            message = f"--pattern {problem}; there are {', '.join(GROUPS)}"
            raise shell.SkillError("usage", message, hint=PATTERN_HINT)
        self.fields.of = dict.fromkeys(self.rule.groupindex, "--pattern")
        if "throughput" in self.rule.groupindex:
            self.fields.units["throughput"] = "as the pattern's group `throughput`"

    def parse(self, text: str) -> Point | None:
        found = self.rule.search(text, 0, MAX_PATTERN_LINE_CHARS)
        if not found:
            return None
        values = {name: value for name, value in found.groupdict().items() if value is not None}
        point = Point(step=whole(values.pop("step", "")), total=whole(values.pop("total", "")))
        time = values.pop("time", "")
        point.time = stamp_of(time) or number(time)
        for name, value in values.items():
            setattr(point, name, number(value))
        return told(point)
