"""The options of `create` that Ray alone has, and how the call becomes a RaySpec."""

from __future__ import annotations

import shlex
from typing import Any

import click
import trainyard_shell as shell

from ray_spec import KINDS, RaySpec, ray_version
from trainyard_podjob import usage
from trainyard_podjob_options import job_fields, pairs, text

OWN = [
    click.option(
        "--kind", type=click.Choice(list(KINDS)), help="rayjob: cluster and command in one. Needed, here or in the request."
    ),
    text("--ray-version", "V", "Ray in the image.  [default: from the image's tag, else 2.60.0]"),
    text("--ray-start", "K=V", "A further rayStartParams entry; may be repeated.", multiple=True),
    click.option(
        "--ttl-s", default=60, show_default=True, type=click.IntRange(0), help="rayjob: life of the cluster after the end."
    ),
]


QUOTING_PROVEN = (2, 60, 0)
"""From here on words reach the driver as they are (tried); when exactly it was fixed is not known."""


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
