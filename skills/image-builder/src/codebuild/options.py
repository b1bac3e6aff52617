"""The words of `build`, checked before anything is asked of AWS."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import re

import build_source
import image_naming
import trainyard_codebuild as codebuilds
import trainyard_shell as shell
from build_source import Wanted, Wishes
from codebuild.account import Account

SECRET = re.compile(r"id=([A-Za-z0-9_.-]{1,100}),secretsmanager=([A-Za-z0-9/_+=.@:-]{1,2048})", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Options:
    """The call, checked."""

    account: Account
    project: str
    bucket: str | None
    push: str | None
    """A repository's name in ECR; None: NAMESPACE and the image's name."""
    wanted: Wanted
    wishes: Wishes
    """About a generated Dockerfile."""
    write: bool
    secrets: tuple[tuple[str, str], ...]
    """Id for RUN --mount=type=secret, and the name or ARN in AWS Secrets Manager."""
    name: str | None
    tag: str
    compute_type: str | None
    no_cache: bool
    attempts: int
    timeout_s: float
    queue_s: float
    no_wait: bool
    quiet: bool
    dry_run: bool


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
        wishes=Wishes(
            **{name: given[name] for name in ("base", "instance_type", "job_network", "entry", "runtime_wheel", "user")}
        ),
        write=given["write"],
        secrets=tuple(_secret(each) for each in given["secret"]),
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


def _secret(text: str) -> tuple[str, str]:
    """`id=NAME,secretsmanager=SECRET`: its value goes from AWS Secrets Manager to the build and passes nowhere here."""
    found = SECRET.fullmatch(text)
    if found is None:
        message = f"--secret {shell.clean(text, 80)!r} is not id=NAME,secretsmanager=SECRET; files of this machine are not sent"
        raise shell.SkillError(
            "usage", message, hint="--secret id=hf,secretsmanager=hf-token; the project's role must be able to read it"
        )
    return found[1], found[2]
