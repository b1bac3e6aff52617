"""One training job in pods: what every engine is asked for, checked once before the first call to the API server.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field, fields
from typing import Any

import trainyard_kube as kube
import trainyard_quantity
import trainyard_shell as shell
from trainyard_hiding import in_words
from trainyard_secrets import is_secret

RUN_ID = re.compile(r"[0-9a-f]{16}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
IMAGE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,510}")
QUALIFIED = re.compile(r"(?=.{1,317}$)([a-z0-9.-]{1,253}/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
SECRET_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")
RESERVED = re.compile(
    r"PET_.*|(LOCAL_|GROUP_|ROLE_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)"
    r"|TRAINYARD_(RUN_ID|RUN_DIR|CHECKPOINTS|MAX_RESTARTS|STOP_GRACE_S|HANG|HANG_AFTER_S|LOG_PATTERN)"
)
"""Set by the operator or by us: a value from outside would take the job apart."""
MAX_NODES = 2000
MAX_ID = 2**31 - 1
"""Of a user or a group, in Kubernetes."""
OWN_GROUP = 1000
"""Of the run's own volume: the kubelet gives the volume to this group, and every process of the pods is in it, whoever it is."""
LATER = (
    *("hang", "hang_after_s", "run_as_user", "run_as_group", "fs_group", "hyperpod", "limit_cpu", "limit_memory"),
    *("avoid_nodes", "log_pattern"),
)
"""Fields that a version before this one did not have: at their defaults they are not part of the digest."""
Object = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PodJob:
    """One job, as asked for: the fields that all engines share. Raises SkillError usage when it cannot be."""

    name: str
    run_id: str
    image: str
    command: tuple[str, ...]
    nodes: int = 1
    procs: int = 1
    """Processes (ranks) a node."""
    claim: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Variable -> Secret and key in it; the value never passes through here."""
    node_selector: dict[str, str] = field(default_factory=dict)
    tolerations: tuple[dict[str, Any], ...] = ()
    avoid_nodes: tuple[str, ...] = ()
    """Names of nodes that no pod goes to."""
    cpu: str | None = None
    memory: str | None = None
    limit_cpu: str | None = None
    """None: no limit."""
    limit_memory: str | None = None
    """None: what is asked for."""
    shm: str | None = None
    gpus: int = 0
    gpu_resource: str = "nvidia.com/gpu"
    efa: int = 0
    queue: str | None = None
    priority: str | None = None
    service_account: str | None = None
    image_pull_secrets: tuple[str, ...] = ()
    run_as_user: int | None = None
    """None: the image's; run_as_group too."""
    run_as_group: int | None = None
    fs_group: int | None = None
    """None: OWN_GROUP for the run's own volume, and no change of any other."""
    max_restarts: int = 3
    grace_s: float = 60.0
    """Seconds to save after SIGTERM."""
    hang: str = "restart"
    """What the launcher in the pods does about a hang: restart or report."""
    hang_after_s: float | None = None
    """Seconds without a step that are one; None: found out."""
    log_pattern: str | None = None
    """A regular expression that reads the job's log, for the monitor."""
    spread_key: str | None = None
    """Label of nodes over whose values the pods are spread; kubernetes.io/hostname: one pod a node."""

    def __post_init__(self) -> None:
        run_id_or_raise(self.run_id)
        match("image", self.image, IMAGE, "registry/repository@sha256:... or :tag")
        if not 1 <= self.nodes <= MAX_NODES or self.procs < 1:
            told = f"nodes {self.nodes}, processes a node {self.procs}"
            raise usage(f"{told}: 1 to {MAX_NODES} nodes, at least one process a node")
        self._check_variables()
        self._check_names()
        self._check_quantities()
        for id in (self.run_as_user, self.run_as_group, self.fs_group):
            if id is not None and not 0 <= id <= MAX_ID:
                raise usage(f"{id} is not a valid user or group number", f"0 to {MAX_ID}")

    def _check_variables(self) -> None:
        for name in [*self.env, *self.secrets]:
            match("variable", name, VARIABLE, "a name of an environment variable")
            if RESERVED.fullmatch(name):
                raise usage(f"{name} is set by this program or by the operator", "leave it out")
        if both := sorted(self.env.keys() & self.secrets.keys()):
            raise usage(f"{both[0]} is given by env and by secrets", "one of the two")
        for name, value in self.env.items():
            if is_secret(name, value):
                message = f"{name} looks like a secret, and a variable's value is visible to everybody"
                raise usage(
                    message, f"name a Secret instead: under `secrets:` {name}: secret/key, or --secret {name}=SECRET/KEY"
                )
        if carried := in_words(self.command):
            message = f"{carried[0]!r} in the command carries a secret, and a manifest is visible to everybody"
            raise usage(message, "--secret NAME=SECRET/KEY, and the script reads the variable NAME")
        for name, (_, key) in self.secrets.items():
            if not SECRET_KEY.fullmatch(key):
                raise usage(f"the secret for {name} is not written as SECRET/KEY", f"--secret {name}=hf/token")

    def _check_names(self) -> None:
        named = {"PersistentVolumeClaim": self.claim, "PriorityClass": self.priority, "ServiceAccount": self.service_account}
        secrets = [("Secret", name) for name in self.image_pull_secrets + tuple(name for name, _ in self.secrets.values())]
        nodes = [("Node", name) for name in self.avoid_nodes]
        for kind, name in [*named.items(), *secrets, *nodes, ("queue", self.queue)]:
            if name is not None:
                kube.name_or_raise(kind, name)
        for key in [*self.node_selector, self.gpu_resource, *([self.spread_key] if self.spread_key else [])]:
            match("key", key, QUALIFIED, "for example topology.kubernetes.io/zone")

    def _check_quantities(self) -> None:
        asked = {"cpu": self.cpu, "memory": self.memory}
        limits = {"cpu": self.limit_cpu, "memory": self.limit_memory}
        named = {**asked, "shm": self.shm, **{f"resources.limits.{key}": value for key, value in limits.items()}}
        for key, value in named.items():
            kind = trainyard_quantity.CPU if key.endswith("cpu") else trainyard_quantity.BYTES
            if problem := value is not None and trainyard_quantity.problem(kind, value):
                raise usage(f"{key} {problem}", f"{key} {trainyard_quantity.EXAMPLES[kind]}")
        for key, least in asked.items():
            if least and (limit := limits[key]) and trainyard_quantity.is_more(least, limit):
                message = f"resources.limits.{key} {limit} is less than the {least} that a pod asks for"
                raise usage(message, f"lower resources.{key} (--{key}) or raise resources.limits.{key} (--limit-{key})")

    @property
    def run_dir(self) -> str:
        """On the volume, and in the pod."""
        return f"/trainyard/{self.name}-{self.run_id}"

    @property
    def owns_volume(self) -> bool:
        """Whether the claim is the one that checkpoint-manager made for this run: empty at its first start."""
        return self.claim == f"{self.name}-{self.run_id[:8]}"

    @property
    def termination_s(self) -> int:
        """Longer than the save: the launcher's own shutdown and the kubelet's round trips come on top."""
        return math.ceil(self.grace_s) + 30

    def asked(self) -> Object:
        """What the digest is made of: a version that names or types a field otherwise keeps what stood here before."""
        asked = asdict(self)
        defaults = {each.name: each.default for each in fields(self)}
        return {name: value for name, value in asked.items() if name not in LATER or value != defaults[name]}

    @property
    def digest(self) -> str:
        """Of what was asked: the same call again is recognised by it, whatever the API server has filled in since."""
        return hashlib.sha256(json.dumps(self.asked(), sort_keys=True).encode()).hexdigest()[:32]


def run_id_or_raise(run_id: str) -> str:
    if not RUN_ID.fullmatch(run_id):
        raise usage(f"{run_id!r} is not a run id", "16 hex digits, as in run.json")
    return run_id


def match(what: str, value: str, rule: re.Pattern[str], meaning: str) -> None:
    if not rule.fullmatch(value):
        raise usage(f"{what} {shell.clean(value, 80)!r} is not {meaning}", meaning)


def usage(message: str, hint: str = "") -> shell.SkillError:
    return shell.SkillError("usage", shell.clean(message, 300), hint=hint or "create --help")
