"""Is a comma in a number a decimal sign or does it group thousands? One log is written in one way."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

NUMERAL = re.compile(r"(?<![\w.,])(?<!\d:)\d[\d.,]{0,40}(?<=\d)(?:[eE][-+]?\d{1,4})?(?!\w)")
"""Not the seconds of a time, 10:00:00,123."""
GROUPS = re.compile(r"[1-9]\d{0,2}(?:[.,]\d{3})+")
SWAPPED = str.maketrans(",.", ".,")


def has_decimal_commas(texts: Iterable[str]) -> bool:
    """`2,88` and `0,001` group no thousands; a single `2.88` in the same lines says that the point is the decimal sign."""
    commas = 0
    for text in texts:
        for numeral in NUMERAL.findall(text):
            if GROUPS.fullmatch(numeral):
                continue
            if numeral.count(".") == 1 and "," not in numeral[numeral.index(".") :]:
                return False
            commas += numeral.count(",") == 1 and "." not in numeral[numeral.index(",") :]
    return commas > 0


def with_points(text: str) -> str:
    """`1.000 ... 2,88` as `1,000 ... 2.88`."""
    return NUMERAL.sub(lambda found: found[0].translate(SWAPPED), text)
