"""What a HyperPod cluster is made of."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.components.aws.world import ACCOUNT

Document = dict[str, Any]
PENDING_REPLACEMENT, PENDING_REBOOT = "UnschedulablePendingReplacement", "UnschedulablePendingReboot"
RELEASES = ("1.0.0", "1.1.0")
"""Of the image that HyperPod manages: the one before, and the newest."""


def instance_id() -> str:
    return f"i-0{random.getrandbits(64):016x}"


@dataclass(eq=False)
class Node:
    """One place in a group. A replacement keeps it on continuous clusters, and so its logical id; the instance is another."""

    group: str
    instance_type: str
    logical_id: str = ""
    """Of continuous clusters only."""
    instance_id: str = ""
    """Empty while no instance was found."""
    status: str = "Pending"
    message: str = ""
    launched_at: float = 0.0
    arrived: bool = False
    """Counts in CurrentCount: Running once, and not on its way out."""
    busy: str = ""
    """The operation in progress: replace, reboot, delete, check, move, update."""
    boots: int = 0
    """How often it was rebooted."""
    stage: int = 0
    """Raised by every operation: a transition of an operation before it is void."""
    release: str = RELEASES[-1]
    zone: str = ""
    address: str = "10.0.0.1"
    health: str = "Schedulable"
    """The label node-health-status, as the three below."""
    deep_check: str = ""
    fault_types: list[str] = field(default_factory=list)
    fault_reasons: list[str] = field(default_factory=list)
    fault_details: list[Document] = field(default_factory=list)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(each for each in (self.instance_id, self.logical_id) if each)

    @property
    def hostname(self) -> str:
        """On Kubernetes."""
        return f"hyperpod-{self.instance_id}"

    def healthy(self) -> None:
        self.health, self.fault_types, self.fault_reasons, self.fault_details = "Schedulable", [], [], []


@dataclass(eq=False)
class Group:
    spec: Document
    """As CreateCluster or UpdateCluster was given it, whole."""
    target: int
    minimum: int | None = None
    status: str = "Creating"
    release: str = RELEASES[-1]
    software: str = ""
    """SoftwareUpdateStatus."""
    before: tuple[Document, int] | None = None
    """Specification and target that a roll-back goes back to."""

    @property
    def name(self) -> str:
        return str(self.spec["InstanceGroupName"])

    @property
    def types(self) -> list[str]:
        flexible = self.spec.get("InstanceRequirements", {}).get("InstanceTypes", [])
        return list(flexible) or [self.spec["InstanceType"]]


@dataclass(frozen=True)
class Event:
    time: float
    kind: str
    """ResourceType: Cluster, InstanceGroup, Instance."""
    description: str
    level: str
    group: str = ""
    instance_id: str = ""
    operation: str = ""
    metadata: Document = field(default_factory=dict)
    """Only in the detail call; the cause is its FailureMessage."""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(eq=False)
class Operation:
    created_at: float
    kind: str
    """Scaling, DeepHealthCheck."""
    status: str = "InProgress"
    scaling: dict[str, tuple[Document, Document]] = field(default_factory=dict)
    """Group -> counts before, counts wanted."""
    group_status: dict[str, str] = field(default_factory=dict)
    checks: list[Document] = field(default_factory=list)
    id: str = field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(eq=False)
class Cluster:
    region: str
    name: str
    settings: Document
    """CreateCluster's members besides the groups."""
    created_at: float
    status: str = "Creating"
    failure: str = ""
    undo: Callable[[], None] = lambda: None
    """Takes back the update that runs."""
    patched: bool = True
    """False: it is older than the batch calls, which demand UpdateClusterSoftware first."""
    groups: dict[str, Group] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    id: str = field(default_factory=lambda: "".join(random.choices(string.ascii_lowercase + string.digits, k=12)))

    @property
    def arn(self) -> str:
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT}:cluster/{self.id}"

    @property
    def continuous(self) -> bool:
        return self.settings.get("NodeProvisioningMode") == "Continuous"

    @property
    def slurm(self) -> bool:
        return "Eks" not in self.settings.get("Orchestrator", {})

    @property
    def recovers(self) -> bool:
        return bool(self.settings.get("NodeRecovery", "Automatic") == "Automatic")

    def of_group(self, name: str) -> list[Node]:
        return [node for node in self.nodes if node.group == name]

    def count(self, name: str) -> int:
        """CurrentCount."""
        return sum(node.arrived for node in self.of_group(name))

    def find(self, id: str) -> Node | None:
        return next((node for node in self.nodes if id in node.ids), None)
