"""A proof runs again when what it is about has changed, or when it failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import proofs, when_changed

CONFTEST = """
import pytest
from tests import when_changed
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
ANY = TEST.replace('when_changed("rule.py")', 'when_changed("*.py")')
ROWS = """
def files_of(nodeid): return ("other.py",) if nodeid.startswith("test_place") else None
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    shutil.copy(when_changed.__file__, tmp_path / "tests")
    (tmp_path / "tests" / "proofs.py").write_text(ROWS)
    for name, text in {"conftest.py": CONFTEST, "test_it.py": TEST, "rule.py": "right", "pytest.ini": "[pytest]"}.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def outcome(folder: Path, **more: str) -> str:
    """The last line of a run of the tests in `folder`, without its time."""
    env = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), "TRAINYARD_REQUIRE": "", "PROVE_AGAIN": "", **more}
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, timeout=60)
    return done.stdout.splitlines()[-1].partition(" in ")[0]


def test_what_passed_is_proved_again_once_a_file_has_changed(folder: Path) -> None:
    assert [outcome(folder), outcome(folder)] == ["2 passed", "1 passed, 1 skipped"]
    (folder / "rule.py").write_text("right again")
    assert outcome(folder) == "2 passed"
    (folder / "test_it.py").write_text(TEST + "# its own file\n")
    assert outcome(folder) == "2 passed"


def test_of_other_tests_only_those_count_that_lend_something(folder: Path) -> None:
    (folder / "test_it.py").write_text(ANY)
    (folder / "test_other.py").write_text("LENT = 1\n")
    assert [outcome(folder), outcome(folder)] == ["2 passed", "1 passed, 1 skipped"]
    (folder / "test_other.py").write_text("LENT = 2\n")
    assert outcome(folder) == "1 passed, 1 skipped"
    (folder / "test_it.py").write_text("from test_other import LENT\n" + ANY)
    assert outcome(folder) == "2 passed"
    (folder / "test_other.py").write_text("LENT = 3\n")
    assert outcome(folder) == "2 passed"


def test_what_failed_is_not_remembered(folder: Path) -> None:
    (folder / "rule.py").write_text("wrong")
    assert [outcome(folder), outcome(folder)] == ["1 failed, 1 passed"] * 2


def test_a_place_names_files_for_all_its_tests(folder: Path) -> None:
    (folder / "test_place.py").write_text("def test_one(): pass\n")
    assert [outcome(folder), outcome(folder)] == ["3 passed", "1 passed, 2 skipped"]
    (folder / "other.py").write_text("")
    assert outcome(folder) == "2 passed, 1 skipped"
    assert outcome(folder, PROVE_AGAIN="1") == "3 passed"


def test_in_ci_a_place_leaves_nothing_out(folder: Path) -> None:
    (folder / "test_place.py").write_text("def test_one(): pass\n")
    assert [outcome(folder), outcome(folder)] == ["3 passed", "1 passed, 2 skipped"]
    assert outcome(folder, TRAINYARD_REQUIRE="all") == "2 passed, 1 skipped"


def test_every_place_and_every_pattern_is_there() -> None:
    """Else a renamed folder would take its files out of what is looked at."""
    assert proofs.ROWS
    for place, files in proofs.ROWS:
        assert list(when_changed.ROOT.glob(f"{place}*")), place
        for pattern in files:
            assert any(when_changed.ROOT.glob(pattern)), f"{place}: {pattern}"
