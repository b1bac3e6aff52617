"""The repository in ECR that a build pushes to: what it takes, and what a tag holds. Nothing in it is changed from here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from codebuild.account import Account
from trainyard_aws import AwsError, asking

NAME = re.compile(r"(?=.{2,256}$)[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*", re.ASCII)
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True)
class Repository:
    name: str
    uri: str
    """host/name, as DescribeRepositories gives it."""
    mutability: str
    exclusions: tuple[str, ...]

    @property
    def host(self) -> str:
        return self.uri.partition("/")[0]

    def keeps(self, tag: str) -> bool:
        """Whether a tag can never be given to another image: IMMUTABLE but for the filters, MUTABLE with them the other way round."""
        excluded = any(_matches(each, tag) for each in self.exclusions)
        return excluded != self.mutability.startswith("IMMUTABLE")


def _matches(wildcard: str, tag: str) -> bool:
    return re.fullmatch(re.escape(wildcard).replace(r"\*", ".*"), tag) is not None


def find(account: Account, name: str) -> Repository:
    """Raises SkillError usage (not a name), not-found, permission."""
    if not NAME.fullmatch(name):
        message = f"{shell.clean(name, 100)!r} is not the name of an ECR repository"
        raise shell.SkillError("usage", message, hint="2 to 256 of a-z, 0-9, and . _ - / between them")
    arn = f"arn:{account.partition}:ecr:{account.region}:{account.id}:repository/{name}"
    try:
        with asking(f"look at the repository {name}", arn):
            found = account.registry.describe_repositories(repositoryNames=[name])["repositories"][0]
    except AwsError as error:
        if error.reason != "RepositoryNotFoundException":
            raise
        message = f"no repository {name} in {account.region} of account {account.id}"
        raise shell.SkillError("not-found", message, hint=f"push_image.py ensure-repo {name}; or --push NAME") from error
    filters = found.get("imageTagMutabilityExclusionFilters") or []
    return Repository(
        name, str(found["repositoryUri"]), str(found["imageTagMutability"]), tuple(str(each["filter"]) for each in filters)
    )


def by_tag(account: Account, name: str, tag: str) -> dict[str, Any] | None:
    """Digest, tags and compressed size of what a tag names (`imageDetails` of DescribeImages), None where there is no such tag."""
    return _details(account, name, {"imageTag": tag})


def by_digest(account: Account, name: str, digest: str) -> dict[str, Any] | None:
    return _details(account, name, {"imageDigest": digest})


def _details(account: Account, name: str, which: dict[str, str]) -> dict[str, Any] | None:
    arn = f"arn:{account.partition}:ecr:{account.region}:{account.id}:repository/{name}"
    try:
        with asking(f"look at an image of {name}", arn):
            details = account.registry.describe_images(repositoryName=name, imageIds=[which])["imageDetails"]
    except AwsError as error:
        if error.reason != "ImageNotFoundException":
            raise
        return None
    return dict(details[0]) if details else None
