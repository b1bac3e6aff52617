"""Images of a real Docker and a real BuildKit."""

from __future__ import annotations

import base64
import os
import time
from pathlib import Path

import pytest
from ecr_call import Pusher
from ecr_made_images import docker_archive

from tests.components.images.buildkit import BuildKit
from tests.components.images.fixtures import full_images
from tests.components.images.new_docker import NewDocker
from tests.components.images.old_docker import OldDocker


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """Three layers, of 6 MB, the same again, and a few bytes."""
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "big").write_bytes(os.urandom(3_000_000) + b"text " * 600_000)
    (folder / "small").write_text("hello\n")
    (folder / "Dockerfile").write_text('FROM scratch\nCOPY big /a/\nCOPY big /b/\nCOPY small /\nCMD ["/a"]\n')
    return folder


def test_an_image_of_docker_is_pushed(pusher: Pusher, repository: str, old_docker: OldDocker, context: Path) -> None:
    """Out of `docker save`, and Docker pulls it from the registry with the same image id."""
    assert old_docker.build(context, tag="net:dev").returncode == 0
    pusher.env = old_docker.environment()
    words = ("push", "net:dev", "--repository", repository, "--tag", "1.0.0")
    done = pusher.call(*words)
    assert done.code == 0 and done.data["layers"]["total"] == 4, done
    again = pusher.call(*words)
    assert (again.code, again.data["digest"], again.data["layers"]["sent"]) == (0, done.data["digest"], 0)
    assert list(pusher.scratch.iterdir()) == []

    before = old_docker.run("image", "inspect", "--format", "{{.Id}}", "net:dev").stdout
    old_docker.run("rmi", "-f", "net:dev")
    token = pusher.ecr().get_authorization_token()["authorizationData"][0]["authorizationToken"]
    password = base64.b64decode(token).decode().partition(":")[2]
    host = done.data["reference"].partition("/")[0]
    login = old_docker.run("login", "-u", "AWS", "--password-stdin", host, input=password)
    assert login.returncode == 0, login.stderr
    pulled = old_docker.run("pull", done.data["reference"])
    assert pulled.returncode == 0, pulled.stderr
    assert old_docker.run("image", "inspect", "--format", "{{.Id}}", done.data["reference"]).stdout == before


def test_an_archive_of_docker_is_the_same_image(
    pusher: Pusher, repository: str, old_docker: OldDocker, context: Path, tmp_path: Path
) -> None:
    assert old_docker.build(context, tag="net:dev").returncode == 0
    assert old_docker.run("save", "-o", tmp_path / "saved.tar", "net:dev").returncode == 0
    pusher.env = old_docker.environment()
    streamed = pusher.call("push", "net:dev", "--repository", repository, "--tag", "1")
    stored = pusher.call("push", f"docker-archive:{tmp_path}/saved.tar", "--repository", repository, "--tag", "2")
    assert stored.code == 0 and stored.data["digest"] == streamed.data["digest"]


def test_an_image_that_docker_has_not(pusher: Pusher, repository: str, old_docker: OldDocker) -> None:
    pusher.env = old_docker.environment()
    done = pusher.call("push", "no-such:image", "--repository", repository, "--tag", "1")
    assert (done.code, done.error["code"]) == (3, "not-found") and "docker images" in done.error["hint"], done


def test_a_docker_that_does_not_run(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    done = pusher.call(
        "push", "net:dev", "--repository", repository, "--tag", "1", DOCKER_HOST=f"unix://{tmp_path}/nothing.sock"
    )
    assert done.code == 8 and "start Docker" in done.error["hint"], done


def path_with_docker(folder: Path, save: str) -> str:
    """PATH with a docker first whose images all have the id sha256:1; `save`: what its `docker save` does, in shell."""
    program = folder / "bin" / "docker"
    program.parent.mkdir(exist_ok=True)
    program.write_text(
        "#!/bin/sh\n"
        'case "$1" in\n'
        """version) echo '{"Client":{"Version":"28.0.0"},"Server":{"Version":"28.0.0","Os":"linux","Arch":"amd64"}}';;\n"""
        "image) echo sha256:1;;\n"
        f"save) {save};;\n"
        "*) exit 1;;\n"
        "esac\n"
    )
    program.chmod(0o755)
    return f"{program.parent}:{os.environ['PATH']}"


def test_a_docker_that_is_killed(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """`docker save` ends in the middle: exit 8 with what it said, not an archive that is cut short."""
    path = path_with_docker(tmp_path, "head -c 100000 /dev/zero; echo 'error from daemon: EOF' >&2; exit 1")
    done = pusher.call("push", "net:dev", "--repository", repository, "--tag", "1", PATH=path)
    assert done.code == 8 and "error from daemon: EOF" in done.error["message"], done


def test_an_image_is_saved_by_its_id(pusher: Pusher, repository: str, tmp_path: Path) -> None:
    """Of a name without a tag `docker save` writes all tags, and another build may take the name meanwhile."""
    made = docker_archive(tmp_path / "saved.tar", [b"content"])
    path = path_with_docker(tmp_path, f'echo "$2" > {tmp_path}/asked; cat {made.path}')
    done = pusher.call("push", "net", "--repository", repository, "--tag", "1", PATH=path)
    assert done.code == 0 and (tmp_path / "asked").read_text() == "sha256:1\n", done


def test_a_full_disk_ends_docker_save(pusher: Pusher, repository: str, tmp_path: Path, small_disk: Path) -> None:
    """At once, though it would go on writing; nothing of it is left."""
    made = docker_archive(tmp_path / "saved.tar", [os.urandom(6_000_000)])
    path = path_with_docker(tmp_path, f"cat {made.path}; exec sleep 300")
    began = time.monotonic()
    done = pusher.call("push", "net", "--repository", repository, "--tag", "1", PATH=path, TMPDIR=str(small_disk))
    assert done.code == 8 and "No space left" in done.error["message"], done
    assert time.monotonic() - began < 20 and list(small_disk.iterdir()) == []


def test_an_image_of_buildkit_keeps_its_digest(
    pusher: Pusher, repository: str, buildkit: BuildKit, context: Path, tmp_path: Path
) -> None:
    """An OCI archive, with zstd too: the digest is the one that BuildKit printed."""
    for compression in ("gzip", "zstd"):
        archive = tmp_path / f"{compression}.tar"
        output = f"--output=type=oci,dest={archive},compression={compression},force-compression=true"
        built = buildkit.build(context, output)
        assert built.code == 0, built.log
        done = pusher.call("push", f"oci:{archive}", "--repository", repository, "--tag", compression)
        assert (done.code, done.data["digest"]) == (0, built.digest), done


@full_images
def test_an_image_of_docker_29_keeps_its_digest(
    pusher: Pusher, repository: str, new_docker: NewDocker, context: Path, tmp_path: Path
) -> None:
    """Out of containerd's store, where the image's id is the digest that `docker push` would send; attestations go with it."""
    built = new_docker.build(context, tag="net:dev")
    assert built.returncode == 0, built.stderr
    assert new_docker.run("tag", "net:dev", "net:latest").returncode == 0
    id = new_docker.run("image", "inspect", "--format", "{{.Id}}", "net").stdout.strip()
    assert new_docker.run("save", "-o", tmp_path / "saved.tar", "net:dev").returncode == 0
    pusher.env = new_docker.environment()
    for tag, word in (("1", "net"), ("2", f"docker-archive:{tmp_path}/saved.tar@net:dev")):
        done = pusher.call("push", word, "--repository", repository, "--tag", tag)
        assert (done.code, done.data["digest"], done.data["platforms"]) == (0, id, ["linux/amd64"]), done
    assert pusher.call("verify", f"{repository}:1", "--digest", id).code == 0
