"""Containers are gone afterwards: after kill -9 of the caller, Ctrl-C, a time limit; `clean` takes what even that leaves, and no more."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cutting import way
from tester_call import PROGRAM, Images

from tests.calling import call

HANG = {"opt/site/hangs.py": "import time\ntime.sleep(600)\n"}
OWNER = "trainyard.dev/owner"


@pytest.fixture(scope="module")
def hanging(images: Images) -> str:
    return images.image("hanging", HANG, "ENV PYTHONPATH=/opt/site", "VOLUME /data")


def until(true: Callable[[], object], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def started(images: Images, image: str, **more: str) -> subprocess.Popen[str]:
    """A test that hangs, with its container running."""
    words = [sys.executable, str(PROGRAM), "run", image, "--level", "quick", "--package", "hangs"]
    env = {**os.environ, **images.docker.environment(), **more}
    process = subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    running = ["ps", "-q", "--filter", "label=trainyard.dev/skill=image-tester"]
    until(lambda: images.docker.run(*running).stdout.split())
    return process


def volumes(images: Images) -> set[str]:
    return set(images.docker.run("volume", "ls", "-q").stdout.split())


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
def test_a_killed_caller_leaves_no_container(images: Images, hanging: str, number: signal.Signals) -> None:
    """Nor the anonymous volume that the image declares."""
    before = volumes(images)
    process = started(images, hanging)
    process.send_signal(number)
    process.communicate(timeout=30)
    until(lambda: not images.containers())
    assert volumes(images) == before


def test_a_time_limit_leaves_no_container(images: Images, hanging: str) -> None:
    found = images.test(hanging, "--level", "quick", "--package", "hangs", "--timeout", 3)
    assert found.code == 1 and "the time limit of the whole test was reached in imports" in found.check("container")["summary"]
    assert images.containers() == []


def leftover(images: Images, image: str, owner: str) -> str:
    labels = ["--label", "trainyard.dev/skill=image-tester", "--label", f"{OWNER}={owner}"]
    done = images.docker.run("create", *labels, image, "true")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def label(images: Images, container: str, name: str) -> str:
    return str(json.loads(images.docker.run("inspect", container).stdout)[0]["Config"]["Labels"][name])


def reapers(token: str) -> list[str]:
    """Processes that still look after the container with this token."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().decode(errors="replace")
            found += [words] if token in words and "tester_reaper" in words else []
    return found


def test_clean_takes_only_what_is_dead(images: Images, hanging: str) -> None:
    """A running test, a container of another machine and one that is not ours stay; without --yes everything does."""
    process = started(images, hanging)
    stranger = images.docker.run("create", hanging, "true").stdout.strip()
    try:
        alive = label(images, images.containers()[0], OWNER)
        machine, boot, pid, start = alive.split("/")
        dead = leftover(images, hanging, f"{machine}/{boot}/{pid}/{int(start) - 1}")
        kept = [leftover(images, hanging, f"elsewhere/{boot}/{pid}/1"), leftover(images, hanging, "unknown")]
        asked = images.call("clean")
        assert asked.code == 6 and [each["id"] for each in asked.data["leftovers"]] == [dead]
        assert dead in {each[: len(dead)] for each in images.docker.run("ps", "-aq", "--no-trunc").stdout.split()}
        done = images.call("clean", "--yes")
        assert done.code == 0 and done.document["changed"] == [f"container {dead[:12]} removed"]
        assert sorted(each["state"] for each in done.data["kept"]) == ["alive", "elsewhere", "elsewhere"]
        left = images.docker.run("ps", "-aq", "--no-trunc").stdout.split()
        assert stranger in left and dead not in left and set(kept) < set(left)
        again = images.call("clean", "--yes")
        assert again.code == 0 and again.document["changed"] == []
    finally:
        process.kill()
        process.communicate(timeout=30)
        for each in [stranger, *images.containers()]:
            images.docker.run("rm", "-f", "-v", each)


@pytest.mark.parametrize(
    ("image", "code", "error"),
    [("image-tester/nowhere:v1", 3, "not-found"), ("Bad;name", 2, "usage"), ("-v/:/host", 2, "usage")],
)
def test_an_image_that_is_not_there(images: Images, image: str, code: int, error: str) -> None:
    found = images.call("run", "--level", "quick", "--", image)
    assert (found.code, found.error["code"]) == (code, error)


def test_docker_does_not_answer(images: Images) -> None:
    env = {**images.docker.environment(), "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
    found = call(PROGRAM, "run", "some:v1", env=env)
    assert (found.code, found.error["code"]) == (8, "unreachable") and "start Docker" in found.error["hint"]


def test_there_is_no_docker(images: Images) -> None:
    found = call(PROGRAM, "run", "some:v1", env={**images.docker.environment(), "PATH": "/nonexistent"})
    assert (found.code, found.error["code"]) == (8, "dependency")


def test_the_daemon_goes_away(images: Images, hanging: str) -> None:
    """In mid-test: exit 8, and when it answers again the container is removed, by the process that waits for that."""
    with (
        tempfile.TemporaryDirectory() as folder,
        way(Path(folder) / "s", images.docker.host.removeprefix("unix://")) as cuttable,
    ):
        process = started(images, hanging, DOCKER_HOST=f"unix://{cuttable.path}")
        cuttable.cut()
        out, _ = process.communicate(timeout=60)
        document = json.loads(out)
        assert process.returncode == 8 and document["error"]["code"] == "unreachable", document
        (container,) = images.containers()
        token = label(images, container, "trainyard.dev/test")
        cuttable.mend()
        until(lambda: not images.containers(), timeout_s=60)
        until(lambda: not reapers(token))
