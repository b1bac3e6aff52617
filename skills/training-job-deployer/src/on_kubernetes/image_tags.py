"""The names of a job's image in its registry: the tag that says what it is, and the other one that the job file asks for."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import msgspec

import trainyard_shell as shell
from deploy_siblings import call, options
from trainyard_job import RUNTIME, Image, Job

if TYPE_CHECKING:
    from deployment import Deployment

PUSH = ("ecr-pusher", "push_image.py")
LOOK_S = 180.0
MAX_IMAGES = 1000
"""The newest, among which a tag is looked for."""


def image_key(job: Job) -> Image:
    assert job.image is not None, "findings has asked for it"
    return job.image


def repository(job: Job) -> str:
    return image_key(job).repository or f"trainyard/{job.name}"


def region_words(job: Job) -> list[str]:
    return options(region=image_key(job).region)


def tag(deployment: Deployment) -> str:
    """`src-SOURCE-TESTED`: digests of the source, and of what the stages depend on beside it."""
    job, image = deployment.job, image_key(deployment.job)
    command = deployment.job_file.command
    starts = [command.words[0], command.script, command.is_module]
    tested_for = [RUNTIME, image.test, image.tag, job.engine, job.network, msgspec.to_builtins(job.resources), starts, job.env]
    tested_for += [job.run, job.nodes, job.procs_per_node] if image.test == "full" else []
    short = hashlib.sha256(json.dumps(tested_for, sort_keys=True).encode()).hexdigest()[:8]
    return f"{_of_source(deployment)}{short}"


def _of_source(deployment: Deployment) -> str:
    source = str(deployment.answers["plan"].data.get("source_digest", ""))
    return f"src-{source.removeprefix('sha256:')[:16]}-"


def other_tag(deployment: Deployment) -> list[shell.Check]:
    """Whether `image.tag` can become this source's: an immutable one keeps its image, which the push would say after minutes of building."""
    job, wanted = deployment.job, image_key(deployment.job).tag
    if wanted == "auto":
        return []
    words = ["tags", repository(job), "--limit", str(MAX_IMAGES), *region_words(job)]
    found = call(PUSH, words, timeout_s=LOOK_S)
    if found.error_code == "permission":
        hint = str((found.document.get("error") or {}).get("hint") or "")
        return [shell.Check("image.tag", "unknown", f"not allowed to read whether the tag {wanted} is taken", fix=hint or None)]
    if found.error_code == "not-found":  # no repository yet
        return []
    rows = found.or_raise().data.get("images")
    holders = [row for row in rows if wanted in row.get("immutable", [])] if isinstance(rows, list) else []
    return [check for row in holders if (check := _taken(deployment, wanted, row))]


def _taken(deployment: Deployment, wanted: str, holder: dict[str, Any]) -> shell.Check | None:
    """None where this source's own image has it, whose promotion was cut short."""
    others = [str(each) for each in holder.get("tags", []) if each != wanted]
    built = deployment.answers["plan"].data.get("tag")
    if built in others:
        return None
    # A push from here that was killed between its two tags leaves an image with the first alone; CodeBuild's has its build- tag.
    unknown = not others and image_key(deployment.job).builder == "docker"
    same = any(each.startswith(_of_source(deployment)) for each in others)
    told = "of this source, tested for something else" if same else "of another source" if others else "of an unknown source"
    named = f"{told} ({', '.join(others[:3])})" if others else told
    summary = f"{repository(deployment.job)}:{wanted} already names {holder.get('digest')}, {named}, and cannot be moved"
    fix = f"another image.tag, or tag: auto; push_image.py tags {repository(deployment.job)} shows what is there"
    return shell.Check("image.tag", "warn" if same or unknown else "fail", shell.clean(summary, 400), fix=fix)
