"""Real clients push to ECR's registry: BuildKit 0.34, Docker 20.10 and, in test_aws_ecr, skopeo."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from tests.components.aws.building import ended, log_of, spec, start
from tests.components.aws.running import Aws
from tests.components.images.buildkit import BuildKit
from tests.components.images.old_docker import OldDocker

NAME = "team/trainer"


@pytest.fixture
def repository(aws: Aws) -> str:
    """The URI of one whose tags are immutable."""
    made = aws.client("ecr").create_repository(repositoryName=NAME, imageTagMutability="IMMUTABLE")
    return str(made["repository"]["repositoryUri"])


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return folder


def login(aws: Aws, folder: Path) -> dict[str, str]:
    """The environment of a client of Docker that is signed in."""
    data = aws.client("ecr").get_authorization_token()["authorizationData"][0]
    auths = {host: {"auth": data["authorizationToken"]} for host in aws.registries.values()}
    (folder / "config.json").write_text(json.dumps({"auths": auths}))
    return {"DOCKER_CONFIG": str(folder)}


def test_buildkit(aws: Aws, buildkit: BuildKit, repository: str, context: Path, tmp_path: Path) -> None:
    """What BuildKit says it has pushed is what DescribeImages names, its cache's manifest included; a changed image is refused its tag."""
    cache = f"--export-cache=type=registry,ref={repository}:cache-1,mode=max,image-manifest=true,oci-mediatypes=true"
    environment = login(aws, tmp_path)
    built = buildkit.build(context, cache, push=f"{repository}:v1", env=environment)
    assert built.code == 0, built.log
    described = {
        tag: each
        for each in aws.client("ecr").describe_images(repositoryName=NAME)["imageDetails"]
        for tag in each.get("imageTags", [])
    }
    assert described["v1"]["imageDigest"] == built.digest
    assert "cache-1" in described
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /other\n")
    built = buildkit.build(context, push=f"{repository}:v1", env=environment)
    assert built.code != 0
    assert "cannot be overwritten because the repository is immutable" in built.log


def test_old_docker(aws: Aws, old_docker: OldDocker, repository: str, context: Path) -> None:
    """Docker 20.10 signs in, pushes and pulls in a build of CodeBuild."""
    aws.make_project()
    password = (
        base64.b64decode(aws.client("ecr").get_authorization_token()["authorizationData"][0]["authorizationToken"])
        .decode()
        .partition(":")[2]
    )
    commands = [
        'printf %s "$PASSWORD" | docker login --username AWS --password-stdin "${IMAGE%%/*}"',
        f"docker build --tag $IMAGE {context}",
        "docker push $IMAGE",
        "docker rmi $IMAGE",
        "docker pull $IMAGE",
        "export DIGEST=$(docker inspect --format '{{index .RepoDigests 0}}' $IMAGE)",
        "docker rmi $IMAGE",
    ]
    text = spec(build=commands) + "env: {exported-variables: [DIGEST]}\n"
    here = old_docker.environment()
    given = {"IMAGE": f"{repository}:v1", "PASSWORD": password, "DOCKER_HOST": here["DOCKER_HOST"], "PATH": here["PATH"]}
    variables = [{"name": name, "value": value} for name, value in given.items()]
    build = ended(aws, start(aws, buildspecOverride=text, environmentVariablesOverride=variables))
    assert build["buildStatus"] == "SUCCEEDED", log_of(aws, build)
    [exported] = build["exportedEnvironmentVariables"]
    [detail] = aws.client("ecr").describe_images(repositoryName=NAME)["imageDetails"]
    assert exported["value"] == f"{repository}@{detail['imageDigest']}"
