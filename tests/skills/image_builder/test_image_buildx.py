"""build_image.py with docker buildx, as today's Docker has it. Runs in `make test-images`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.components.images.fixtures import full_images
from tests.components.images.new_docker import NewDocker
from tests.components.images.registry import Registry
from tests.skills.image_builder.image_call import build, project

pytestmark = full_images
NET = {
    "Dockerfile": "FROM python:3.11-slim\nCOPY --link . /app/\nRUN <<EOF\ntest -f /app/train.py\nEOF\n",
    "train.py": "print(1)\n",
}
HOST = ("--network", "host")


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return project(tmp_path / "net", NET)


def test_buildx_is_taken_and_its_image_lies_in_the_store(net: Path, new_docker: NewDocker) -> None:
    """What an old Docker cannot do it can; the digest is the store's."""
    answer = build(net, *HOST, env=new_docker.environment())
    assert answer.code == 0, answer.document
    assert answer.data["builder"].startswith("buildx ") and len(answer.data["attempts"]) == 1
    assert {each["status"] for each in answer.document["checks"] if each["id"].startswith("builder.")} == {"pass"}
    seen = json.loads(new_docker.run("image", "inspect", f"net:{answer.data['tag']}").stdout)[0]
    assert (answer.data["image_id"], answer.data["size_bytes"]) == (seen["Id"], seen["Size"])


def test_buildx_pushes_one_manifest_and_says_its_digest(net: Path, new_docker: NewDocker, plain_registry: Registry) -> None:
    """No index with an attestation around it: who pulls by digest gets the image."""
    answer = build(net, *HOST, "--push", f"{plain_registry.address}/net", "--image-tag", "v1", env=new_docker.environment())
    assert answer.code == 0, answer.document
    assert answer.data["digest"] == plain_registry.digest("net", "v1")
    assert "layers" in plain_registry.manifest("net", "v1")


def test_buildx_writes_an_archive(net: Path, new_docker: NewDocker, tmp_path: Path) -> None:
    answer = build(net, *HOST, "--archive", tmp_path / "net.tar", env=new_docker.environment())
    assert answer.code == 0, answer.document
    assert f"net:{answer.data['tag']}" in new_docker.run("load", "-i", tmp_path / "net.tar").stdout


@pytest.mark.parametrize(
    ("dockerfile", "kind", "code"),
    [
        ("FROM python:3.11-slim\nRUN nvcc --version\n", "compiler", 1),
        ("FROM python:3.11-slim\nRUN dd if=/dev/zero of=/dev/full count=1\n", "disk-full", 8),
        ("FROM python:3.11-slim\nCOPY nothere /\n", "missing-file", 2),
        ("FROM registry.invalid/x:1\n", "network", 8),
        ("FROM python:3.11-slim\nCOPY --from=nothing:0:0 a b\n", "syntax", 2),
        ("FROM python:3.11-slim\nUSER 1000\nRUN apt-get clean\n", "permission", 0),
        ("FROM python:3.11-slim\nRUN pip install --no-index torchh==9\n", "no-distribution", 1),
        ("FROM python:3.11-slim\nRUN exit 3\n", "command", 1),
    ],
)
def test_todays_logs_have_the_same_classes(
    tmp_path: Path, new_docker: NewDocker, dockerfile: str, kind: str, code: int
) -> None:
    answer = build(project(tmp_path / "net", {"Dockerfile": dockerfile}), *HOST, env=new_docker.environment())
    assert (answer.data["attempts"][0]["class"], answer.code) == (kind, code), answer.document


def test_docker_alone_says_that_it_wants_buildx(net: Path, new_docker: NewDocker) -> None:
    answer = build(net, "--builder", "docker", env=new_docker.environment())
    assert answer.code == 8 and answer.error["hint"] == "--builder buildx"
