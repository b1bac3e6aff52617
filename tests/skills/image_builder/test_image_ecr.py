"""build_image.py --push into ECR with a real BuildKit: what the registry refuses has its own exit code and next step."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.calling import Answer
from tests.components.aws.running import Aws
from tests.components.images.buildkit import BuildKit
from tests.skills.image_builder.image_call import build, project

REGION = "us-east-1"


@pytest.fixture
def push(aws: Aws, buildkit: BuildKit, tmp_path: Path) -> Any:
    """Builds and pushes to a repository, signed in as `docker login` would be, or with another password."""
    net = project(tmp_path / "net", {"Dockerfile": "FROM scratch\nCOPY train.py /\n", "train.py": "print(1)\n"})
    aws.client("ecr", REGION).create_repository(repositoryName="net", imageTagMutability="IMMUTABLE")
    token = aws.client("ecr", REGION).get_authorization_token()["authorizationData"][0]["authorizationToken"]

    def call(name: str, tag: str, *, text: str = "print(1)\n", token: str | None = token) -> Answer:
        (net / "train.py").write_text(text)
        registry = aws.registries[REGION]
        config = tmp_path / "docker"
        config.mkdir(exist_ok=True)
        (config / "config.json").write_text(json.dumps({"auths": {registry: {"auth": token}} if token else {}}))
        env = {
            "BUILDKIT_HOST": buildkit.address,
            "PATH": f"{buildkit.buildctl.parent}:{os.environ['PATH']}",
            "DOCKER_CONFIG": str(config),
        }
        return build(net, "--push", f"{registry}/{name}", "--image-tag", tag, env=env)

    return call


def test_a_push_says_the_digest_that_ecr_has(push: Any, aws: Aws) -> None:
    answer = push("net", "v1")
    assert answer.code == 0, answer.document
    found = aws.client("ecr", REGION).describe_images(repositoryName="net", imageIds=[{"imageTag": "v1"}])["imageDetails"][0]
    assert answer.data["digest"] == found["imageDigest"]


def test_an_immutable_tag_that_is_taken_is_a_conflict(push: Any, aws: Aws) -> None:
    """And stays what it was; the same source under it again is no conflict."""
    first = push("net", "v1")
    assert push("net", "v1").code == 0
    answer = push("net", "v1", text="print(2)\n")
    assert (answer.code, answer.error["code"]) == (5, "conflict"), answer.document
    assert "--image-tag" in answer.error["hint"] and len(answer.data["attempts"]) == 1
    kept = aws.client("ecr", REGION).describe_images(repositoryName="net", imageIds=[{"imageTag": "v1"}])["imageDetails"][0]
    assert kept["imageDigest"] == first.data["digest"]


def test_a_repository_that_nobody_made(push: Any) -> None:
    answer = push("other", "v1")
    assert (answer.code, answer.error["code"]) == (3, "not-found"), answer.document
    assert "ensure-repo" in answer.error["hint"]


@pytest.mark.parametrize("token", [None, base64.b64encode(b"AWS:wrong").decode()], ids=["none", "wrong"])
def test_without_a_login(push: Any, token: str | None) -> None:
    answer = push("net", "v1", token=token)
    assert (answer.code, answer.error["code"]) == (4, "credentials"), answer.document
    assert "docker login" in answer.error["hint"]
