"""The stand-in as tests hold it: where it is, clients of it, and what it is told to do."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.components.aws.world import ROOT_KEY, ROOT_SECRET, new_client

ROOT = Path(__file__).resolve().parents[3]
VERSION = "2012-10-17"
EVERYTHING = {"Version": VERSION, "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}


cached_client = functools.lru_cache(maxsize=64)(new_client)


class ControlError(RuntimeError):
    """The stand-in refuses what a test asks of it."""


@dataclass(frozen=True)
class Aws:
    endpoint: str
    """http://127.0.0.1:PORT, of every service."""
    registries: dict[str, str]
    """Region -> host:port of its registry, as image names begin. Plain HTTP: buildkitd must be told."""
    region: str = "us-east-1"

    @property
    def environment(self) -> dict[str, str]:
        """For programs: the endpoint, the root's keys and the region; no profile and no instance of this machine."""
        return self.environment_of(ROOT_KEY, ROOT_SECRET)

    def environment_of(self, key: str, secret: str, region: str | None = None) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_REGION": region or self.region,
            "AWS_DEFAULT_REGION": region or self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str, region: str | None = None, environment: dict[str, str] | None = None) -> Any:
        """boto3's client as the root, or with the keys of an `environment`; it does not retry."""
        given = environment or self.environment
        keys = given["AWS_ACCESS_KEY_ID"], given["AWS_SECRET_ACCESS_KEY"], given.get("AWS_SESSION_TOKEN")
        return cached_client(service, region or given["AWS_REGION"], *keys, self.endpoint)

    def control(self, verb: str, **arguments: Any) -> Any:
        """See control.py. Raises ControlError."""
        request = urllib.request.Request(f"{self.endpoint}/_control/{verb}", json.dumps(arguments).encode(), method="POST")
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(error.read().decode(errors="replace")) from None

    def reset(self) -> None:
        """As it was at the start: no repositories, no builds, no users, no faults."""
        self.control("reset")

    def tokens(self, **settings: float) -> None:
        """New registry tokens expire sooner: valid_s=, valid_requests=, short_lived= (how many), expired_status=."""
        self.control("tokens", **settings)

    def cut(self, after_bytes: int, **cut: Any) -> None:
        """Break connections to a registry after so many bytes of a body: method="PATCH", path=REGEX, times=1, skip=0, stall_s=0.

        Layers are downloaded from `/_layers/` with GET.
        """
        self.control("cut", after_bytes=after_bytes, **cut)

    def fail(self, action: str, code: str, message: str = "", *, status: int = 400, times: int = 1, skip: int = 0) -> None:
        """Calls of this action (ecr:DescribeImages, s3:HeadObject) are refused with the code; HANG_UP breaks the connection."""
        self.control("fail", action=action, code=code, message=message, status=status, times=times, skip=skip)

    def build_environment(self, **variables: str) -> None:
        """What builds find besides CodeBuild's own variables: PATH=..., DOCKER_HOST=..., BUILDKIT_HOST=... Stays for the session."""
        self.control("environment", variables=variables)

    def builds_fault(self, **fault: Any) -> None:
        """The next builds go wrong: project=None, times=1, phase="BUILD", status_code=, message=, status="FAILED" or "FAULT",

        slow_s=, log="kept", "lost" or "late", log_late_s=.
        """
        self.control("builds_fault", **fault)

    def limits(self, concurrent: int | None = None, minute_s: float | None = None) -> None:
        """How many builds may run at once (five times as many wait), and how long a minute of a time-out lasts."""
        self.control("limits", concurrent=concurrent, minute_s=minute_s)

    def hyperpod_pace(self, **seconds: float) -> None:
        """Transitions of HyperPod that begin from now on take so long: see sagemaker/agenda.py, Pace."""
        self.control("hyperpod_pace", **seconds)

    def hyperpod_pass(self, seconds: float = 3600.0) -> None:
        """So much time of HyperPod passes at once."""
        self.control("hyperpod_pass", seconds=seconds)

    def hyperpod_fault(self, kind: str, **fault: Any) -> None:
        """What is to go wrong with nodes: see sagemaker/faults.py for the kinds; cluster=, group=, node=, times=1, message=."""
        self.control("hyperpod_fault", kind=kind, **fault)

    def make_role(self, name: str = "codebuild-role", policy: dict[str, Any] | None = None) -> str:
        """The ARN of a role that CodeBuild may assume, with this policy; without one it may do everything."""
        iam = self.client("iam")
        trust = {"Effect": "Allow", "Principal": {"Service": "codebuild.amazonaws.com"}, "Action": "sts:AssumeRole"}
        arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Version": VERSION, "Statement": [trust]}))
        iam.put_role_policy(RoleName=name, PolicyName="all", PolicyDocument=json.dumps(policy or EVERYTHING))
        return str(arn["Role"]["Arn"])

    def make_project(self, name: str = "trainyard", policy: dict[str, Any] | None = None, **members: Any) -> str:
        """The name of a project without a source, whose builds bring their buildspec; its role is made too."""
        project = {
            "source": {"type": "NO_SOURCE", "buildspec": "version: 0.2\nphases: {build: {commands: [true]}}\n"},
            "artifacts": {"type": "NO_ARTIFACTS"},
            "environment": {
                "type": "LINUX_CONTAINER",
                "image": "aws/codebuild/amazonlinux-x86_64-standard:6.0",
                "computeType": "BUILD_GENERAL1_LARGE",
                "privilegedMode": True,
            },
        }
        role = members.pop("serviceRole", None) or self.make_role(f"{name}-role", policy)
        self.client("codebuild").create_project(name=name, serviceRole=role, **project | members)
        return name

    def user(self, policy: dict[str, Any], name: str = "tester") -> dict[str, str]:
        """The environment of a new user who may do what this policy says, and nothing else."""
        iam = self.client("iam")
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="its", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return self.environment_of(key["AccessKeyId"], key["SecretAccessKey"])

    def actions(self, environment: dict[str, str] | None = None) -> list[dict[str, Any]]:
        """Every call since the reset, or those with this environment's keys: caller, key, action (ecr:PutImage), resource, allowed."""
        key = environment and environment["AWS_ACCESS_KEY_ID"]
        return [each for each in self.control("actions") if key in (None, each["key"])]


@contextmanager
def running(log: Path) -> Iterator[Aws]:
    """All its processes, until the end of the block. stderr goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.components.aws"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
        )
    assert process.stdin is not None and process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"AWS's stand-in did not start: {log.read_text(errors='replace')[-2000:]}")
        yield Aws(**json.loads(line))
    finally:
        process.stdin.close()
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=10)
        process.stdout.close()
