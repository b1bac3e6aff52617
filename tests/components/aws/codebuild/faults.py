"""What is to go wrong with builds, as a test asks for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Fault:
    project: str | None = None
    """None: builds of every project."""
    times: int = 1
    """How many builds it befalls."""
    phase: str | None = None
    """Fails in this phase, before its commands; with `slow_s` alone it is only slow there."""
    status_code: str = ""
    """Of the failed phase's context: CLIENT_ERROR, BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE, ..."""
    message: str = ""
    status: str = "FAILED"
    """FAULT: AWS itself failed."""
    slow_s: float = 0.0
    """How long the phase takes before anything else happens in it."""
    log: str = "kept"
    """`lost`: the log stream never comes; `late`: its lines come `log_late_s` later, the last of them after the build's end."""
    log_late_s: float = 2.0

    def strike(self, phase: str, check: Callable[[], None]) -> None:
        """At the begin of a phase. `check` raises when the build is interrupted."""
        from tests.components.aws.codebuild.build import PhaseFailed

        if phase != self.phase:
            return
        end = time.monotonic() + self.slow_s
        while time.monotonic() < end:
            check()
            time.sleep(0.02)
        if self.status_code:
            raise PhaseFailed(self.status_code, self.message, self.status)


@dataclass
class Faults:
    waiting: list[Fault] = field(default_factory=list)

    def add(self, **fault: Any) -> None:
        if fault.get("log", "kept") not in ("kept", "lost", "late"):
            raise ValueError("log is kept, lost or late")
        self.waiting.append(Fault(**fault))

    def take(self, project: str) -> Fault:
        """The fault of a new build of this project; one that does nothing where none waits."""
        for fault in self.waiting:
            if fault.times > 0 and fault.project in (None, project):
                fault.times -= 1
                return fault
        return Fault()
