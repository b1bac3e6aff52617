"""The project that each test of the deployer works on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from deployer_calls import TRAINER, Project, deploy, has_ended
from deployer_cluster_calls import ClusterProject, make_project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    (tmp_path / "src").mkdir()
    shutil.copy(TRAINER, tmp_path / "src" / "train.py")
    project = Project(tmp_path)
    project.write_job()
    yield project
    project.let_it_end()
    for run_dir in project.run_dir.parent.glob("toy*/"):
        if (run_dir / "runner-spec.json").exists() and not has_ended(run_dir):
            deploy("stop", run_dir, "--now")


@pytest.fixture
def eks(tmp_path: Path) -> ClusterProject:
    """A project whose target is a cluster of stand-in managers."""
    return make_project(tmp_path)
