"""Everything that CodeBuild remembers: projects, builds, limits and faults."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.components.aws.codebuild.faults import Faults

if TYPE_CHECKING:
    from tests.components.aws.codebuild.build import Build

QUEUE_FACTOR = 5
"""The queue holds so many times the builds that may run at once."""


@dataclass
class Limits:
    concurrent: int = 20
    """How many builds of the account may run at once. New accounts can have 0."""
    minute_s: float = 60.0
    """How long a minute lasts for time-outs of builds that are started from now on."""


@dataclass
class CodeBuildState:
    projects: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """(region, name) -> Project as BatchGetProjects shows it."""
    builds: dict[tuple[str, str], Build] = field(default_factory=dict)
    """(region, id), the oldest first."""
    by_token: dict[tuple[str, str], tuple[float, dict[str, Any], Build]] = field(default_factory=dict)
    """(region, idempotencyToken) -> when (monotonic), which request, which build."""
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    """(region, project) -> the number of its last build."""
    limits: Limits = field(default_factory=Limits)
    faults: Faults = field(default_factory=Faults)
    turn: threading.Condition = field(default_factory=threading.Condition)
    """Notified when a build may leave the queue."""
    threads: list[threading.Thread] = field(default_factory=list)

    def end(self, timeout_s: float = 15) -> None:
        """Stop every build and wait for it: nothing of theirs runs afterwards."""
        for build in list(self.builds.values()):
            build.stop.set()
        with self.turn:
            self.turn.notify_all()
        for thread in self.threads:
            thread.join(timeout_s)
