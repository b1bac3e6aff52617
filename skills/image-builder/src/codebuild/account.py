"""Whose account, which region, and the clients that a build needs; each is opened once, when it is first asked for."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from dataclasses import dataclass
from typing import Any

import trainyard_aws
import trainyard_shell as shell


@dataclass(frozen=True)
class Account:
    """Where a build runs. Raises AwsError credentials, usage (no region) when it is first asked."""

    region_asked: str | None = None

    @functools.cached_property
    def id(self) -> str:
        return self._caller["Account"]

    @functools.cached_property
    def partition(self) -> str:
        """aws, aws-cn, aws-us-gov: the second word of every ARN."""
        return self._caller["Arn"].split(":")[1]

    @property
    def region(self) -> str:
        return str(self.builds.meta.region_name)

    @functools.cached_property
    def builds(self) -> Any:
        return trainyard_aws.client("codebuild", self.region_asked)

    @functools.cached_property
    def logs(self) -> Any:
        return trainyard_aws.client("logs", self.region_asked)

    @functools.cached_property
    def store(self) -> Any:
        return trainyard_aws.client("s3", self.region_asked, max_pool_connections=16)

    @functools.cached_property
    def registry(self) -> Any:
        return trainyard_aws.client("ecr", self.region_asked)

    def open_meanwhile(self) -> None:
        """Opens the clients of a build in a thread, half a second of boto3's, and asks AWS nothing. What fails there fails again,
        and is told, when it is asked for.
        """

        def work() -> None:
            with contextlib.suppress(shell.SkillError, ImportError):
                _ = (self.builds, self.registry, self.store)

        threading.Thread(target=work, daemon=True).start()

    @functools.cached_property
    def _caller(self) -> dict[str, str]:
        region = self.region  # first: STS answers without one, and the rest does not
        with trainyard_aws.asking("find out whose account this is"):
            caller: dict[str, str] = trainyard_aws.client("sts", region).get_caller_identity()
        return caller


def use_profile(name: str | None) -> None:
    """boto3 reads it from the environment, as the AWS command line does. For this process alone."""
    if name:
        os.environ["AWS_PROFILE"] = name
