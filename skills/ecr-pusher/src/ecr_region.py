"""One region's ECR: its client, the repository as it is described there, and the sign-in for its registry."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import push_names
import trainyard_aws as aws
import trainyard_shell as shell

RENEW_S = 300.0
"""A token is renewed so long before it expires."""
MAX_JOBS = 16
"""Layers at a time; with fewer connections urllib3 warns of each that it throws away."""
MAX_IMAGES, PAGES = 100_000, {"PageSize": 1000}


@dataclass
class Region:
    """A repository in a region."""

    name: str
    client: Any
    repository: str
    described: dict[str, Any] = field(default_factory=dict)
    """Of DescribeRepositories; empty before it was asked, or where there is none."""
    account: str = ""
    """Empty: that of who is signed in."""

    @property
    def named(self) -> dict[str, str]:
        """As ECR's calls name the repository."""
        return {"repositoryName": self.repository, **({"registryId": self.account} if self.account else {})}

    @property
    def uri(self) -> str:
        """As ECR says it: the host differs between partitions, FIPS and dual stack."""
        return str(self.described["repositoryUri"])

    @property
    def host(self) -> str:
        return self.uri.partition("/")[0]

    @property
    def arn(self) -> str:
        return str(
            self.described.get("repositoryArn")
            or f"arn:{self.client.meta.partition}:ecr:{self.name}:{self.account or '*'}:repository/{self.repository}"
        )

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        with aws.asking(f"{what} ({self.repository} in {self.name})", self.arn):
            yield

    def describe(self) -> bool:
        """Whether the repository exists; `described` is then what it is. Raises AwsError."""
        try:
            with self.asking("look for the repository"):
                found = self.client.describe_repositories(repositoryNames=[self.repository])["repositories"]
        except aws.AwsError as error:
            if error.reason == "RepositoryNotFoundException":
                return False
            raise
        self.described = found[0] if found else {}
        return bool(found)

    def need(self, hint: str = "") -> None:
        """Raises SkillError not-found; the hint is the command that makes it, where no other is given."""
        if not self.describe():
            make = f"push_image.py ensure-repo {self.repository} --region {self.name}, or push --create"
            raise shell.SkillError("not-found", f"there is no repository {self.repository} in {self.name}", hint=hint or make)

    def images(self) -> list[dict[str, Any]]:
        """All images, the newest first. Raises AwsError."""
        found: list[dict[str, Any]] = []
        with self.asking("list the images"):
            for page in self.client.get_paginator("describe_images").paginate(
                repositoryName=self.repository, PaginationConfig=PAGES
            ):
                found += page["imageDetails"]
                if len(found) > MAX_IMAGES:
                    break
        return sorted(found, key=lambda each: str(each.get("imagePushedAt", "")), reverse=True)

    def tagged(self) -> dict[str, str]:
        """Tag -> digest. Raises AwsError."""
        return {tag: each["imageDigest"] for each in self.images() for tag in each.get("imageTags", [])}


def connect(name: str | None, repository: str) -> Region:
    """The client of a region; None: AWS_REGION's or the profile's. Raises AwsError credentials, usage."""
    client = aws.client("ecr", None if name is None else push_names.region(name), max_pool_connections=MAX_JOBS)
    if not client.meta.region_name:  # AWS_DEFAULT_REGION= in the environment
        raise shell.SkillError("usage", "no region is named", hint=aws.NAME_A_REGION)
    return Region(client.meta.region_name, client, repository)


class EcrToken:
    """The registry's sign-in: `AWS:PASSWORD` in base64, of 12 hours. It is kept in memory only."""

    def __init__(self, region: Region) -> None:
        self.region, self.lock = region, threading.Lock()
        self.value, self.renew_at = "", 0.0

    def get(self) -> str:
        with self.lock:
            if not self.value or time.time() >= self.renew_at:
                self._fetch()
            return self.value

    def refresh(self, used: str) -> None:
        with self.lock:
            if self.value == used:
                self._fetch()

    def _fetch(self) -> None:
        with aws.asking(f"sign in to the registry of {self.region.name}"):
            data = self.region.client.get_authorization_token()["authorizationData"]
        if not data:
            raise shell.SkillError("credentials", f"ECR in {self.region.name} gave no sign-in", hint=aws.SIGN_IN)
        self.value, ends = str(data[0]["authorizationToken"]), data[0].get("expiresAt")
        left_s = ends.timestamp() - time.time() if ends else 0.0
        # an end that has passed already is a clock that is wrong, here or there: then the registry's 401 says when
        self.renew_at = time.time() + left_s - RENEW_S if left_s > RENEW_S else float("inf")
