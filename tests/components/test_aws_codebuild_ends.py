"""CodeBuild at the wire: builds that are stopped, are late, or go wrong end as CodeBuild's do."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.components.aws.building import ended, log_of, phases, reached, refusal, shown, spec, start
from tests.components.aws.running import Aws


def test_stop(aws: Aws, tmp_path: Path) -> None:
    """A stopped build is STOPPED, runs no later command, and nothing that it started lives on."""
    aws.make_project()
    text = spec(build=[f"sleep 300 & echo $! >{tmp_path}/pid; sleep 300"], post_build=[f"touch {tmp_path}/later"])
    id = start(aws, buildspecOverride=text)
    reached(aws, id, "BUILD")
    deadline = time.monotonic() + 10
    while not (tmp_path / "pid").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    aws.client("codebuild").stop_build(id=id)
    build = ended(aws, id)
    assert (build["buildStatus"], phases(build)["BUILD"]["phaseStatus"]) == ("STOPPED", "STOPPED")
    assert not (tmp_path / "later").exists()
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_time_out(aws: Aws) -> None:
    """A build over its time is TIMED_OUT, and one that waits too long in the queue too."""
    aws.make_project()
    aws.limits(concurrent=1, minute_s=0.1)
    first = start(aws, buildspecOverride=spec(build=["sleep 60"]), timeoutInMinutesOverride=10)
    second = start(aws, buildspecOverride=spec(build=["true"]), queuedTimeoutInMinutesOverride=5)
    queued, build = ended(aws, second), ended(aws, first)
    assert (queued["buildStatus"], phases(queued)["QUEUED"]["phaseStatus"]) == ("TIMED_OUT", "TIMED_OUT")
    assert build["buildStatus"] == "TIMED_OUT"
    [phase] = [each for each in build["phases"] if each.get("phaseStatus") == "TIMED_OUT"]
    assert phase["contexts"][0]["statusCode"] == "BUILD_TIMED_OUT"
    assert "POST_BUILD" not in phases(build)


def test_retry_chain(aws: Aws) -> None:
    """A build that fails is retried as often as its limit; each link names the next; one that succeeds has no next."""
    aws.make_project()
    aws.builds_fault(phase="BUILD", status_code="CLIENT_ERROR", message="a bad day", times=2)
    request = {"buildspecOverride": spec(build=["true"]), "autoRetryLimitOverride": 3}
    build = ended(aws, start(aws, **request))
    statuses = [build["buildStatus"]]
    while following := build["autoRetryConfig"].get("nextAutoRetry"):
        before, build = build, ended(aws, following.rpartition("build/")[2])
        assert build["autoRetryConfig"]["previousAutoRetry"] == before["arn"]
        statuses.append(build["buildStatus"])
    assert statuses == ["FAILED", "FAILED", "SUCCEEDED"]
    assert build["autoRetryConfig"]["autoRetryNumber"] == 2
    assert len(aws.client("codebuild").list_builds_for_project(projectName="trainyard")["ids"]) == 3


@pytest.mark.parametrize(
    ("fault", "status", "last_phase"),
    [
        ({"phase": "PROVISIONING", "status_code": "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE"}, "FAILED", "PROVISIONING"),
        ({"phase": "INSTALL", "status_code": "INTERNAL_SERVICE_ERROR", "status": "FAULT"}, "FAULT", "INSTALL"),
        ({"phase": "DOWNLOAD_SOURCE", "status_code": "CLIENT_ERROR"}, "FAILED", "DOWNLOAD_SOURCE"),
    ],
)
def test_fault(aws: Aws, fault: dict[str, str], status: str, last_phase: str) -> None:
    """A build fails where the test asks for it, and the one after it does not."""
    aws.make_project()
    aws.builds_fault(message="as asked", **fault)
    build = ended(aws, start(aws))
    assert (build["buildStatus"], phases(build)[last_phase]["phaseStatus"]) == (status, status)
    assert phases(build)[last_phase]["contexts"][0] == {"statusCode": fault["status_code"], "message": "as asked"}
    assert ended(aws, start(aws))["buildStatus"] == "SUCCEEDED"


def test_log_lost_and_late(aws: Aws) -> None:
    """A log stream that never comes, and one whose lines come late: the builds succeed, and the second log is whole in the end."""
    aws.make_project()
    for log in ("lost", "late"):
        aws.builds_fault(log=log, log_late_s=3)
    lost = ended(aws, start(aws))
    with pytest.raises(ClientError) as raised:
        log_of(aws, lost)
    assert refusal(raised)[0] == "ResourceNotFoundException"
    id = start(aws, buildspecOverride=spec(build=["echo hello", "sleep 60"]))
    reached(aws, id, "BUILD")
    time.sleep(0.3)
    assert log_of(aws, shown(aws, id)) == []
    aws.client("codebuild").stop_build(id=id)
    build, deadline = ended(aws, id), time.monotonic() + 60
    while "hello" not in log_of(aws, build):
        assert time.monotonic() < deadline
        time.sleep(0.1)
