"""Where no cluster can run, the tests that want one are skipped and say why; in CI that is a failure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.when_changed("tests/components/**/*")
REPOSITORY = Path(__file__).parents[2]
ONE_TEST = "tests/components/test_cluster.py::test_every_process_lives_and_every_node_is_ready"


def report(tmp_path: Path, *before: str, path: str | None = None, require: str = "") -> str:
    """What pytest prints for one test of the cluster, with nothing built."""
    own = {"XDG_CACHE_HOME": str(tmp_path), "PATH": path or os.environ["PATH"], "TRAINYARD_REQUIRE": require}
    command = [*before, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", ONE_TEST]
    done = subprocess.run(command, cwd=REPOSITORY, env={**os.environ, **own}, capture_output=True, text=True, timeout=120)
    return done.stdout


def test_without_go_it_is_skipped_and_names_what_could_not_be_built(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    said = report(tmp_path, path=str(tmp_path))
    assert "1 skipped" in said and "needs Go 1.26 or newer to build kubectl, kwok, etcd" in said


def test_without_root_it_is_skipped(tmp_path: Path) -> None:
    # In a user namespace of its own the process is not root, and may still read this folder.
    said = report(tmp_path, "unshare", "--user")
    assert "1 skipped" in said and "the test cluster needs root" in said


def test_in_ci_the_skip_is_a_failure(tmp_path: Path) -> None:
    said = report(tmp_path, "unshare", "--user", require="all")
    assert "TRAINYARD_REQUIRE=all, and it was skipped: " in said and "skipped in" not in said
