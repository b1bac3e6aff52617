"""What a job is to be: checked once, before the first call to the API server."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell

ENGINES = ("pytorchjob", "trainjob", "hyperpodjob")
NAME = re.compile(r"[a-z](?:[-a-z0-9]{0,38}[a-z0-9])?")
"""DNS-1035 (the operators make Services of it), and short: pods append -worker-127 or -node-0-127-abcde."""
RUN_ID = re.compile(r"[0-9a-f]{16}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,510}")
QUALIFIED = re.compile(r"(?=.{1,317}$)([a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
RESERVED = re.compile(
    r"PET_.*|(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)"
    r"|TRAINYARD_(RUN_ID|RUN_DIR|CHECKPOINTS|MAX_RESTARTS|STOP_GRACE_S|HANG|HANG_AFTER_S)"
)
"""Set by the operator or by us: a value from outside would take the job apart."""
MAX_NODES = 2000


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """One job, as asked for. Raises SkillError usage when it cannot be."""

    name: str
    run_id: str
    image: str
    command: tuple[str, ...]
    engine: str = "pytorchjob"
    nodes: int = 1
    procs: int = 1
    """Processes (ranks) a node."""
    claim: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Variable -> Secret and key in it; the value never passes through here."""
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    pod_annotations: dict[str, str] = field(default_factory=dict)
    cpu: str | None = None
    memory: str | None = None
    shm: str | None = None
    gpus: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    efa: int = 0
    queue: str | None = None
    priority: str | None = None
    service_account: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    max_restarts: int = 3
    grace_s: float = 60.0
    """Seconds to save after SIGTERM."""
    hang: str = "restart"
    """What the launcher in the pods does about a hang: restart or report."""
    hang_after_s: float | None = None
    """Seconds without a step that are one; None: found out."""
    spread_key: str | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None
    runtime: str = "torch-distributed"
    """Of a TrainJob: the ClusterTrainingRuntime."""

    def __post_init__(self) -> None:
        _match("name", self.name, NAME, "a-z first, then a-z, 0-9 and -, at most 40 characters")
        _match("--run-id", self.run_id, RUN_ID, "16 hex digits, as in run.json")
        _match("--image", self.image, IMAGE, "registry/repository@sha256:... or :tag")
        if not 1 <= self.nodes <= MAX_NODES or self.procs < 1:
            raise _usage(f"--nodes {self.nodes} --procs {self.procs}: 1 to {MAX_NODES} nodes, at least one process a node")
        self._check_variables()
        self._check_names()
        self._check_quantities()
        self._check_elastic()

    def _check_variables(self) -> None:
        for name in [*self.env, *self.secrets]:
            _match("--env/--secret", name, VARIABLE, "a name of an environment variable")
            if RESERVED.fullmatch(name):
                raise _usage(f"{name} is set by the operator or by this program", "leave it out")
        if both := sorted(self.env.keys() & self.secrets.keys()):
            raise _usage(f"{both[0]} is given by --env and by --secret", "one of the two")

    def _check_names(self) -> None:
        named = {"PersistentVolumeClaim": self.claim, "PriorityClass": self.priority, "ServiceAccount": self.service_account}
        secrets = [("Secret", name) for name in self.image_pull_secrets + tuple(name for name, _ in self.secrets.values())]
        for kind, name in [*named.items(), *secrets, ("queue", self.queue), ("runtime", self.runtime)]:
            if name is not None:
                kube.name_or_raise(kind, name)
        keys = [*self.node_selector, *self.pod_annotations, self.gpu_resource, *([self.spread_key] if self.spread_key else [])]
        for key in keys:
            _match("key", key, QUALIFIED, "for example topology.kubernetes.io/zone")

    def _check_quantities(self) -> None:
        from kubernetes.utils.quantity import parse_quantity

        for option, value in (("--cpu", self.cpu), ("--memory", self.memory), ("--shm", self.shm)):
            try:
                good = value is None or parse_quantity(value) > 0
            except ValueError:
                good = False
            if not good:
                raise _usage(
                    f"{option} {value!r} is no quantity", f"{option} " + ("4 or 500m" if option == "--cpu" else "64Gi")
                )

    def _check_elastic(self) -> None:
        if self.min_nodes is None and self.max_nodes is None:
            return
        if self.engine != "pytorchjob" or self.min_nodes is None or self.max_nodes is None:
            raise _usage("elastic jobs are PyTorchJobs with --min-nodes and --max-nodes", "--engine pytorchjob")
        if not 1 <= self.min_nodes <= self.nodes <= self.max_nodes:
            raise _usage(f"--nodes {self.nodes} is not within {self.min_nodes} and {self.max_nodes}", "min <= nodes <= max")

    @property
    def elastic(self) -> bool:
        return self.min_nodes is not None

    @property
    def run_dir(self) -> str:
        """On the volume, and in the pod."""
        return f"/trainyard/{self.name}-{self.run_id}"

    @property
    def termination_s(self) -> int:
        """Longer than the save: torchrun's own shutdown and the kubelet's round trips come on top."""
        return math.ceil(self.grace_s) + 30

    @property
    def digest(self) -> str:
        """Of what was asked: the same call again is recognised by it, whatever the API server has filled in since."""
        asked = asdict(self)
        for name in ("hang", "hang_after_s"):  # a job of a version that did not have them is still recognised
            if asked[name] == JobRequest.__dataclass_fields__[name].default:
                del asked[name]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def _match(what: str, value: str, rule: re.Pattern[str], meaning: str) -> None:
    if not rule.fullmatch(value):
        raise _usage(f"{what} {shell.clean(value, 80)!r} is not {meaning}", meaning)


def _usage(message: str, hint: str = "") -> shell.SkillError:
    return shell.SkillError("usage", message, hint=hint or "manage_pytorchjob.py create --help")
