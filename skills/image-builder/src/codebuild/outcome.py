"""What a build has come to: its image, checked against the registry, or the phase, the reason and what to do."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell
from codebuild.account import Account
from codebuild.repository import DIGEST, by_digest, by_tag
from trainyard_codebuild import Build
from trainyard_codebuild_log import still_going

AGAIN = {
    "TIMED_OUT": "a longer --timeout, or a larger --compute-type",
    "STOPPED": "it was stopped on request; `build` builds it anew",
    "FAULT": "a fault of AWS: `build` builds it anew",
}


def view(build: Build) -> dict[str, Any]:
    """A build as data: where it is, and what it makes."""
    said, place = build.variables, build.raw.get("logs") or {}
    uri, tag = said.get("IMAGE_URI", ""), said.get("IMAGE_TAG", "")
    return {
        "build_id": build.id,
        "status": build.status,
        "phase": build.phase,
        "seconds": build.seconds,
        "name": said.get("IMAGE_NAME"),
        "image": f"{uri}:{tag}" if uri else None,
        "tag": tag or None,
        "digest": build.exported.get("IMAGE_DIGEST"),
        "source_digest": said.get("IMAGE_SOURCE_DIGEST"),
        "compute_type": (build.raw.get("environment") or {}).get("computeType"),
        "phases": build.phases(),
        "retried_as": build.retry,
        "log": {"group": place.get("groupName"), "stream": place.get("streamName"), "link": place.get("deepLink")},
    }


def judge(build: Build) -> shell.Check:
    """pass for SUCCEEDED, else fail with the phase and the reason CodeBuild gives. Raises SkillError timeout while it runs."""
    if not build.ended:
        raise still_going(build.id, build.seconds, build)
    if build.status == "SUCCEEDED":
        return shell.Check("codebuild.build", "pass", f"{build.id} succeeded in {build.seconds:.0f} s")
    why = build.failure() or "CodeBuild gives no reason"
    fix = AGAIN.get(build.status, f"build_image_codebuild.py logs {build.id}")
    return shell.Check("codebuild.build", "fail", f"{build.id} {build.status}", why, fix)


def verified(account: Account, build: Build) -> tuple[dict[str, Any], list[shell.Check]]:
    """Digest and compressed size of the image that the build pushed, as the registry has it.

    Raises SkillError conflict: the build names no digest, or the registry does not have it.
    """
    said, digest = build.variables, build.exported.get("IMAGE_DIGEST", "")
    if not DIGEST.fullmatch(digest):
        message = f"{build.id} succeeded and exported no digest of an image: {shell.clean(digest, 80)!r}"
        raise shell.SkillError("conflict", message, hint=f"build_image_codebuild.py logs {build.id}", data=view(build))
    name, tag = said["IMAGE_REPOSITORY"], said["IMAGE_TAG"]
    found = by_digest(account, name, digest)
    if found is None:
        message = f"{build.id} says that it pushed {digest}, and the repository {name} does not have it"
        raise shell.SkillError("conflict", message, hint="was it deleted? The same call builds again", data=view(build))
    tags = sorted(found.get("imageTags") or [])
    checks = [
        shell.Check("registry.digest", "pass", f"{name} has {digest}", f"{found.get('imageSizeInBytes')} bytes, compressed"),
        *([] if tag in tags else [_other_tag(account, name, tag, tags)]),
    ]
    data = {"digest": digest, "size_bytes": found.get("imageSizeInBytes"), "reference": f"{said['IMAGE_URI']}@{digest}"}
    return {**data, "tag": tag if tag in tags or not tags else tags[0]}, checks


def _other_tag(account: Account, name: str, tag: str, tags: list[str]) -> shell.Check:
    """`push_image.py promote` gives an image its tags and removes the build's; or another build has taken that."""
    if by_tag(account, name, tag) is None:
        told = f"its tags are {', '.join(tags[:5])}" if tags else "it has no tag"
        return shell.Check("registry.tag", "pass", shell.clean(f"the tag {tag} was removed; {told}", 300))
    summary = f"the tag {tag} of {name} names another image by now"
    return shell.Check("registry.tag", "warn", summary, fix="use the digest: it is this build's; or a tag of its own")
