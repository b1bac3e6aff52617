"""Builds for tests: started with a buildspec, waited for, and their logs."""

from __future__ import annotations

import io
import time
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import yaml

from tests.components.aws.running import Aws

if TYPE_CHECKING:
    import pytest
    from botocore.exceptions import ClientError

Document = dict[str, Any]
DEADLINE_S = 60.0


def spec(**phases: Any) -> str:
    """A buildspec whose phases are lists of commands or whole mappings."""
    given = {name: value if isinstance(value, dict) else {"commands": value} for name, value in phases.items()}
    return str(yaml.safe_dump({"version": "0.2", "phases": given}))


def zipped(files: Mapping[str, str]) -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return memory.getvalue()


def start(aws: Aws, project: str = "trainyard", **request: Any) -> str:
    """The id of a new build."""
    return str(aws.client("codebuild").start_build(projectName=project, **request)["build"]["id"])


def shown(aws: Aws, id: str) -> Document:
    [build] = aws.client("codebuild").batch_get_builds(ids=[id])["builds"]
    return dict(build)


def ended(aws: Aws, id: str) -> Document:
    """The build, once it is complete. Raises TimeoutError."""
    deadline = time.monotonic() + DEADLINE_S
    while not (build := shown(aws, id))["buildComplete"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{id} is still in {build['currentPhase']}")
        time.sleep(0.05)
    return build


def reached(aws: Aws, id: str, phase: str) -> None:
    """Wait until the build is in this phase. Raises TimeoutError."""
    deadline = time.monotonic() + DEADLINE_S
    while (build := shown(aws, id))["currentPhase"] != phase:
        if time.monotonic() > deadline or build["buildComplete"]:
            raise TimeoutError(f"{id} is in {build['currentPhase']}, not in {phase}")
        time.sleep(0.02)


def phases(build: Document) -> dict[str, Document]:
    return {each["phaseType"]: each for each in build["phases"]}


def log_of(aws: Aws, build: Document) -> list[str]:
    """Every line, read as CloudWatch Logs is read: until the same token comes back."""
    logs, lines, token = aws.client("logs"), [], None
    where = {"logGroupName": build["logs"]["groupName"], "logStreamName": build["logs"]["streamName"], "startFromHead": True}
    while True:
        page = logs.get_log_events(**where, **({"nextToken": token} if token else {}))
        lines += [event["message"].rstrip("\n") for event in page["events"]]
        if page["nextForwardToken"] == token:
            return lines
        token = page["nextForwardToken"]


def refusal(raised: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    """(code, message)."""
    error = raised.value.response["Error"]
    return str(error["Code"]), str(error["Message"])
