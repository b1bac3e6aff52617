"""What is asked of `create`, checked before the first call, and its digest."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from typing import Any

import trainyard_shell as shell
from trainyard_kube import DNS_SUBDOMAIN, name_or_raise

KINDS = {"rayjob": "RayJob", "raycluster": "RayCluster"}
PLURALS = {"rayjob": "rayjobs", "raycluster": "rayclusters"}
MAX_NAME_CHARS = {"rayjob": 47, "raycluster": 53}
"""KubeRay's own limits: it makes longer names from these."""
DNS_1035 = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
RUN_ID = re.compile(r"[0-9a-f]{16}")
IMAGE = re.compile(r"[\w.-]+(?::\d+)?(?:/[\w.-]+)*(?::[\w.-]{1,128})?(?:@sha256:[0-9a-f]{64})?")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
SECRET_NAME = re.compile(
    r"(HF|HUGGING_FACE_HUB|GITHUB)_TOKEN|.*(API_KEY|PASSWORD|SECRET|(ACCESS|AUTH|SESSION)_TOKEN).*|.*SECRET_ACCESS_KEY"
)
OURS = {"RUN_ID", "RUN_DIR", "CHECKPOINTS", "MAX_RESTARTS", "STOP_GRACE_S", "HANG", "HANG_AFTER_S"}
"""Variables that follow from other options: TRAINYARD_ before each."""
LABEL = re.compile(r"(?:[a-z0-9][-a-z0-9.]{0,252}/)?[A-Za-z0-9](?:[-\w.]{0,61}[A-Za-z0-9])?")
VERSION = re.compile(r"(?<![\d.])(2\.\d+\.\d+)(?![\d.])")
ASSUMED_RAY_VERSION = "2.60.0"
LAUNCHERS = (["torchrun"], ["python", "-m", "trainyard.launch"], ["python3", "-m", "trainyard.launch"])


@dataclass(frozen=True, kw_only=True)
class RaySpec:
    """One RayCluster or RayJob. Resources are those of every Ray node; the head is node 0."""

    kind: str
    name: str
    run_id: str
    image: str
    nodes: int
    procs: int
    command: list[str]
    ray_version: str
    claim: str | None
    env: dict[str, str]
    secrets: dict[str, str]
    """Variable -> secret/key."""
    node_selector: dict[str, str]
    tolerations: list[dict[str, Any]]
    cpu: str | None
    memory: str | None
    shm: str | None
    gpus: int
    gpu_resource: str
    efa: int
    queue: str | None
    priority: str | None
    service_account: str | None
    image_pull_secrets: list[str]
    max_restarts: int
    grace_s: int
    spread_key: str | None
    ray_start: dict[str, str]
    ttl_s: int
    hang: str = "restart"
    """What the launcher of the ranks does about a hang: restart or report."""
    hang_after_s: float | None = None
    """Seconds without a step that are one; None: found out."""

    def __post_init__(self) -> None:
        names(self)
        resources(self)
        variables(self)
        if self.kind == "rayjob" and not self.command:
            raise usage("a RayJob needs a command", "create NAME ... -- torchrun train.py")
        if self.kind == "raycluster" and self.command:
            raise usage(
                "a RayCluster has no command of its own", "create it without one, then: submit NAME -- torchrun train.py"
            )

    @property
    def run_dir(self) -> str:
        return f"/trainyard/{self.name}-{self.run_id}"

    def digest(self) -> str:
        """Of what was asked, not of the manifest: a newer version of this program still knows its own object."""
        asked = asdict(self)
        for name in ("hang", "hang_after_s"):  # an object of a version that did not have them is still known
            if asked[name] == RaySpec.__dataclass_fields__[name].default:
                del asked[name]
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]


def usage(message: str, hint: str) -> shell.SkillError:
    return shell.SkillError("usage", shell.clean(message, 300), hint=hint)


def object_name(name: str, kind: str | None = None) -> str:
    """A name that KubeRay takes. Raises SkillError usage."""
    limit = MAX_NAME_CHARS.get(kind or "", max(MAX_NAME_CHARS.values()))
    if not DNS_1035.fullmatch(name) or len(name) > limit:
        what = KINDS.get(kind or "", "RayCluster or RayJob")
        raise usage(f"{name!r} is not a valid name of a {what}", f"a-z, 0-9 and -, a letter first, at most {limit} characters")
    return name


def run_id_or_raise(run_id: str) -> str:
    if not RUN_ID.fullmatch(run_id):
        raise usage(f"{run_id!r} is not a run id", "16 hex digits, as in run.json")
    return run_id


def names(spec: RaySpec) -> None:
    object_name(spec.name, spec.kind)
    run_id_or_raise(spec.run_id)
    if not IMAGE.fullmatch(spec.image):
        raise usage(f"{spec.image!r} is no image reference", "--image repository:tag or repository@sha256:...")
    given = [
        ("claim", spec.claim),
        ("queue", spec.queue),
        ("priority class", spec.priority),
        ("service account", spec.service_account),
    ]
    for kind, name in [*given, *(("pull secret", each) for each in spec.image_pull_secrets)]:
        if name is not None:
            name_or_raise(kind, name, DNS_SUBDOMAIN)
    for key in [*spec.node_selector, spec.gpu_resource, *([spec.spread_key] if spec.spread_key else [])]:
        if not LABEL.fullmatch(key):
            raise usage(f"{key!r} is no label or resource name", "as kubectl get nodes --show-labels prints it")


def resources(spec: RaySpec) -> None:
    from kubernetes.utils.quantity import parse_quantity

    for option, text in (("--cpu", spec.cpu), ("--memory", spec.memory), ("--shm", spec.shm)):
        try:
            good = text is None or parse_quantity(text) > 0
        except ValueError:
            good = False
        if not good:
            raise usage(f"{option} {text!r} is no quantity", f"{option} 4, 500m, 16Gi")


def variables(spec: RaySpec) -> None:
    for name in [*spec.env, *spec.secrets]:
        if not VARIABLE.fullmatch(name):
            raise usage(f"{name!r} is not a valid name of a variable", "--env NAME=VALUE")
        if name.removeprefix("TRAINYARD_") in OURS and name.startswith("TRAINYARD_"):
            raise usage(
                f"{name} is set by this program",
                "leave it out; --run-id, --claim, --max-restarts, --grace-s and --hang decide it",
            )
    for name in spec.env:
        if SECRET_NAME.fullmatch(name.upper()):
            raise usage(
                f"{name} looks like a secret, and --env is visible to everybody",
                f"--secret {name}=SECRET/KEY names one instead",
            )
    for name, reference in spec.secrets.items():
        if not re.fullmatch(r"[a-z0-9][-a-z0-9.]*/[-\w.]+", reference):
            raise usage(f"--secret {name}={reference!r} names no secret and key", f"--secret {name}=hf/token")


def ray_version(given: str | None, image: str) -> tuple[str, bool]:
    """(version, known): as given, else as the image's tag says, else the newest that was tried. It decides KubeRay's probes."""
    if given is not None and not VERSION.fullmatch(given):
        raise usage(f"--ray-version {given!r} is no version of Ray", "--ray-version 2.60.0; in the image: ray --version")
    tag = VERSION.search(image.partition("@")[0].rpartition("/")[2].partition(":")[2])
    found = given or (tag[1] if tag else None)
    return found or ASSUMED_RAY_VERSION, found is not None


def driver(command: list[str], nodes: int, procs: int) -> list[str]:
    """The words that run on the head: a launcher stands for one actor a node, anything else is the driver as it is."""
    for launcher in LAUNCHERS:
        if command[: len(launcher)] == launcher:
            topology = ["--nodes", str(nodes), "--procs", str(procs)]
            return ["python", "-m", "trainyard.on_ray", *topology, "--", *command[len(launcher) :]]
    return command
