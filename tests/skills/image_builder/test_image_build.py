"""build_image.py with real builders: docker's own BuildKit and buildctl; what it makes, what it leaves, and bad input."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.calling import Answer
from tests.components.images.buildkit import BuildKit
from tests.components.images.old_docker import OldDocker
from tests.components.images.registry import Registry
from tests.skills.image_builder.image_call import BUILDER, build, own_places, project
from tests.training.forking import SkillPopen

NET = {"Dockerfile": "FROM scratch\nCOPY . /app/\n", "train.py": "print(1)\n"}
DEADLINE_S = 30.0


@pytest.fixture
def net(tmp_path: Path) -> Path:
    return project(tmp_path / "My Training_Net", NET)


@pytest.fixture
def docker(old_docker: OldDocker) -> Iterator[dict[str, str]]:
    """Its images are gone after the test."""
    yield old_docker.environment()
    names = old_docker.run("images", "-q").stdout.split()
    if names:
        old_docker.run("rmi", "-f", *names)


@pytest.fixture
def buildctl(buildkit: BuildKit) -> dict[str, str]:
    return {"BUILDKIT_HOST": buildkit.address, "PATH": f"{buildkit.buildctl.parent}:{os.environ['PATH']}"}


def workspaces(net: Path) -> list[Path]:
    return list((net.parent / "tmp").glob("trainyard-image-builder-*"))


def wait_for(ready: Callable[[], object]) -> object:
    deadline = time.monotonic() + DEADLINE_S
    while not (found := ready()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


# --- what a build gives ------------------------------------------------------------------------------------------


def test_the_folder_names_the_image_and_the_source_its_tag(net: Path, docker: dict[str, str], old_docker: OldDocker) -> None:
    answer = build(net, env=docker)
    assert answer.code == 0, answer.document
    assert answer.data["image"] == "my-training_net"
    assert answer.data["tag"] == f"build-{answer.data['source_digest'][:12]}"
    seen = json.loads(old_docker.run("image", "inspect", f"{answer.data['image']}:{answer.data['tag']}").stdout)[0]
    assert (seen["Id"], seen["Size"]) == (answer.data["image_id"], answer.data["size_bytes"])
    assert answer.data["digest"] == seen["Id"] and answer.data["dockerfile"] == "given"
    log = Path(answer.data["log"])
    assert "naming to" in log.read_text() and log.stat().st_mode & 0o777 == 0o600
    assert "naming to" in answer.stderr and "naming to" not in build(net, "--quiet", env=docker).stderr


def test_the_same_source_has_the_same_digest_and_another_another(net: Path, docker: dict[str, str]) -> None:
    def digest(*words: str) -> str:
        return str(build(net, "--dry-run", *words, env=docker).data["source_digest"])

    first = digest()
    assert digest() == first
    ways = [("--build-arg", "A=1"), ("--platform", "linux/arm64"), ("--target", "0")]
    found = {digest(*words) for words in ways}
    (net / "train.py").write_text("print(2)\n")
    found.add(digest())
    (net / ".dockerignore").write_text("train.py\n")
    found.add(digest())
    (net / "Dockerfile").write_text(NET["Dockerfile"] + "LABEL a=b\n")
    found.add(digest())
    assert len(found | {first}) == 7


def test_what_is_built_is_the_users_dockerfile_with_its_options(
    net: Path, docker: dict[str, str], old_docker: OldDocker
) -> None:
    text = "ARG BASE=scratch\nFROM $BASE AS one\nARG A\nLABEL a=$A\nFROM one AS two\nLABEL b=2\n"
    (net / "docker").mkdir()
    (net / "docker" / "my.Dockerfile").write_text(text)
    words = (
        "--dockerfile",
        "docker/my.Dockerfile",
        "--target",
        "one",
        "--build-arg",
        "A=x y",
        "--image-name",
        "a/b",
        "--image-tag",
        "v1",
    )
    answer = build(net, *words, env=docker)
    assert answer.code == 0, answer.document
    labels = json.loads(old_docker.run("image", "inspect", "a/b:v1").stdout)[0]["Config"]["Labels"]
    assert labels == {"a": "x y"}


def test_the_dockerfiles_own_ignore_file_counts(net: Path, buildctl: dict[str, str], tmp_path: Path) -> None:
    (net / ".env").write_text("A=1\n")
    (net / "Dockerfile.dockerignore").write_text(".env\n")
    answer = build(net, "--archive", tmp_path / "i.tar", env=buildctl)
    assert answer.code == 0, answer.document
    assert ".trainyard" not in layer_names(tmp_path / "i.tar") and ".env" not in layer_names(tmp_path / "i.tar")
    assert "train.py" in layer_names(tmp_path / "i.tar")


def layer_names(archive: Path) -> list[str]:
    found = []
    with tarfile.open(archive) as outer:
        for layer in json.load(outer.extractfile("manifest.json"))[0]["Layers"]:  # type: ignore[arg-type]
            with tarfile.open(fileobj=outer.extractfile(layer)) as inner:
                found += [Path(name).name for name in inner.getnames()]
    return found


def test_buildctl_pushes_and_says_the_registrys_digest(
    net: Path, buildctl: dict[str, str], buildkit: BuildKit, plain_registry: Registry
) -> None:
    answer = build(
        net, "--builder", "buildctl", "--push", f"{plain_registry.address}/team/net", "--image-tag", "v1", env=buildctl
    )
    assert answer.code == 0, answer.document
    assert answer.data["digest"] == plain_registry.digest("team/net", "v1")
    assert answer.data["image"] == f"{plain_registry.address}/team/net" and answer.data["size_bytes"] is None
    assert answer.data["builder"].startswith("buildctl 0.34")


def test_docker_pushes_and_says_the_registrys_digest(net: Path, docker: dict[str, str], plain_registry: Registry) -> None:
    answer = build(net, "--push", f"{plain_registry.address}/team/net", "--image-tag", "v2", env=docker)
    assert answer.code == 0, answer.document
    assert answer.data["digest"] == plain_registry.digest("team/net", "v2") != answer.data["image_id"]


def test_an_archive_is_whole_or_not_there(
    net: Path, buildctl: dict[str, str], docker: dict[str, str], old_docker: OldDocker, tmp_path: Path
) -> None:
    goal = tmp_path / "out" / "net.tar"
    goal.parent.mkdir()
    answer = build(net, "--archive", goal, env=buildctl)
    assert answer.code == 0 and answer.data["size_bytes"] == goal.stat().st_size, answer.document
    assert f"my-training_net:{answer.data['tag']}" in old_docker.run("load", "-i", goal).stdout
    whole = goal.read_bytes()
    (net / "Dockerfile").write_text("FROM python:3.11-slim\nRUN exit 3\n")
    assert build(net, "--archive", goal, env=buildctl).code == 1
    assert goal.read_bytes() == whole and list(goal.parent.iterdir()) == [goal]


def test_several_folders_are_built_at_once(tmp_path: Path, docker: dict[str, str]) -> None:
    """One that fails takes no other with it; what each says stands in its row."""
    folders = [project(tmp_path / name, {**NET, "train.py": name}) for name in ("a", "b", "c")]
    (folders[1] / "Dockerfile").write_text("FROM scratch\nCOPY nothere /\n")
    answer = build(*folders, env=docker)
    rows = answer.data["builds"]
    assert answer.code == 1 and answer.data["total"] == 3
    assert [bool(row["image_id"]) for row in rows] == [True, False, True]
    assert rows[1]["error"]["code"] == "usage" and len({row["log"] for row in rows}) == 3
    assert "[a] #" in answer.stderr and "[c] #" in answer.stderr


def test_dry_run_says_what_would_be_run(net: Path, docker: dict[str, str], old_docker: OldDocker) -> None:
    answer = build(net, "--dry-run", "--secret", f"id=s,src={net / 'train.py'}", env=docker)
    assert answer.code == 0
    words = answer.data["would_run"]
    assert words[:2] == ["/usr/bin/docker", "build"] and f"id=s,src={net / 'train.py'}" in words and words[-1] == str(net)
    assert answer.data["context"]["files"] == 2 and old_docker.run("images", "-q").stdout == ""


def test_secrets_are_in_no_layer_and_no_log(net: Path, buildctl: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("correct-horse-battery")
    (net / "Dockerfile").write_text("FROM python:3.11-slim\nRUN --mount=type=secret,id=t test -s /run/secrets/t\n")
    answer = build(net, "--secret", f"id=t,src={tmp_path / 'token'}", "--archive", tmp_path / "i.tar", env=buildctl)
    assert answer.code == 0, answer.document
    written = json.dumps(answer.document) + answer.stderr + Path(answer.data["log"]).read_text()
    assert "correct-horse" not in written and b"correct-horse" not in (tmp_path / "i.tar").read_bytes()


def test_passwords_in_urls_are_not_logged(net: Path, docker: dict[str, str]) -> None:
    (net / "Dockerfile").write_text("FROM python:3.11-slim\nRUN echo https://user:hunter2@example.org/simple; exit 1\n")
    answer = build(net, "--network", "host", env=docker)
    output = Path(answer.data["log"]).read_text()
    assert answer.code == 1 and "https://***@example.org" in output
    assert "hunter2" not in answer.stderr


# --- what a build leaves -----------------------------------------------------------------------------------------


SLOW = {"Dockerfile": "FROM python:3.11-slim\nRUN echo begun; sleep 300\n"}


@contextlib.contextmanager
def running(net: Path, env: dict[str, str]) -> Iterator[SkillPopen]:
    """A build in the middle of a RUN."""
    command = [sys.executable, str(BUILDER), "build", str(net), "--network", "host"]
    own = {**os.environ, **own_places(net.parent), **env}
    with SkillPopen(
        command, env=own, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert wait_for(lambda: sleeping() and workspaces(net))
            yield process
        finally:
            process.kill()
            process.wait(DEADLINE_S)


def sleeping() -> str:
    return subprocess.run(["pgrep", "-f", "echo begun; sleep 300"], capture_output=True, text=True).stdout


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_a_build_that_is_stopped_leaves_nothing(
    tmp_path: Path, docker: dict[str, str], old_docker: OldDocker, how: signal.Signals
) -> None:
    net = project(tmp_path / "slow", SLOW)
    with running(net, docker) as process:
        os.kill(process.pid, how)
        if how == signal.SIGINT:
            out, _ = process.communicate(timeout=DEADLINE_S)
            assert json.loads(out)["error"]["message"] == "interrupted" and process.returncode == 7
        process.wait(DEADLINE_S)
        assert wait_for(lambda: not sleeping() and not workspaces(net)), (sleeping(), workspaces(net))
    assert old_docker.run("images", "--format", "{{.Repository}}").stdout.split().count("slow") == 0


def test_two_builds_of_one_tag_are_a_conflict(tmp_path: Path, docker: dict[str, str]) -> None:
    net = project(tmp_path / "slow", SLOW)
    with running(net, docker):
        answer = build(net, env=docker)
    assert (answer.code, answer.error["code"]) == (5, "conflict"), answer.document
    assert "is running" in answer.error["message"]


def test_what_a_lost_machine_left_is_removed(net: Path, docker: dict[str, str]) -> None:
    """A folder whose lock nobody holds; the control is held."""
    import fcntl

    place = own_places(net.parent)["TMPDIR"]
    dead, alive = (Path(tempfile.mkdtemp(prefix=f"trainyard-image-builder-{os.getuid()}-", dir=place)) for _ in range(2))
    with (alive / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        (dead / "lock").touch()
        assert build(net, env=docker).code == 0
        assert not dead.exists() and alive.exists()


# --- bad input ---------------------------------------------------------------------------------------------------


def refused(answer: Answer, code: int, *words: str) -> None:
    assert answer.code == code, answer.document
    text = answer.error["message"] + " " + answer.error["hint"]
    assert all(word in text for word in words), text


def test_bad_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(build(tmp_path / "nowhere", env={}), 2, "no folder")
    refused(build(tmp_path / "empty", env={}), 2, "is empty")
    refused(build(project(tmp_path / "text", {"a.txt": "x"}), env={}), 2, "no Dockerfile, no Python file")
    refused(build(project(tmp_path / "---", NET), env={}), 2, "--image-name")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--image-name", "a;rm -rf /"), "--image-name"),
        (("--image-name", "UPPER"), "lower-case"),
        (("--image-tag", "a b"), "--image-tag"),
        (("--image-tag", "$(id)"), "--image-tag"),
        (("--push", "reg/a:tag"), "without a tag"),
        (("--push", "reg/a", "--archive", "x.tar"), "one place"),
        (("--platform", "linux; x"), "--platform"),
        (("--build-arg", "A"), "NAME=VALUE"),
        (("--secret", "id=x"), "--secret"),
        (("--secret", "id=x,src=/nowhere"), "no file"),
        (("--dockerfile", "../Dockerfile"), "no Dockerfile"),
        (("--target", "nothere"), "no stage"),
        (("--archive", "/nowhere/x.tar"), "--archive"),
        (("--context-limit", "1"), "limit is 1 MB"),
    ],
    ids=lambda value: value[1] if isinstance(value, tuple) else "",
)
def test_bad_words(net: Path, words: tuple[str, ...], told: str) -> None:
    (net / "big").write_bytes(bytes(2 << 20))
    refused(build(net, *words, env={"DOCKER_HOST": "unix:///nowhere"}), 2, told)


def test_a_secret_file_stops_the_build(net: Path, docker: dict[str, str]) -> None:
    (net / ".env").write_text("TOKEN=x\n")
    answer = build(net, env=docker)
    refused(answer, 2, ".env", "--allow-secret-file .env")
    assert answer.data["secret_files"] == [{"path": ".env", "what": "an environment file"}]
    assert build(net, "--allow-secret-file", ".env", "--dry-run", env=docker).code == 0


def test_no_builder(net: Path, tmp_path: Path, buildctl: dict[str, str], docker: dict[str, str]) -> None:
    nothing = {"PATH": str(tmp_path), "BUILDKIT_HOST": ""}
    refused(build(net, env=nothing), 8, "neither docker nor buildctl")
    refused(
        build(net, env={"DOCKER_HOST": "unix:///nowhere/docker.sock"}),
        8,
        "does not answer",
        "systemctl start docker",
        "_codebuild",
    )
    refused(
        build(
            net, "--builder", "buildctl", "--archive", tmp_path / "x.tar", env={**buildctl, "BUILDKIT_HOST": "unix:///nowhere"}
        ),
        8,
        "buildkitd",
    )
    refused(build(net, "--builder", "buildctl", env=buildctl), 2, "--push REPOSITORY")
    refused(build(net, "--builder", "buildx", env=docker), 8, "no buildx plugin")


def test_an_unreachable_registry(net: Path, buildctl: dict[str, str]) -> None:
    answer = build(net, "--push", "127.0.0.1:1/net", env=buildctl)
    refused(answer, 8, "could not be reached")


def test_a_registry_that_wants_a_login(net: Path, buildctl: dict[str, str], buildkit: BuildKit) -> None:
    from tests.components.images.registry import registry

    with registry(users={"AWS": "password"}) as closed:
        answer = build(net, "--push", f"{closed.address}/net", env=buildctl)
    refused(answer, 4, "docker login")


def test_a_full_disk(net: Path, docker: dict[str, str], tmp_path: Path) -> None:
    """Where the build's own copy should be written, and where the log should."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(small)], check=True)
    try:
        (net / "Dockerfile").write_text(NET["Dockerfile"] + "# some words of a comment\n" * 5000)
        refused(build(net, env={**docker, "TMPDIR": str(small)}), 8, "No space left on device", "TMPDIR")
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_the_users_folder_may_be_read_only(net: Path, docker: dict[str, str]) -> None:
    subprocess.run(["mount", "--bind", "-o", "ro", str(net), str(net)], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", str(net)], check=True)
        assert build(net, env=docker).code == 0
    finally:
        subprocess.run(["umount", str(net)], check=True)
