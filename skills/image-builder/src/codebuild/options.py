"""The words of `build`, checked before anything is asked of AWS."""

from __future__ import annotations

from typing import Any

import build_source
import image_naming
import trainyard_codebuild as codebuilds
import trainyard_shell as shell
from build_source import Wanted
from codebuild.account import Account
from codebuild.building import Options


def options(given: dict[str, Any]) -> Options:
    """Raises SkillError usage."""
    wanted = Wanted(
        dockerfile=given["dockerfile"],
        target=given["target"],
        platform=given["platform"] or "linux/amd64",
        build_args=build_source.build_args(given["build_arg"]),
        allowed_secret_files=tuple(given["allow_secret_file"]),
        context_limit_bytes=given["context_limit"] << 20,
    )
    lambda_type = str(given["compute_type"] or "").upper().startswith("BUILD_LAMBDA")
    if lambda_type:
        message = "Lambda compute cannot build images: it has no Docker, no root and no disk but /tmp"
        raise shell.SkillError("usage", message, hint="--compute-type LARGE, or without (chosen by the image's size)")
    return Options(
        account=Account(given["region"]),
        project=codebuilds.check_project(given["project"]),
        bucket=given["bucket"],
        push=image_naming.repository(given["push"]) if given["push"] else None,
        wanted=wanted,
        name=image_naming.image_name(given["image_name"]) if given["image_name"] else None,
        tag=given["image_tag"] if given["image_tag"] == "auto" else image_naming.tag(given["image_tag"]),
        compute_type=given["compute_type"],
        no_cache=given["no_cache"],
        attempts=given["attempts"],
        timeout_s=given["timeout"],
        queue_s=given["queue_timeout"],
        no_wait=given["no_wait"],
        quiet=given["quiet"],
        dry_run=given["dry_run"],
    )
