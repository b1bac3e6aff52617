"""Containers are gone afterwards: after kill -9 of the caller, Ctrl-C, a time limit; `clean` takes what even that leaves, and no more."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

import pytest
from image_call import PROGRAM, Images

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


def started(images: Images, image: str) -> subprocess.Popen[str]:
    """A test that hangs, with its container running."""
    words = [sys.executable, str(PROGRAM), "run", image, "--level", "quick", "--package", "hangs"]
    env = {**os.environ, **images.docker.environment()}
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


def owner_of(images: Images, container: str) -> str:
    return str(json.loads(images.docker.run("inspect", container).stdout)[0]["Config"]["Labels"][OWNER])


def test_clean_takes_only_what_is_dead(images: Images, hanging: str) -> None:
    """A running test, a container of another machine and one that is not ours stay; without --yes everything does."""
    process = started(images, hanging)
    stranger = images.docker.run("create", hanging, "true").stdout.strip()
    try:
        alive = owner_of(images, images.containers()[0])
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
