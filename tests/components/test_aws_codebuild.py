"""CodeBuild at the wire: builds really run, and end as CodeBuild's do."""

from __future__ import annotations

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.components.aws.building import ended, log_of, phases, reached, shown, spec, start, zipped
from tests.components.aws.running import Aws

ORDER = "SUBMITTED QUEUED PROVISIONING DOWNLOAD_SOURCE INSTALL PRE_BUILD BUILD POST_BUILD UPLOAD_ARTIFACTS FINALIZING COMPLETED"


def refusal(raised: pytest.ExceptionInfo[ClientError]) -> tuple[str, str]:
    error = raised.value.response["Error"]
    return str(error["Code"]), str(error["Message"])


def bucket(aws: Aws, name: str = "sources") -> Any:
    s3 = aws.client("s3")
    s3.create_bucket(Bucket=name)
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return s3


def test_whole_build(aws: Aws) -> None:
    """Source by its version, one shell for all phases, variables by precedence, exported variables, artifacts, a log with phases."""
    s3 = bucket(aws)
    document = {
        "version": "0.2",
        "env": {"variables": {"FROM": "spec", "LOW": "spec"}, "exported-variables": ["DIGEST"]},
        "phases": {
            "install": {"commands": ["kept=here", "cd sub"]},
            "build": {
                "commands": ["cat file", "echo $FROM $LOW $kept $(basename $PWD)", "export DIGEST=sha256:1", "false || true"]
            },
            "post_build": {"commands": ["echo success=$CODEBUILD_BUILD_SUCCEEDING > ../out.txt"]},
        },
        "artifacts": {"files": ["*.txt"]},
    }
    old = s3.put_object(
        Bucket="sources", Key="p.zip", Body=zipped({"buildspec.yml": yaml.safe_dump(document), "sub/file": "first"})
    )
    s3.put_object(Bucket="sources", Key="p.zip", Body=zipped({"sub/file": "second"}))
    aws.make_project()
    id = start(
        aws,
        sourceTypeOverride="S3",
        sourceLocationOverride="sources/p.zip",
        sourceVersion=old["VersionId"],
        buildspecOverride="buildspec.yml",
        environmentVariablesOverride=[{"name": "FROM", "value": "start"}],
        artifactsOverride={"type": "S3", "location": "sources", "path": "built", "name": "x", "packaging": "NONE"},
    )
    build = ended(aws, id)
    assert build["buildStatus"] == "SUCCEEDED", log_of(aws, build)
    assert [each["phaseType"] for each in build["phases"]] == ORDER.split()
    assert build["exportedEnvironmentVariables"] == [{"name": "DIGEST", "value": "sha256:1"}]
    assert s3.get_object(Bucket="sources", Key="built/x/out.txt")["Body"].read() == b"success=1\n"
    log = log_of(aws, build)
    assert {"first", "start spec here sub"} <= set(log)
    assert [line.partition(" ")[2].partition(" ")[2].partition(" ")[2] for line in log if "Entering phase" in line] == [
        f"Entering phase {name}" for name in ("INSTALL", "PRE_BUILD", "BUILD", "POST_BUILD")
    ]


def test_failed_build(aws: Aws) -> None:
    """POST_BUILD runs after a failed BUILD and sees it; the context names command and status; no later command of BUILD runs."""
    aws.make_project()
    text = spec(
        build={"commands": ["(exit 7)", "echo never"], "finally": ["echo finally"]},
        post_build=['echo "succeeding=$CODEBUILD_BUILD_SUCCEEDING"'],
    )
    build = ended(aws, start(aws, buildspecOverride=text))
    assert build["buildStatus"] == "FAILED"
    assert phases(build)["BUILD"]["contexts"] == [
        {"statusCode": "COMMAND_EXECUTION_ERROR", "message": "Error while executing command: (exit 7). Reason: exit status 7"}
    ]
    log = log_of(aws, build)
    assert {"finally", "succeeding=0"} <= set(log)
    assert "never" not in log


@pytest.mark.parametrize(
    ("phase", "on_failure", "ran"),
    [
        ("pre_build", None, []),
        ("pre_build", "CONTINUE", ["BUILD", "POST_BUILD"]),
        ("build", "ABORT", []),
        ("install", None, []),
    ],
)
def test_on_failure(aws: Aws, phase: str, on_failure: str | None, ran: list[str]) -> None:
    """Which phases follow one that failed."""
    aws.make_project()
    failing: dict[str, Any] = {"commands": ["false"]} | ({"on-failure": on_failure} if on_failure else {})
    build = ended(aws, start(aws, buildspecOverride=spec(**{phase: failing})))
    names = [each["phaseType"] for each in build["phases"]]
    assert build["buildStatus"] == "FAILED"
    assert names[names.index(phase.upper()) + 1 :] == [*ran, "UPLOAD_ARTIFACTS", "FINALIZING", "COMPLETED"]


@pytest.mark.parametrize(("on_failure", "builds"), [("RETRY-2", 3), ("RETRY-1-.*timed out.*", 2), ("RETRY-.*other.*", 1)])
def test_on_failure_retry(aws: Aws, on_failure: str, builds: int) -> None:
    """The buildspec itself asks for retries, where its pattern is in the output."""
    aws.make_project()
    text = spec(build={"commands": ["echo connection timed out; false"], "on-failure": on_failure})
    build = ended(aws, start(aws, buildspecOverride=text))
    while following := build.get("autoRetryConfig", {}).get("nextAutoRetry"):
        build = ended(aws, following.rpartition("build/")[2])
    assert build["buildNumber"] == builds


def test_exit(aws: Aws) -> None:
    """A command that ends the shell fails with its status, and the next phase has the variables that were exported before."""
    aws.make_project()
    text = spec(build=["export KEPT=yes", "exit 3"], post_build=["echo kept=$KEPT"])
    build = ended(aws, start(aws, buildspecOverride=text))
    assert "exit status 3" in phases(build)["BUILD"]["contexts"][0]["message"]
    assert "kept=yes" in log_of(aws, build)


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


def test_queue_limit(aws: Aws) -> None:
    """A held account takes no build; a full queue says how many it takes; a build that waits runs when another ends."""
    aws.make_project()
    aws.limits(concurrent=0)
    with pytest.raises(ClientError) as raised:
        start(aws)
    assert refusal(raised) == ("AccountLimitExceededException", "Cannot have more than 0 builds in queue for the account")
    aws.limits(concurrent=1)
    first, *others = [start(aws, buildspecOverride=spec(build=["sleep 60"])), *(start(aws) for _ in range(5))]
    reached(aws, first, "BUILD")
    with pytest.raises(ClientError) as raised:
        start(aws)
    assert refusal(raised)[1] == "Cannot have more than 5 builds in queue for the account"
    assert {shown(aws, id)["currentPhase"] for id in others} == {"QUEUED"}
    aws.client("codebuild").stop_build(id=first)
    assert {ended(aws, id)["buildStatus"] for id in others} == {"SUCCEEDED"}


def test_project_limit(aws: Aws) -> None:
    """A project with a limit of its own refuses at once, and takes a build again afterwards."""
    aws.make_project(concurrentBuildLimit=1)
    id = start(aws, buildspecOverride=spec(build=["sleep 60"]))
    with pytest.raises(ClientError) as raised:
        start(aws)
    assert refusal(raised)[0] == "AccountLimitExceededException"
    aws.client("codebuild").stop_build(id=id)
    ended(aws, id)
    ended(aws, start(aws))


def test_token(aws: Aws) -> None:
    """The same request with the same token is the same build; another request with it is refused."""
    aws.make_project()
    id = start(aws, idempotencyToken="one")
    assert start(aws, idempotencyToken="one") == id
    with pytest.raises(ClientError) as raised:
        start(aws, idempotencyToken="one", timeoutInMinutesOverride=5)
    assert refusal(raised)[0] == "InvalidInputException"
    assert start(aws, idempotencyToken="two") != id


def test_not_found(aws: Aws) -> None:
    """Ids that nobody knows are named, and projects too."""
    answer = aws.client("codebuild").batch_get_builds(ids=["trainyard:none"])
    assert (answer["builds"], answer["buildsNotFound"]) == ([], ["trainyard:none"])
    with pytest.raises(ClientError) as raised:
        start(aws)
    assert refusal(raised)[0] == "ResourceNotFoundException"
    assert aws.client("codebuild").batch_get_projects(names=["trainyard"])["projectsNotFound"] == ["trainyard"]


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
        aws.builds_fault(log=log, log_late_s=30)
    lost = ended(aws, start(aws))
    with pytest.raises(ClientError) as raised:
        log_of(aws, lost)
    assert refusal(raised)[0] == "ResourceNotFoundException"
    id = start(aws, buildspecOverride=spec(build=["echo hello", "sleep 60"]))
    reached(aws, id, "BUILD")
    time.sleep(0.3)
    assert log_of(aws, shown(aws, id)) == []
    aws.client("codebuild").stop_build(id=id)
    assert "hello" in log_of(aws, ended(aws, id))


@pytest.mark.parametrize(
    ("source", "text", "code", "says"),
    [
        ({}, "version: 0.2\nphases: {build: {commands: [{echo: x}]}}\n", "YAML_FILE_ERROR", "Commands[0] to be of string type"),
        ({}, "version: 0.2\nphases: {build: {commands: [\n", "YAML_FILE_ERROR", "line"),
        ({"sourceTypeOverride": "S3", "sourceLocationOverride": "sources/none.zip"}, "b.yml", "CLIENT_ERROR", "NoSuchKey"),
        (
            {"sourceTypeOverride": "S3", "sourceLocationOverride": "sources/text.zip"},
            "b.yml",
            "CLIENT_ERROR",
            "not a valid zip file",
        ),
        ({"sourceTypeOverride": "S3", "sourceLocationOverride": "sources/p.zip"}, "b.yml", "YAML_FILE_ERROR", "does not exist"),
    ],
)
def test_bad_source(aws: Aws, source: dict[str, str], text: str, code: str, says: str) -> None:
    """A buildspec or source that cannot be used fails the build in DOWNLOAD_SOURCE with CodeBuild's code."""
    s3 = bucket(aws)
    s3.put_object(Bucket="sources", Key="text.zip", Body=b"no archive")
    s3.put_object(Bucket="sources", Key="p.zip", Body=zipped({"other.yml": ""}))
    aws.make_project()
    build = ended(aws, start(aws, buildspecOverride=text, **source))
    [context] = phases(build)["DOWNLOAD_SOURCE"]["contexts"]
    assert (build["buildStatus"], context["statusCode"]) == ("FAILED", code)
    assert says in context["message"]
    assert "INSTALL" not in phases(build)


def test_sh(aws: Aws) -> None:
    """Commands run in sh, as in CodeBuild, unless the buildspec names bash."""
    aws.make_project()
    command = "[[ a == a ]] && x=(1 2)"
    text = yaml.safe_dump({"version": "0.2", "env": {"shell": "bash"}, "phases": {"build": {"commands": [command]}}})
    assert ended(aws, start(aws, buildspecOverride=spec(build=[command])))["buildStatus"] == "FAILED"
    assert ended(aws, start(aws, buildspecOverride=text))["buildStatus"] == "SUCCEEDED"


def test_lambda(aws: Aws) -> None:
    """Lambda compute takes no privileged build; without that it does; and its sizes are not those of containers."""
    aws.make_project()
    on_lambda = {"environmentTypeOverride": "LINUX_LAMBDA_CONTAINER", "computeTypeOverride": "BUILD_LAMBDA_4GB"}
    with pytest.raises(ClientError) as raised:
        start(aws, **on_lambda)
    assert refusal(raised)[0] == "InvalidInputException"
    with pytest.raises(ClientError):
        start(aws, computeTypeOverride="BUILD_LAMBDA_4GB")
    ended(aws, start(aws, privilegedModeOverride=False, **on_lambda))


def test_projects(aws: Aws) -> None:
    """Created once, updated, deleted; a role that does not exist is refused."""
    codebuild = aws.client("codebuild")
    aws.make_project("9th_project", environment={"type": "LINUX_EC2", "image": "i", "computeType": "BUILD_GENERAL1_XLARGE"})
    with pytest.raises(ClientError) as raised:
        aws.make_project(
            "9th_project", serviceRole=codebuild.batch_get_projects(names=["9th_project"])["projects"][0]["serviceRole"]
        )
    assert refusal(raised)[0] == "ResourceAlreadyExistsException"
    codebuild.update_project(name="9th_project", timeoutInMinutes=10)
    [project] = codebuild.batch_get_projects(names=["9th_project"])["projects"]
    assert (project["timeoutInMinutes"], project["environment"]["type"]) == (10, "LINUX_EC2")
    codebuild.delete_project(name="9th_project")
    assert codebuild.list_projects()["projects"] == []
    with pytest.raises(ClientError) as raised:
        aws.make_project("other", serviceRole="arn:aws:iam::123456789012:role/none")
    assert "sts:AssumeRole" in refusal(raised)[1]


def test_credentials(aws: Aws) -> None:
    """A build's SDK finds its role's credentials, and what it prints from Secrets Manager is masked in the log."""
    aws.make_project()
    aws.client("secretsmanager").create_secret(Name="registry", SecretString='{"password": "very-secret"}')
    arn = 'import boto3; print(boto3.client("sts").get_caller_identity()["Arn"])'
    build = ended(
        aws,
        start(
            aws,
            buildspecOverride=spec(build=[f"{sys.executable} -c {shlex.quote(arn)}", "echo $PASSWORD"]),
            environmentVariablesOverride=[{"name": "PASSWORD", "value": "registry:password", "type": "SECRETS_MANAGER"}],
        ),
    )
    log = log_of(aws, build)
    assert any(":assumed-role/trainyard-role/AWSCodeBuild-" in line for line in log), log
    assert "***" in log and "very-secret" not in "".join(log)


def test_failing_calls(aws: Aws) -> None:
    """A call fails as often as asked, with AWS's code or without an answer, and then no more."""
    aws.make_project()
    aws.fail("codebuild:StartBuild", "ThrottlingException", "Rate exceeded", times=2)
    for _ in range(2):
        with pytest.raises(ClientError) as raised:
            start(aws)
        assert refusal(raised) == ("ThrottlingException", "Rate exceeded")
    aws.fail("codebuild:StartBuild", "HANG_UP")
    with pytest.raises(ConnectionClosedError):
        start(aws)
    ended(aws, start(aws))
