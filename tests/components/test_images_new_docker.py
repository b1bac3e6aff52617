"""Docker 29 with buildx does what the old one cannot; where it cannot be had in the tests' minutes, `make test-images` runs these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.components.images.fixtures import full_images
from tests.components.images.new_docker import NewDocker
from tests.components.images.registry import Registry

pytestmark = [pytest.mark.when_changed("tests/components/**/*"), full_images]
MODERN = "FROM python:3.11-slim\nCOPY --link greeting /greeting\nRUN <<EOF\necho one\necho two >/said\nEOF\nUSER 1000\n"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "greeting").write_text("hello\n")
    (tmp_path / "Dockerfile").write_text(MODERN)
    return tmp_path


def test_it_is_docker_29_with_buildx(new_docker: NewDocker) -> None:
    server = json.loads(new_docker.run("version", "--format={{json .Server}}").stdout)
    assert server["Version"].startswith("29.")
    assert new_docker.run("buildx", "version").stdout.startswith("github.com/docker/buildx v0.38.2")


def test_it_builds_what_the_old_one_cannot_read(new_docker: NewDocker, context: Path) -> None:
    """The digest is known before a push, and what was built runs."""
    metadata = context / "metadata.json"
    built = new_docker.build(context, f"--metadata-file={metadata}", tag="modern")
    assert built.returncode == 0, built.stderr
    assert json.loads(metadata.read_text())["containerimage.digest"].startswith("sha256:")
    ran = new_docker.run("run", "--rm", "--network=none", "modern", "sh", "-c", "cat /greeting /said; id -u")
    assert ran.stdout == "hello\ntwo\n1000\n", ran.stderr


def test_buildx_pushes_zstd_and_the_daemon_pulls_it(new_docker: NewDocker, plain_registry: Registry, context: Path) -> None:
    image, metadata = f"{plain_registry.address}/new/zstd:v1", context / "metadata.json"
    output = f"--output=type=image,name={image},push=true,compression=zstd,oci-mediatypes=true,force-compression=true"
    words = ["--network=host", "--provenance=false", f"--metadata-file={metadata}", output, context]
    built = new_docker.run("buildx", "build", *words, limit_s=300)
    assert built.returncode == 0, built.stderr
    digest = json.loads(metadata.read_text())["containerimage.digest"]
    assert plain_registry.digest("new/zstd", "v1") == digest
    layers = plain_registry.manifest("new/zstd", "v1")["layers"]
    assert {layer["mediaType"].rpartition("+")[2] for layer in layers} == {"zstd"}
    pulled = new_docker.run("pull", f"{plain_registry.address}/new/zstd@{digest}")
    assert pulled.returncode == 0, pulled.stderr
