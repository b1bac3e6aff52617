"""What is asked of `create`: its own options, what they and a request make, checked before the first call."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import click
import trainyard_shell as shell
from trainyard_podjob import Object, PodJob, usage
from trainyard_podjob_options import job_fields, pairs, several, text

KINDS = {"rayjob": "RayJob", "raycluster": "RayCluster"}
PLURALS = {"rayjob": "rayjobs", "raycluster": "rayclusters"}
MAX_NAME_CHARS = {"rayjob": 47, "raycluster": 53}
"""KubeRay's own limits: it makes longer names from these."""
DNS_1035 = re.compile(r"[a-z](?:[-a-z0-9]*[a-z0-9])?")
VERSION = re.compile(r"(?<![\d.])(2\.\d+\.\d+)(?![\d.])")
ASSUMED_RAY_VERSION = "2.60.0"
QUOTING_PROVEN = (2, 60, 0)
"""From here on words reach the driver as they are (tried); when exactly it was fixed is not known."""
LAUNCHERS = (["torchrun"], ["python", "-m", "trainyard.launch"], ["python3", "-m", "trainyard.launch"])


@dataclass(frozen=True, kw_only=True)
class RaySpec(PodJob):
    """One RayCluster or RayJob. Resources are those of every Ray node; the head is node 0."""

    kind: str
    ray_version: str
    ray_start: dict[str, str] = field(default_factory=dict)
    ttl_s: int = 60

    def __post_init__(self) -> None:
        object_name(self.name, self.kind)
        super().__post_init__()
        if self.kind == "rayjob" and not self.command:
            raise usage("a RayJob needs a command", "create NAME ... -- torchrun train.py")
        if self.kind == "raycluster" and self.command:
            raise usage(
                "a RayCluster has no command of its own", "create it without one, then: submit NAME -- torchrun train.py"
            )

    def asked(self) -> Object:
        whole = int(self.grace_s) if self.grace_s == int(self.grace_s) else self.grace_s
        return super().asked() | {
            "secrets": {name: "/".join(source) for name, source in self.secrets.items()},
            "grace_s": whole,
        }


def object_name(name: str, kind: str) -> str:
    """A name that KubeRay takes. Raises SkillError usage."""
    what, limit = KINDS[kind], MAX_NAME_CHARS[kind]
    if not DNS_1035.fullmatch(name):
        raise usage(f"{shell.clean(name, 80)!r} is not a valid name of a {what}", "a-z, 0-9 and -, a letter first")
    if len(name) > limit:
        told = f"{shell.clean(name, 80)!r} has {len(name)} characters, and KubeRay takes a {what} of at most {limit}"
        raise usage(told, f"a name of at most {limit} characters")
    return name


def ray_version(given: str | None, image: str) -> tuple[str, bool]:
    """(version, known): as given, else as the image's tag says, else the newest that was tried. It decides KubeRay's probes."""
    if given is not None and not VERSION.fullmatch(given):
        raise usage(f"--ray-version {given!r} is no version of Ray", "--ray-version 2.60.0; in the image: ray --version")
    tag = VERSION.search(image.partition("@")[0].rpartition("/")[2].partition(":")[2])
    found = given or (tag[1] if tag else None)
    return found or ASSUMED_RAY_VERSION, found is not None


def driver(command: Sequence[str], nodes: int, procs: int) -> list[str]:
    """The words that run on the head: a launcher stands for one actor a node, anything else is the driver as it is."""
    for launcher in LAUNCHERS:
        if list(command[: len(launcher)]) == launcher:
            topology = ["--nodes", str(nodes), "--procs", str(procs)]
            return ["python", "-m", "trainyard.on_ray", *topology, "--", *command[len(launcher) :]]
    return list(command)


# --- its options -------------------------------------------------------------------------------------------------

OWN = [
    click.option(
        "--kind", type=click.Choice(list(KINDS)), help="rayjob: cluster and command in one. Needed, here or in the request."
    ),
    text("--ray-version", "V", "Ray in the image.  [default: from the image's tag, else 2.60.0]"),
    several("--ray-start", "ray_start", "K=V", "A further rayStartParams entry; may be repeated."),
    click.option(
        "--ttl-s", default=60, show_default=True, type=click.IntRange(0), help="rayjob: life of the cluster after the end."
    ),
]


def spec_of(name: str | None, command: tuple[str, ...], given: dict[str, Any]) -> tuple[RaySpec, list[shell.Check]]:
    """(specification, warnings about it). Raises SkillError usage."""
    fields, request = job_fields(name, command, given)
    fields["kind"] = fields["kind"] or (request.engine if request else None)
    if fields["kind"] not in KINDS:
        raise usage(f"no kind of Ray's: {fields['kind']}", f"--kind {' or '.join(KINDS)}, or `engine` of the request")
    if request and fields["kind"] == "raycluster":
        fields["command"] = ()  # of the job on it: `submit`
    fields["ray_version"], known = ray_version(fields["ray_version"], fields["image"])
    fields["ray_start"] = pairs("--ray-start", fields["ray_start"])
    spec = RaySpec(**fields)
    return spec, warnings(spec, known)


def warnings(spec: RaySpec, known: bool) -> list[shell.Check]:
    found = []
    if not known:
        guess = f"the image's tag names no version of Ray: {spec.ray_version} assumed"
        found.append(shell.Check("ray.version", "warn", guess, None, "--ray-version, as `ray --version` in the image says"))
    old = tuple(map(int, spec.ray_version.split("."))) < QUOTING_PROVEN
    if spec.kind == "rayjob" and old and any(shlex.quote(word) != word for word in spec.command):
        told = f"`ray job submit` of Ray {spec.ray_version} may take words with blanks or quotes apart"
        evidence = "github.com/ray-project/ray/pull/63797"
        found.append(shell.Check("ray.quoting", "warn", told, evidence, "put the command into a script, or use submit"))
    if not spec.claim:
        lost = "no volume claim: checkpoints go with the pods"
        found.append(
            shell.Check(
                "checkpoints.volume",
                "warn",
                lost,
                None,
                "checkpoints.storage; or checkpoint-manager ensure-volume, then --claim",
            )
        )
    return found
