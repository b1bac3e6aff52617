"""What one build is asked for: checked words in, the overrides of StartBuild out. Nothing is put into the buildspec's text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from codebuild.compute import Machine
from codebuild.repository import TAG, Repository
from codebuild.upload import Source
from image_tables import ASSETS

BUILDSPEC = "buildspec-build.yml"
TARGET = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}", re.ASCII)
ARGUMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}=[^\r\n\0]{0,2000}")
DOCKERFILE = re.compile(r"(?!/)(?!.*(?:^|/)\.\.(?:/|$))[A-Za-z0-9_./ +@=-]{1,300}", re.ASCII)
MAX_ARGUMENTS_CHARS = 4000
"""All variables of a build share a limit; AWS does not say which."""
QUEUED_MINUTES = (5, 480)
TIMEOUT_MINUTES = (5, 2160)


@dataclass(frozen=True, kw_only=True)
class Ask:
    """One image: what it is called and how it is made."""

    name: str
    tag: str
    dockerfile: str
    """Its path in the packed source."""
    platform: str
    target: str | None = None
    build_args: tuple[str, ...] = ()
    no_cache: bool = False
    secrets: tuple[str, ...] = ()
    """Words for `--secret` whose files lie in the packed source."""
    kept_secrets: tuple[tuple[str, str], ...] = ()
    """Id, and the name or ARN in AWS Secrets Manager."""
    source_digest: str = ""
    timeout_minutes: int = 60
    queued_minutes: int = 30

    def __post_init__(self) -> None:
        _check(TAG, self.tag, "an image tag", "up to 128 letters, digits, _ . and -, not . or - first")
        _check(DOCKERFILE, self.dockerfile, "a path of a Dockerfile in the project", "a plain path below the project's folder")
        if self.target is not None:
            _check(TARGET, self.target, "a name of a stage", "--target NAME as behind AS in the Dockerfile")
        for each in self.build_args:
            _check(ARGUMENT, each, "a build argument", "--build-arg NAME=VALUE, one line")
        if sum(map(len, self.build_args)) > MAX_ARGUMENTS_CHARS:
            message = f"the build arguments are longer than {MAX_ARGUMENTS_CHARS} characters together"
            raise shell.SkillError("usage", message, hint="put what is long into a file of the project")

    @property
    def cache_tag(self) -> str:
        return f"cache-{self.name}"[:128].replace("/", "-")


def _check(pattern: re.Pattern[str], text: str, what: str, hint: str) -> None:
    if not pattern.fullmatch(text):
        raise shell.SkillError("usage", f"{shell.clean(text, 100)!r} is not {what}", hint=hint)


def request(ask: Ask, repository: Repository, source: Source, machine: Machine, region: str) -> dict[str, Any]:
    """The overrides of StartBuild: any project serves, and none is changed."""
    variables = {
        "IMAGE_URI": repository.uri,
        "IMAGE_HOST": repository.host,
        "IMAGE_REGION": region,
        "IMAGE_TAG": ask.tag,
        "IMAGE_DOCKERFILE": ask.dockerfile,
        "IMAGE_PLATFORM": ask.platform,
        "IMAGE_TARGET": ask.target or "",
        "IMAGE_BUILD_ARGS": "\n".join(ask.build_args),
        "IMAGE_SECRETS": "\n".join([*ask.secrets, *(f"id={id},env={_variable(id)}" for id, _ in ask.kept_secrets)]),
        "IMAGE_NO_CACHE": "1" if ask.no_cache else "",
        # A tag that can never change would take the first cache and no other.
        "IMAGE_CACHE": "" if repository.keeps(ask.cache_tag) else ask.cache_tag,
        "IMAGE_NAME": ask.name,
        "IMAGE_REPOSITORY": repository.name,
        "IMAGE_SOURCE_DIGEST": ask.source_digest,
    }
    version = {"sourceVersion": source.version} if source.version else {}
    return {
        "sourceTypeOverride": "S3",
        "sourceLocationOverride": source.location,
        **version,
        "artifactsOverride": {"type": "NO_ARTIFACTS"},
        "buildspecOverride": (ASSETS / BUILDSPEC).read_text(encoding="utf-8"),
        "environmentTypeOverride": machine.environment,
        "imageOverride": machine.image,
        "imagePullCredentialsTypeOverride": "CODEBUILD",
        "computeTypeOverride": machine.type,
        "privilegedModeOverride": True,
        "environmentVariablesOverride": [
            *({"name": name, "value": value, "type": "PLAINTEXT"} for name, value in variables.items()),
            *({"name": _variable(id), "value": secret, "type": "SECRETS_MANAGER"} for id, secret in ask.kept_secrets),
        ],
        "timeoutInMinutesOverride": ask.timeout_minutes,
        "queuedTimeoutInMinutesOverride": ask.queued_minutes,
    }


def _variable(id: str) -> str:
    """In which the build finds a secret."""
    return "IMAGE_SECRET_" + re.sub(r"[^A-Za-z0-9]", "_", id).upper()
