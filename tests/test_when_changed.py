"""A proof runs again when what it is about has changed, or when it failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import when_changed

CONFTEST = """
import pytest, when_changed
def pytest_configure(config): config.addinivalue_line("markers", "when_changed(*globs): x")
def pytest_runtest_setup(item): when_changed.skip_if_proved(item)
@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    when_changed.remember(item, report)
    return report
"""
TEST = """
import pathlib, pytest
@pytest.mark.when_changed("rule.py")
def test_rule(): assert "wrong" not in pathlib.Path("rule.py").read_text()
def test_that_always_runs(): pass
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copy(when_changed.__file__, tmp_path)
    for name, text in {"conftest.py": CONFTEST, "test_it.py": TEST, "rule.py": "right", "pytest.ini": "[pytest]"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def outcome(folder: Path) -> str:
    """The last line of a run of the tests in `folder`, without its time."""
    env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "TRAINYARD_REQUIRE": ""}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()[-1].partition(" in ")[0]


def test_what_passed_is_proved_again_once_a_file_has_changed(folder: Path) -> None:
    assert [outcome(folder), outcome(folder)] == ["2 passed", "1 passed, 1 skipped"]
    (folder / "rule.py").write_text("right again")
    assert outcome(folder) == "2 passed"
    (folder / "test_it.py").write_text(TEST + "# its own file\n")
    assert outcome(folder) == "2 passed"


def test_what_failed_is_not_remembered(folder: Path) -> None:
    (folder / "rule.py").write_text("wrong")
    assert [outcome(folder), outcome(folder)] == ["1 failed, 1 passed"] * 2
