"""Quantities of a job file, as Kubernetes writes them, and which of them cannot be meant.

Kubernetes takes `memory: 100m` for a tenth of a byte and rounds it up to one: the pod is made, and no container starts in it.
`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import re
from decimal import Decimal

import trainyard_shell as shell

SUFFIXES = {"": 0, "n": -3, "u": -2, "m": -1, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
"""Powers of 1000; of 1024 with an i behind."""
QUANTITY = re.compile(
    r"([+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40}))(?:([eE])([+-]?\d{1,3})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII
)
CPU, BYTES = "cpu", "bytes"
EXAMPLES = {CPU: "4 or 500m", BYTES: "64Gi or 500M"}
LEAST = {CPU: Decimal("0.001"), BYTES: Decimal(1 << 10)}
"""A thousandth of a CPU is what Kubernetes counts in. With less than a KiB nothing starts: a unit was forgotten."""
LEAST_IN_PARTS = Decimal(1 << 20)
"""Kubernetes itself writes 1.1Gi as 1181116006400m; by hand nobody counts bytes in thousandths."""
MOST = {CPU: Decimal(100_000), BYTES: Decimal(1 << 60)}
"""More than any machine, or file system of AWS, has."""


def value_of(text: str) -> Decimal | None:
    """As a number of units; None: it is not a quantity."""
    found = QUANTITY.fullmatch(text)
    if found is None:
        return None
    number, exponent, digits, suffix = found.groups()
    if exponent:
        return Decimal(number).scaleb(int(digits))
    base = 1024 if suffix and suffix.endswith("i") else 1000
    return Decimal(number) * Decimal(base) ** SUFFIXES[(suffix or "").removesuffix("i")]


def is_more(first: str, second: str) -> bool:
    """Of two quantities against which there is no problem."""
    return (value_of(first) or 0) > (value_of(second) or 0)


def problem(kind: str, text: str) -> str | None:
    """Why `text` cannot be meant as an amount of CPU or BYTES; None: it can."""
    value, said = value_of(text), repr(shell.clean(text, 40))
    if value is None:
        return f"{said} is not a quantity such as {EXAMPLES[kind]}"
    if value <= 0:
        return f"{said} is not greater than 0"
    if kind == BYTES and text.endswith(("n", "u", "m")) and value < LEAST_IN_PARTS:
        return f"{said} counts fractions of a byte (m is a thousandth); did you mean {text[:-1]}M or {text[:-1]}Mi?"
    if value < LEAST[kind]:
        return f"{said} is " + ("less than a thousandth of a CPU" if kind == CPU else _few(value, text))
    if value > MOST[kind]:
        return f"{said} is more than any machine has"
    return None


def _few(value: Decimal, text: str) -> str:
    what = "a fraction of a byte" if value < 1 else f"{value.normalize():f} bytes"
    return f"{what}; did you mean {text}Gi?" if text.replace(".", "").isdigit() else what
