"""What was recorded is still so. Where a difference is meant: record anew (recorder.py), and give its reason in differences.md.

The documents of cluster jobs and the manifests are compared by `make recorded`: it starts a cluster of its own, whose nodes carry nothing.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.recorded.recorder import EXPECTED, Project, expected, help_of, names, plan_of, programs


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return Project(tmp_path_factory.mktemp("recorded"))


@pytest.mark.parametrize("name", names("local", "wrong"))
def test_a_plan_is_as_recorded(project: Project, name: str) -> None:
    assert plan_of(project, name) == expected("plans", name)


@pytest.mark.parametrize("name", programs())
def test_the_help_is_as_recorded(project: Project, name: str) -> None:
    assert help_of(project, programs()[name]) == expected("help", name)


def test_nothing_recorded_is_left_out() -> None:
    """A job file or program that is gone leaves its record behind, which nobody compares any more."""
    recorded = {path.stem for path in (EXPECTED / "plans").glob("*.json")}
    assert recorded == set(names("local", "wrong", "cluster"))
    assert {path.stem for path in (EXPECTED / "help").glob("*.json")} == {name.replace("/", ".") for name in programs()}


def test_control_a_changed_word_is_seen(project: Project, tmp_path: Path) -> None:
    """Negative control: another answer is not taken for the recorded one."""
    recorded = json.loads(json.dumps(expected("plans", "local-least")).replace("python train.py", "python other.py"))
    assert plan_of(project, "local-least") != recorded
