"""What is told after several attempts: the user's own lines, the user's own cause, and a diff against the user's own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.skills.image_builder.image_call import project
from tests.skills.image_builder.image_diagnosis import PYTHON, SOURCE, TRYING, failed, step

RUN = "RUN pip install git+https://example.com/x"
NO_GIT = "ERROR: Cannot find command 'git' - do you have 'git' installed and in your PATH?"
DOCKER = f"{PYTHON}WORKDIR /app\n{RUN}\nRUN python x.py\n"


def tried(folder: Path, files: Mapping[str, str], *logs: Any) -> Any:
    """Each attempt fails with the next log; a log may be made of the Dockerfile that is built then."""
    project(folder, files)
    source = SOURCE.given(SOURCE.opened(str(folder)), "Dockerfile", SOURCE.Wanted())
    left = list(logs)

    def build(recipe: Any) -> Any:
        log = left.pop(0)
        return TRYING.Ran(None, log(recipe.dockerfile) if callable(log) else log, 0.1)

    return TRYING.attempted(source.recipe, build, len(logs))


def at(docker: str, start: str) -> int:
    return next(number for number, line in enumerate(docker.split("\n"), start=1) if line.startswith(start))


def test_a_remedy_that_fails_itself_leaves_the_cause_that_it_was_for(tmp_path: Path) -> None:
    """The git that was to be installed cannot be loaded: the project's cause is the missing git, and its code."""
    added = "RUN if command -v apt-get"
    dns = "E: Failed to fetch http://deb.example/git.deb  Temporary failure resolving 'deb.example'"

    def second(docker: str) -> list[str]:
        return failed(at(docker, added), docker.split("\n")[at(docker, added) - 1], dns)

    found = tried(tmp_path, {"Dockerfile": DOCKER}, failed(3, RUN, NO_GIT), second)
    assert [row["class"] for row in found.rows] == ["missing-program", "network"]
    assert (found.cause.kind, found.cause.code) == ("missing-program", None)
    assert "failed too: a server could not be reached" in found.cause.fix
    assert found.rows[1]["where"][0].startswith("Dockerfile, a line that this attempt added: RUN if")


def test_what_fails_next_in_the_users_own_file_is_the_cause(tmp_path: Path) -> None:
    """Its line is the one in that file, in `where` and in the advice, though the copy has more lines before it."""

    def second(docker: str) -> list[str]:
        return failed(at(docker, "RUN python x.py"), "RUN python x.py", "ModuleNotFoundError: No module named 'yaml'")

    found = tried(tmp_path, {"Dockerfile": DOCKER}, failed(3, RUN, NO_GIT), second)
    assert (found.cause.kind, found.rows[1]["where"]) == ("missing-module", ["Dockerfile:4: RUN python x.py"])
    assert "before line 4" in found.cause.fix and "failed too" not in found.cause.fix


def test_an_image_that_a_remedy_chose_is_not_the_users_mistake(tmp_path: Path) -> None:
    docker = f"FROM pytorch/pytorch:2.5.1-cuda12.4-cudnn9-runtime\n{RUN}\n"
    nvcc = "OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root."

    def second(text: str) -> list[str]:
        image = text.split()[1]
        return [f"#2 [internal] load metadata for docker.io/{image}", f"#2 ERROR: docker.io/{image}: not found", f"ERROR: failed to solve: {image}: not found"]  # fmt: skip

    found = tried(tmp_path, {"Dockerfile": docker}, failed(2, RUN, nvcc), second)
    assert [row["class"] for row in found.rows] == ["compiler", "base-image"] and found.cause.kind == "compiler"
    own = tried(tmp_path / "own", {"Dockerfile": docker}, second(docker))
    assert (own.cause.kind, own.cause.code) == ("base-image", "not-found")


@pytest.mark.parametrize("attempts", [3])
def test_each_diff_is_against_the_users_files(tmp_path: Path, attempts: int) -> None:
    def killed(docker: str) -> list[str]:
        return [
            *step(2, "WORKDIR /app"),
            *failed(at(docker, RUN), RUN, "c++: fatal error: Killed signal terminated program cc1plus"),
        ]

    found = tried(tmp_path, {"Dockerfile": DOCKER}, failed(3, RUN, NO_GIT), killed, killed)
    assert len(found.rows) == attempts
    last = [line for line in found.rows[2]["diff"] if line.startswith("+") and not line.startswith("+++")]
    assert last[0].startswith("+RUN if command -v apt-get") and "+ARG MAX_JOBS=2" in last
    assert all(row["where"] == [f"Dockerfile:3: {RUN}"] for row in found.rows)
