"""Which Python trains a project where nobody has named one: never the one that install.sh made for the skills."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.calling import SKILLS

CALL = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
import trainyard_interpreter
print(json.dumps(trainyard_interpreter.project_python(sys.argv[2], os.environ, sys.argv[3])))
"""


def environment(folder: Path, mark: bool = False) -> Path:
    """Its python, which only has to be a program."""
    python = folder / "bin" / "python"
    python.parent.mkdir(parents=True)
    for name in ("python", "python3"):
        (python.parent / name).write_text("#!/bin/sh\n")
        (python.parent / name).chmod(0o755)
    if mark:
        (folder / "made-by-trainyard").write_text("")
    return python


@pytest.fixture
def project(tmp_path: Path) -> Path:
    source = tmp_path / "home" / "project" / "src"
    source.mkdir(parents=True)
    return source


def asked(project: Path, caller: Path, **environ: str) -> str:
    env = {"HOME": str(project.parents[1]), "PATH": "/nowhere", **environ}
    words = [sys.executable, "-c", CALL, SKILLS / "local-runner" / "src", project, caller]
    done = subprocess.run(words, capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    return str(json.loads(done.stdout))


def test_the_activated_one_comes_first_and_conda_after_the_projects(project: Path, tmp_path: Path) -> None:
    caller, activated, conda = (environment(tmp_path / name) for name in ("caller", "activated", "conda"))
    assert asked(project, caller) == str(caller)
    assert asked(project, caller, CONDA_PREFIX=str(conda.parents[1])) == str(conda)
    above = environment(project.parent / ".venv")
    assert asked(project, caller, CONDA_PREFIX=str(conda.parents[1])) == str(above)
    own = environment(project / ".venv")
    assert asked(project, caller) == str(own)
    assert asked(project, caller, VIRTUAL_ENV=str(activated.parents[1])) == str(activated)
    assert asked(project, caller, VIRTUAL_ENV=str(tmp_path / "deleted")) == str(own)


def test_the_home_folder_and_what_is_above_it_are_nobodys_project(project: Path, tmp_path: Path) -> None:
    caller = environment(tmp_path / "caller")
    environment(project.parents[1] / ".venv")
    environment(tmp_path / ".venv")
    assert asked(project, caller) == str(caller)


def test_the_skills_own_is_never_taken(project: Path, tmp_path: Path) -> None:
    """Neither as the caller, nor activated, nor by PATH; only where there is no other at all."""
    own, users = environment(tmp_path / "skills", mark=True), environment(tmp_path / "users")
    both = os.pathsep.join([str(own.parent), str(users.parent)])
    assert asked(project, own, VIRTUAL_ENV=str(own.parents[1]), PATH=both) == str(users.parent / "python3")
    assert asked(project, own) == str(own)


def test_by_the_command_the_caller_is_no_choice_of_the_user(project: Path, tmp_path: Path) -> None:
    caller, users = environment(tmp_path / "checkout"), environment(tmp_path / "users")
    path = {"PATH": str(users.parent)}
    assert asked(project, caller, TRAINYARD_COMMAND="trainyard", **path) == str(users.parent / "python3")
    assert asked(project, caller, **path) == str(caller)
