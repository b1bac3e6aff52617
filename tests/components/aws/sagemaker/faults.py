"""What is to go wrong with HyperPod's nodes, as a test asks for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

KINDS = {
    "never_comes": "a node that is launched, or reboots, stays Pending",
    "launch_fails": "a node that is launched, or reboots, becomes Failure",
    "no_capacity": "no instance is found: a continuous cluster asks again and again, the older kind rolls back",
    "rolls_back": "the old node of a replacement comes back, Running, with its old id",
    "in_use": "a call for this node is refused: another operation is in progress",
    "internal": "a call for this node fails within AWS (replace and reboot only)",
    "stays_faulty": "a reboot does not help",
    "check_fails": "a deep health check of this node finds it faulty",
}


@dataclass
class Fault:
    kind: str
    cluster: str | None = None
    group: str | None = None
    node: str | None = None
    """Instance or logical id. None: any."""
    times: int = 1
    message: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind is one of {', '.join(KINDS)}")


@dataclass
class Faults:
    waiting: list[Fault] = field(default_factory=list)

    def add(self, **fault: Any) -> None:
        self.waiting.append(Fault(**fault))

    def take(self, kinds: tuple[str, ...], cluster: str, group: str, *ids: str) -> Fault | None:
        """The first that fits, used up once."""
        for fault in self.waiting:
            fits = fault.kind in kinds and fault.cluster in (None, cluster) and fault.group in (None, group)
            if fault.times > 0 and fits and fault.node in (None, *ids):
                fault.times -= 1
                return fault
        return None
