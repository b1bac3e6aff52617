"""What happens later: transitions are due at a time, and are made when somebody looks. No thread, nothing to wait for at a reset.

The clock is the machine's, and what a test has let pass besides: nobody waits for minutes.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass
class Pace:
    """Seconds that a transition takes. AWS needs minutes: a launch 20-30, a reboot 1-3, a roll-back of MinInstanceCount 180."""

    create_s: float = 0.1
    """Until a continuous cluster is InService, with or without its nodes."""
    capacity_s: float = 0.1
    """Until a node that is wanted has an instance id; where capacity lacks, until it is asked for again."""
    launch_s: float = 0.3
    """From the instance id to Running."""
    shutdown_s: float = 0.2
    reboot_s: float = 0.3
    check_s: float = 0.3
    """A deep health check."""
    recover_s: float = 0.2
    """Until automatic recovery takes up a faulty or a labelled node."""
    software_s: float = 0.3
    detach_s: float = 0.2
    attach_s: float = 0.2
    minimum_s: float = 1.5
    """Until a group that has not reached its MinInstanceCount rolls back."""
    fail_s: float = 0.5
    """Until an update without capacity, or a replacement that fails, is rolled back."""


@dataclass
class Agenda:
    pace: Pace = field(default_factory=Pace)
    now: float = field(default_factory=time.time)
    """Epoch seconds: of the transition that is being made, else of the last look."""
    passed_s: float = 0.0
    """How far this clock is ahead of the machine's."""
    waiting: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    serial: itertools.count[int] = field(default_factory=itertools.count)

    def after(self, delay_s: float, do: Callable[[], None]) -> None:
        heapq.heappush(self.waiting, (self.now + delay_s, next(self.serial), do))

    def advance(self) -> None:
        """Make every transition that is due, in their order, each at its own time."""
        until = time.time() + self.passed_s
        while self.waiting and self.waiting[0][0] <= until:
            self.now, _, do = heapq.heappop(self.waiting)
            do()
        self.now = until
