"""A proof runs again when what it is about has changed, or when it failed."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import time
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


def test_ci_believes_only_itself_and_not_for_ever(folder: Path) -> None:
    (folder / "test_place.py").write_text("def test_one(): pass\n")
    assert [outcome(folder), outcome(folder)] == ["3 passed", "1 passed, 2 skipped"]
    in_ci = [outcome(folder, TRAINYARD_REQUIRE="all") for _ in range(2)]
    assert in_ci == ["3 passed", "1 passed, 2 skipped"]
    for record in (folder / "cache" / "trainyard" / "proved-in-ci").iterdir():
        os.utime(record, (time.time() - when_changed.PROVED_S - 60,) * 2)
    assert outcome(folder, TRAINYARD_REQUIRE="all") == "3 passed"
    (folder / "other.py").write_text("")
    assert outcome(folder, TRAINYARD_REQUIRE="all") == "2 passed, 1 skipped"


def test_what_a_place_takes_from_elsewhere_stands_in_its_row() -> None:
    """What its files import, and the skills and files that they name: a change of these has to bring its tests back."""
    root, missing = when_changed.ROOT, set[str]()
    skills = [path.name for path in (root / "skills").iterdir() if path.is_dir()]
    for test in sorted(root.glob("tests/**/*.py")):
        patterns = proofs.files_of(str(test.relative_to(root)))
        if patterns is None:
            continue
        text, files = test.read_text(), files_matching((*patterns, *when_changed.ALWAYS))
        wanted = {path for path in taken_from(test, text) if path.is_file() and not path.name.startswith("test_")}
        if not test.name.startswith("test_"):
            wanted.add(test)
        for name in skills:
            if re.search(rf"""SKILLS / ["']{name}["']|["']skills["'] / ["']{name}["']|skills/{name}/src""", text):
                wanted |= set((root / "skills" / name).glob("src/*.py" if name != "kit" else "*.py"))
        missing |= {f"{test.relative_to(root)}: {path.relative_to(root)}" for path in wanted - files}
    assert not missing, "\n".join(sorted(missing))


@functools.cache
def files_matching(patterns: tuple[str, ...]) -> frozenset[Path]:
    return frozenset(path for pattern in patterns for path in when_changed.ROOT.glob(pattern))


def taken_from(test: Path, text: str) -> set[Path]:
    root, found = when_changed.ROOT, set[Path]()
    for package, names in re.findall(r"^\s*from (tests(?:\.\w+)*) import \(?([\w, ]+)", text, re.MULTILINE):
        place = root / package.replace(".", "/")
        found |= {place.with_suffix(".py"), *(place / f"{name.strip()}.py" for name in names.split(","))}
    found |= {test.parent / f"{name}.py" for name in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE)}
    found |= {root.joinpath(*re.findall(r'"([^"]+)"', words)) for words in re.findall(r'ROOT((?: / "[\w.-]+")+)', text)}
    return found


def test_every_place_and_every_pattern_is_there() -> None:
    """Else a renamed folder would take its files out of what is looked at."""
    assert proofs.ROWS
    for place, files in proofs.ROWS:
        assert list(when_changed.ROOT.glob(f"{place}*")), place
        for pattern in files:
            assert any(when_changed.ROOT.glob(pattern)), f"{place}: {pattern}"
