"""BuildKit and the old Docker build, push and refuse as image-builder assumes; each refusal of one is a success of the other."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.components.images.buildkit import BuildKit
from tests.components.images.old_docker import OldDocker
from tests.components.images.registry import Registry

pytestmark = pytest.mark.when_changed("tests/components/**/*")

BASE = "FROM python:3.11-slim\n"
HEREDOC = f"{BASE}RUN <<EOF\necho one\necho two >/said\nEOF\n"
LINK = "FROM scratch\nCOPY --link greeting /greeting\n"
SYNTAX = "# syntax=docker/dockerfile:1\nFROM scratch\nCOPY --link greeting /greeting\n"
CACHE = f"{BASE}RUN --mount=type=cache,target=/cache touch /cache/kept\n"
STAGES = "FROM scratch AS first\nCOPY greeting /greeting\nFROM scratch\nCOPY --from=first --chmod=0600 /greeting /other\n"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "greeting").write_text("hello\n")
    return tmp_path


def write(context: Path, dockerfile: str) -> Path:
    (context / "Dockerfile").write_text(dockerfile)
    return context


def test_buildkit_builds_on_the_base_and_pushes(buildkit: BuildKit, plain_registry: Registry, context: Path) -> None:
    """The digest that the build names is the one that the registry has."""
    dockerfile = f"{BASE}COPY greeting /greeting\nRUN python -c 'import ssl, pip, venv' && useradd someone\nUSER 1000\n"
    built = buildkit.build(write(context, dockerfile), push=f"{plain_registry.address}/engines/buildkit:v1")
    assert built.code == 0, built.log
    assert plain_registry.digest("engines/buildkit", "v1") == built.digest
    assert plain_registry.configuration("engines/buildkit", "v1")["config"]["User"] == "1000"
    assert plain_registry.digest("engines/buildkit", "v2") is None


def test_the_old_docker_builds_on_the_base_and_pushes(old_docker: OldDocker, plain_registry: Registry, context: Path) -> None:
    name = f"{plain_registry.address}/engines/docker:v1"
    built = old_docker.build(write(context, f"{BASE}COPY greeting /greeting\nRUN python -m pip --version\n"), tag=name)
    assert built.returncode == 0, built.stderr
    pushed = old_docker.run("push", name)
    assert pushed.returncode == 0, pushed.stderr
    assert plain_registry.tags("engines/docker") == ["v1"]
    ran = old_docker.run("run", "--rm", "--network=none", name, "cat", "/greeting")
    assert ran.stdout == "hello\n", ran.stderr


@pytest.mark.parametrize(
    ("dockerfile", "said"),
    [pytest.param(HEREDOC, "unknown instruction: ECHO", id="heredoc"), pytest.param(LINK, "Unknown flag: link", id="link")],
)
def test_what_the_old_docker_cannot_read(
    old_docker: OldDocker, buildkit: BuildKit, context: Path, dockerfile: str, said: str
) -> None:
    write(context, dockerfile)
    refused = old_docker.build(context, tag="refused")
    assert refused.returncode != 0 and said.lower() in refused.stderr.lower()
    assert buildkit.build(context).code == 0


@pytest.mark.parametrize("dockerfile", [pytest.param(CACHE, id="cache mount"), pytest.param(STAGES, id="stages, chmod")])
def test_what_both_read(old_docker: OldDocker, buildkit: BuildKit, context: Path, dockerfile: str) -> None:
    write(context, dockerfile)
    built = old_docker.build(context, tag="both")
    assert built.returncode == 0, built.stderr
    assert buildkit.build(context).code == 0


def test_the_old_docker_names_no_digest_before_a_push(old_docker: OldDocker, context: Path) -> None:
    write(context, "FROM scratch\nCOPY greeting /greeting\n")
    refused = old_docker.build(context, f"--metadata-file={context}/m.json", tag="refused")
    assert refused.returncode != 0 and "unknown flag: --metadata-file" in refused.stderr


def test_a_syntax_line_is_pulled(old_docker: OldDocker, buildkit: BuildKit, context: Path) -> None:
    """The frontend in the mirror is of today: with it the old Docker reads --link too. One that is not there ends the build."""
    write(context, SYNTAX)
    built = old_docker.build(context, tag="syntax")
    assert built.returncode == 0, built.stderr
    assert buildkit.build(context).code == 0
    write(context, SYNTAX.replace("dockerfile:1", "dockerfile:absent"))
    assert old_docker.build(context, tag="syntax").returncode != 0
    assert buildkit.build(context).code != 0


def test_zstd_layers_are_for_newer_engines(
    old_docker: OldDocker, buildkit: BuildKit, plain_registry: Registry, context: Path
) -> None:
    """Each with content of its own: a layer that the daemon has it does not pull."""
    for name, more in (("gzip", ""), ("zstd", ",compression=zstd,oci-mediatypes=true,force-compression=true")):
        (context / "greeting").write_bytes(os.urandom(1 << 16))
        image = f"{plain_registry.address}/engines/{name}:v1"
        built = buildkit.build(write(context, "FROM scratch\nCOPY greeting /greeting\n"), push=image, more=more)
        assert built.code == 0, built.log
        layer = plain_registry.manifest(f"engines/{name}", built.digest)["layers"][0]
        assert layer["mediaType"].endswith(name)
        pulled = old_docker.run("pull", image)
        assert (pulled.returncode == 0) == (name == "gzip"), pulled.stderr
    assert "invalid tar header" in pulled.stderr


def test_a_build_can_give_its_files(buildkit: BuildKit, context: Path, tmp_path: Path) -> None:
    """How tests see a context as BuildKit sees it: the ignore file counts."""
    (context / ".dockerignore").write_text("secret*\n")
    (context / "secret.txt").write_text("no\n")
    built = buildkit.build(write(context, "FROM scratch\nCOPY . /\n"), to=tmp_path / "out")
    assert built.code == 0, built.log
    assert (tmp_path / "out" / "greeting").read_text() == "hello\n"
    assert not (tmp_path / "out" / "secret.txt").exists()


def test_the_registry_keeps_a_cache(buildkit: BuildKit, plain_registry: Registry, context: Path) -> None:
    cache = f"ref={plain_registry.address}/engines/cache:v1"
    write(context, f"{BASE}RUN head -c 9 /dev/urandom | base64 >/random\n")
    words = [f"--export-cache=type=registry,{cache},mode=max,image-manifest=true,oci-mediatypes=true"]
    words.append(f"--import-cache=type=registry,{cache}")
    digests = []
    for _ in range(2):
        built = buildkit.build(context, *words, push=f"{plain_registry.address}/engines/cached:v1")
        assert built.code == 0, built.log
        digests.append([layer["digest"] for layer in plain_registry.manifest("engines/cached", built.digest)["layers"]])
        assert buildkit.call("prune", "--all").returncode == 0
    assert digests[0] == digests[1]


def test_the_daemons_are_those_that_the_facts_are_about(old_docker: OldDocker, buildkit: BuildKit) -> None:
    server = json.loads(old_docker.run("version", "--format={{json .Server}}").stdout)
    assert server["Version"].startswith("20.10.")
    assert "v0.34.2" in buildkit.call("debug", "info").stdout
