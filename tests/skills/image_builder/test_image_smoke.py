"""smoke_test.py on images that do not work: each says which step it was, and no container is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.calling import Answer, call
from tests.components.images.old_docker import OldDocker
from tests.skills.image_builder.image_call import SMOKE, project
from tests.training.forking import SkillPopen

BASE = "FROM python:3.11-slim\n"
DEADLINE_S = 30.0


@pytest.fixture
def smoke_of(old_docker: OldDocker, tmp_path: Path) -> Iterator[object]:
    """Builds an image of these lines and calls the program on it."""
    yield lambda lines, *words: call(SMOKE, "run", image(old_docker, tmp_path, lines), *words, env=old_docker.environment())
    assert old_docker.run("ps", "-aq").stdout == ""


def image(old_docker: OldDocker, folder: Path, lines: str) -> str:
    done = old_docker.build(project(folder / "image", {"Dockerfile": lines}), tag="smoke-net")
    assert done.returncode == 0, done.stderr
    return "smoke-net"


def statuses(answer: Answer) -> dict[str, str]:
    return {each["id"]: each["status"] for each in answer.document["checks"]}


TORCH = "RUN printf '__version__ = \"9.9\"\\n' > /usr/lib/python3/dist-packages/torch.py\n"


def test_an_image_without_torch(smoke_of) -> None:  # type: ignore[no-untyped-def]
    answer = smoke_of(BASE)
    assert answer.code == 1
    assert statuses(answer) == {
        "smoke.start": "pass",
        "smoke.user": "warn",
        "smoke.import": "fail",
        "smoke.all-reduce": "skipped",
    }
    assert "No module named 'torch'" in answer.check("smoke.import")["evidence"]


def test_a_torch_that_cannot_reduce(smoke_of) -> None:  # type: ignore[no-untyped-def]
    answer = smoke_of(BASE + TORCH + "USER 1000:1000\n", "--import", "json")
    assert answer.code == 1
    assert statuses(answer) == {"smoke.start": "pass", "smoke.import": "pass", "smoke.all-reduce": "fail"}
    assert answer.check("smoke.import")["summary"].startswith("torch 9.9 imports")


def test_an_image_without_python(smoke_of) -> None:  # type: ignore[no-untyped-def]
    answer = smoke_of("FROM scratch\nCOPY Dockerfile /\n")
    assert answer.code == 1 and statuses(answer) == {"smoke.start": "fail"}
    assert "python3" in answer.check("smoke.start")["evidence"]


def test_an_import_without_an_end_is_unknown_at_the_time_limit(smoke_of) -> None:  # type: ignore[no-untyped-def]
    answer = smoke_of(
        BASE + "RUN printf 'import time\\ntime.sleep(600)\\n' > /usr/lib/python3/dist-packages/torch.py\n", "--timeout", "4"
    )
    assert answer.code == 1 and answer.check("smoke.all-reduce")["status"] == "unknown"
    assert "longer than 4 s" in answer.check("smoke.all-reduce")["summary"]


def test_an_image_that_is_not_there_and_wrong_words(old_docker: OldDocker) -> None:
    env = old_docker.environment()
    assert call(SMOKE, "run", "127.0.0.1:1/nothing:1", env=env).code == 3
    for words in (("a b",), ("x", "--import", "os; x"), ("x", "--memory", "lots"), ("--", "--privileged")):
        assert call(SMOKE, "run", *words, env=env).code == 2, words
    assert call(SMOKE, "run", "x", env={"DOCKER_HOST": "unix:///nowhere"}).code == 8


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=lambda how: how.name)
def test_a_killed_smoke_test_leaves_no_container(tmp_path: Path, old_docker: OldDocker, how: signal.Signals) -> None:
    name = image(
        old_docker, tmp_path, BASE + "RUN printf 'import time\\ntime.sleep(600)\\n' > /usr/lib/python3/dist-packages/torch.py\n"
    )
    env = {**os.environ, **old_docker.environment()}
    with SkillPopen(
        [sys.executable, str(SMOKE), "run", name], env=env, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    ) as process:
        assert waits(lambda: old_docker.run("ps", "-q").stdout)
        os.kill(process.pid, how)
        process.communicate(timeout=DEADLINE_S)
    assert waits(lambda: not old_docker.run("ps", "-aq").stdout)


def waits(ready) -> bool:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + DEADLINE_S
    while not (found := ready()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return bool(found)
