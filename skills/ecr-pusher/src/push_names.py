"""Names of a registry, each against its own rule before the first call.

Repository: ECR's rule for repositoryName. Tag and digest: the OCI distribution specification.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

import trainyard_shell as shell

REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
REGION = re.compile(r"[a-z]{2,8}(?:-[a-z0-9]{1,16}){1,4}")
REGISTRY = re.compile(r"(?:(?P<account>\d{12})\.dkr[.-]ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)|public\.ecr)\.[a-z0-9.]+")
"""The host of one of ECR's registries. By ECR's rule it is also a valid beginning of a repository's name."""
LOCAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}")
MIN_CHARS, MAX_CHARS = 2, 256


@dataclass(frozen=True)
class Reference:
    """An image in a registry."""

    repository: str
    tag: str | None
    digest: str | None
    host: str | None = None

    @property
    def regions(self) -> tuple[str, ...]:
        """That of the host, where it says one."""
        found = REGISTRY.fullmatch(self.host or "")
        return (found["region"],) if found and found["region"] else ()

    @property
    def account(self) -> str:
        """Of the host; empty where it says none."""
        found = REGISTRY.fullmatch(self.host or "")
        return (found["account"] or "") if found else ""

    @property
    def word(self) -> str:
        """The last part of a manifest's URL."""
        return self.digest or self.tag or ""


def repository(name: str) -> str:
    """The name, where ECR would take it. Raises SkillError usage."""
    host, _, rest = name.partition("/")
    if REGISTRY.fullmatch(host):
        hint = (
            f"the name alone ({rest}): the registry is that of --region, in the account that you are signed in to (AWS_PROFILE)"
        )
        raise shell.SkillError("usage", f"{host} is the host of a registry, no part of a repository's name", hint=hint)
    if MIN_CHARS <= len(name) <= MAX_CHARS and REPOSITORY.fullmatch(name):
        return name
    hint = "small letters, digits and single . _ - / between them, 2 to 256 characters, without the registry's host: team/net"
    raise shell.SkillError("usage", f"{shell.clean(name, 80)!r} is not a valid repository name", hint=hint)


def tag(name: str) -> str:
    if TAG.fullmatch(name):
        return name
    hint = "letters, digits and . _ -, at most 128 characters, not beginning with . or -"
    raise shell.SkillError("usage", f"{shell.clean(name, 80)!r} is not a valid tag", hint=hint)


def digest(text: str) -> str:
    if DIGEST.fullmatch(text):
        return text
    raise shell.SkillError(
        "usage",
        f"{shell.clean(text, 80)!r} is not a valid digest",
        hint="sha256: and 64 hexadecimal digits, as `push` prints it",
    )


def tag_or_digest(text: str) -> tuple[str, str]:
    """TAG, DIGEST or TAG@DIGEST; what is not named is empty. Raises SkillError usage."""
    if DIGEST.fullmatch(text):
        return "", text
    name, at, given = text.partition("@")
    return tag(name), digest(given) if at else ""


def region(name: str) -> str:
    """The name, where it could be a region: botocore makes a host name of it."""
    if REGION.fullmatch(name):
        return name
    raise shell.SkillError(
        "usage", f"{shell.clean(name, 80)!r} is not a valid region", hint="--region us-east-1, once for each"
    )


def local_image(name: str) -> str:
    """The name of an image of the local Docker: nothing that its command line takes for an option."""
    if LOCAL.fullmatch(name):
        return name
    hint = "NAME:TAG as `docker images` prints it, oci:PATH, docker-archive:PATH or ecr:REFERENCE"
    raise shell.SkillError("usage", f"{shell.clean(name, 80)!r} is not a valid image name", hint=hint)


def reference(text: str) -> Reference:
    """NAME:TAG, NAME@DIGEST or NAME:TAG@DIGEST, with the registry's host before it or without. Raises SkillError usage."""
    rest, _, given_digest = text.partition("@")
    first, slash, behind = rest.partition("/")
    host = first if slash and ("." in first or ":" in first or first == "localhost") else None
    name, _, given_tag = (behind if host else rest).partition(":")
    if not given_tag and not given_digest:
        raise shell.SkillError(
            "usage", f"{shell.clean(text, 200)!r} has no tag and no digest", hint="NAME:TAG or NAME@sha256:..."
        )
    return Reference(
        repository(name), tag(given_tag) if given_tag else None, digest(given_digest) if given_digest else None, host
    )


def is_loopback(host: str) -> bool:
    """Whether a host, with its port or without, is this machine: only such a registry is spoken to without TLS."""
    name = host.rpartition(":")[0] if re.search(r":\d+$", host) else host
    if name == "localhost":
        return True
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return False
