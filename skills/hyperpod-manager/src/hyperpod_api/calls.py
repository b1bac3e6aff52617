"""Calls to SageMaker: which may be repeated, and what its refusals mean."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import trainyard_aws as aws
import trainyard_shell as shell

Document = dict[str, Any]
NO_CLUSTER = re.compile(r"(?i)not found|could not find")
MAX_PAGES = 1000
"""Of one list; a service that never stops giving tokens ends there, as an error."""


@dataclass(frozen=True)
class SageMaker:
    """SageMaker in one region."""

    reading: Any
    """boto3's client for what changes nothing; botocore repeats its calls when AWS is busy."""
    writing: Any
    """For what changes something: one try. A repeated call may reboot, replace or buy a second time."""

    @classmethod
    def open(cls, region: str | None) -> SageMaker:
        """Raises AwsError credentials, usage, dependency."""
        once = {"retries": {"mode": "standard", "total_max_attempts": 1}}
        return cls(aws.client("sagemaker", region), aws.client("sagemaker", region, **once))

    @property
    def region(self) -> str:
        return str(self.reading.meta.region_name)

    def pages(self, operation: str, what: str, resource: str = "*", **request: Any) -> Iterator[Document]:
        """Every page of a list call, `list_cluster_nodes` for example. Raises AwsError."""
        for _ in range(MAX_PAGES):
            with self.asking(what, resource):
                page = getattr(self.reading, operation)(**request)
            yield page
            if not page.get("NextToken"):
                return
            request["NextToken"] = page["NextToken"]
        raise shell.SkillError("unreachable", f"cannot {what}: more than {MAX_PAGES} pages", hint="--group, or a later --since")

    @contextmanager
    def asking(self, what: str, resource: str = "*") -> Iterator[None]:
        """Around calls. A cluster that is not there is `not-found`, in AWS's word for it and in its emulators'.
        Raises AwsError."""
        try:
            with aws.asking(f"{what} ({self.region})", resource):
                yield
        except aws.AwsError as error:
            if error.code == "not-found" or (error.reason == "ValidationException" and NO_CLUSTER.search(str(error))):
                hint = f"`manage_hyperpod.py clusters --region {self.region}` lists those of the region"
                raise aws.AwsError("not-found", error.reason, str(error), hint=hint) from error
            raise
