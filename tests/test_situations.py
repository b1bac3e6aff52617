"""The table of situations tells what its tests showed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import pytest

@pytest.mark.situation("S02", "a node | without a GPU", "it is named")
@pytest.mark.parametrize("works", [True, {works}])
def test_it_is_named(works):
    assert works

@pytest.mark.situation("S01", "a node that is gone", "it is missed")
def test_it_is_missed():
    pass

@pytest.mark.situation("S01", "a node that is back", "it is counted")
def test_it_is_counted():
    pass

def test_of_no_situation():
    pass
"""
PLUGIN = """
from tests import situations

pytest_addoption, pytest_configure = situations.add_option, situations.configure

def pytest_collection_modifyitems(items):
    for item in items:
        situations.note(item)
"""


def table_of(tmp_path: Path, works: bool, *options: str) -> list[str]:
    (tmp_path / "conftest.py").write_text(PLUGIN)
    (tmp_path / "test_made.py").write_text(TESTS.format(works=works))
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", tmp_path, *options]
    ended = subprocess.run(
        [*words, "--situations", tmp_path / "table.md", tmp_path], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == (0 if works else 1), ended.stdout + ended.stderr
    return [line for line in (tmp_path / "table.md").read_text().splitlines() if line.startswith("| S")]


@pytest.mark.parametrize("options", [(), ("-n", "2")], ids=["one process", "two processes"])
def test_each_situation_is_one_row(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert table_of(tmp_path, True, *options) == [
        "| S01 | a node that is back | it is counted | passed |",
        "| S01 | a node that is gone | it is missed | passed |",
        "| S02 | a node \\| without a GPU | it is named | passed (2 tests) |",
    ]


def test_a_row_with_one_failed_test_is_a_miss(tmp_path: Path) -> None:
    assert table_of(tmp_path, False)[2].endswith("| **failed** |")
