"""CodeBuild at the wire: builds really run, and do what their buildspec says."""

from __future__ import annotations

import shlex
import sys
from typing import Any

import pytest
import yaml

from tests.components.aws.building import ended, log_of, phases, spec, start, zipped
from tests.components.aws.running import Aws

ORDER = "SUBMITTED QUEUED PROVISIONING DOWNLOAD_SOURCE INSTALL PRE_BUILD BUILD POST_BUILD UPLOAD_ARTIFACTS FINALIZING COMPLETED"


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
