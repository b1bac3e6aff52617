"""What a check of gpu_check.py answers. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field

MARK = "gpu-check-finding: "
"""Begins the line on which a child process hands a finding over."""


class Skip(Exception):
    """The check proves nothing here. `because`: hardware (this device lacks it by design) | package | device | time."""

    def __init__(self, reason: str, because: str) -> None:
        super().__init__(reason)
        self.because = because


@dataclass(frozen=True)
class Finding:
    """The verdict of one check: pass | warn | fail | skipped. `warn`: right, and slower or larger than it should be."""

    check: str
    verdict: str
    summary: str
    ratios: dict[str, float] = field(default_factory=dict)
    """What was measured -> ours divided by the other's, so less is better."""
    seconds: float = 0.0
    because: str | None = None
    """Of a check that was skipped; see Skip."""


def judged(check: str, summary: str, ratios: dict[str, tuple[float, float]], *, is_gpu: bool) -> Finding:
    """`pass` where every ratio (value, at most) is within its bound, else `warn`: a time is no proof of a fault.

    On a CPU the sizes are too small to be judged, and the verdict is about what ran.
    """
    slow = [name for name, (value, most) in ratios.items() if value > most]
    words = f"{summary}; over its bound: {', '.join(slow)}" if slow and is_gpu else summary
    values = {name: round(value, 4) for name, (value, _) in ratios.items()}
    return Finding(check, "warn" if slow and is_gpu else "pass", words, values)
