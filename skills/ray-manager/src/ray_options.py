"""The options of `create`, and how the call's words become a RaySpec."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable
from typing import Any

import click
import trainyard_shell as shell

from ray_spec import KINDS, RaySpec, ray_version, usage


class SecondsOrAuto(click.FloatRange):
    """Seconds, or None for the word auto."""

    name = "auto|SECONDS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in (None, "auto"):
            return None
        seconds = super().convert(value, param, ctx)
        if seconds != seconds:  # FloatRange lets NaN through
            self.fail(f"{value!r} is not a number of seconds", param, ctx)
        return seconds


OPTIONS = [
    click.option("--kind", required=True, type=click.Choice(list(KINDS)), help="rayjob: cluster and command in one."),
    click.option("--run-id", required=True, metavar="HEX", help="16 hex digits: whose it is."),
    click.option("--image", required=True, metavar="URI", help="With Ray, and for torchrun the trainyard package, in it."),
    click.option("--nodes", required=True, type=click.IntRange(1, 5000), help="Ray nodes; the head is one of them."),
    click.option("--procs", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes a node, for torchrun."),
    click.option("--ray-version", metavar="V", help="Ray in the image.  [default: from the image's tag, else 2.60.0]"),
    click.option("--claim", metavar="PVC", help="Volume claim at /trainyard: where checkpoints survive."),
    click.option("--env", multiple=True, metavar="K=V", help="Variable of every Ray node; may be repeated."),
    click.option("--secret", multiple=True, metavar="VAR=SECRET/KEY", help="Variable from a Secret; may be repeated."),
    click.option("--node-selector", multiple=True, metavar="K=V", help="May be repeated."),
    click.option("--toleration", multiple=True, metavar="JSON", help="May be repeated."),
    click.option("--cpu", metavar="Q", help="Request of each Ray node."),
    click.option("--memory", metavar="Q", help="Request and limit of each Ray node."),
    click.option("--shm", metavar="Q", help="Size of /dev/shm.  [default: the memory's]"),
    click.option("--gpus", default=0, show_default=True, type=click.IntRange(0, 64), help="Of each Ray node, the head too."),
    click.option("--gpu-resource", default="nvidia.com/gpu", show_default=True, metavar="NAME"),
    click.option("--efa", default=0, show_default=True, type=click.IntRange(0, 64), help="EFA devices of each Ray node."),
    click.option("--queue", metavar="Q", help="Kueue's local queue."),
    click.option("--priority", metavar="P", help="Priority class: the queue's with --queue, else the pods'."),
    click.option("--service-account", metavar="S", help="Without one no token is mounted."),
    click.option("--image-pull-secret", multiple=True, metavar="S", help="May be repeated."),
    click.option("--max-restarts", default=3, show_default=True, type=click.IntRange(0, 1000), help="Of the training inside."),
    click.option("--grace-s", default=60, show_default=True, type=click.IntRange(1, 86400), help="Seconds to save at a stop."),
    click.option("--hang", default="restart", show_default=True, type=click.Choice(["restart", "report"]), help="What then."),
    click.option("--hang-after-s", default="auto", show_default=True, type=SecondsOrAuto(1, 1e7), help="Without a step."),
    click.option("--spread-key", metavar="LABEL", help="Spread the nodes evenly over this node label."),
    click.option("--ray-start", multiple=True, metavar="K=V", help="A further rayStartParams entry; may be repeated."),
    click.option(
        "--ttl-s", default=60, show_default=True, type=click.IntRange(0), help="rayjob: life of the cluster after the end."
    ),
]


QUOTING_PROVEN = (2, 60, 0)
"""From here on words reach the driver as they are (tried); when exactly it was fixed is not known."""


def create_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def spec_of(name: str, command: tuple[str, ...], given: dict[str, Any]) -> tuple[RaySpec, list[shell.Check]]:
    """(specification, warnings about it). Raises SkillError usage."""
    version, known = ray_version(given.pop("ray_version"), given["image"])
    spec = RaySpec(
        name=name,
        command=list(command),
        ray_version=version,
        env=pairs_of("--env", given.pop("env")),
        secrets=pairs_of("--secret", given.pop("secret")),
        node_selector=pairs_of("--node-selector", given.pop("node_selector")),
        ray_start=pairs_of("--ray-start", given.pop("ray_start")),
        tolerations=[toleration(text) for text in given.pop("toleration")],
        image_pull_secrets=list(given.pop("image_pull_secret")),
        **given,
    )
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
        lost = "no --claim: checkpoints go with the pods"
        found.append(shell.Check("checkpoints.volume", "warn", lost, None, "checkpoint-manager ensure-volume, then --claim"))
    return found


def pairs_of(option: str, words: Iterable[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals or key in pairs:
            raise usage(f"{option} {word!r} is no K=V, or K is given twice", f"{option} KEY=VALUE")
        pairs[key] = value
    return pairs


def toleration(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict) or not set(value) <= {"key", "operator", "value", "effect", "tolerationSeconds"}:
        raise usage(
            f"--toleration {text!r} is no toleration", '--toleration \'{"key": "nvidia.com/gpu", "operator": "Exists"}\''
        )
    return value
