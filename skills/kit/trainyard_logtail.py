"""The end of a failed job's log: the script's own last traceback, not what its launcher says of it afterwards.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import re

from trainyard_output import clean

LINES, LONGEST = 15, 40
BYTES = 64 << 10
"""Of the log's end: torchrun's last words take some 4 KiB, a line a rank more."""
CHILD_FAILED = "torch.distributed.elastic.multiprocessing.errors.ChildFailedError"
HEADER = "Traceback (most recent call last):"
LAUNCHER_LINE = re.compile(r"(?:\[[^\]]{1,30}\]:?\s*)?[IWEF]\d{4} [\d:.]+\s+\d+\s+(\S*/)?torch/distributed/")


def error_tail(lines: list[str]) -> list[str]:
    """At most LONGEST lines, the last one that says something at the end."""
    own = [line.rstrip() for line in _before_the_launcher(lines) if not LAUNCHER_LINE.match(line)]
    while own and not own[-1]:
        own.pop()
    begin = max((at for at, line in enumerate(own) if HEADER in line), default=len(own))
    begin = min(len(own) - LINES, begin) if len(own) - begin <= LONGEST else len(own) - LINES
    return [clean(line, 300) for line in own[max(0, begin) :]]


def _before_the_launcher(lines: list[str]) -> list[str]:
    """Without torchrun's last message, a traceback too, which comes after everything that its ranks said."""
    end = next((at for at in range(len(lines) - 1, -1, -1) if CHILD_FAILED in lines[at]), None)
    if end is None:
        return lines
    head = max((at for at in range(end) if HEADER in lines[at]), default=end)
    return lines[:head] or lines
