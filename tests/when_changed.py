"""Slow tests that passed on this machine run again when a file that they are about has changed.

`@pytest.mark.when_changed("tests/components/**/*", ...)` names the files, from the repository root, and tests/proofs.py does for whole
folders of tests; a test's own file and the versions of the tools always count. What passed is kept in ~/.cache/trainyard/proved: a
fresh machine has none, and proves everything. PROVE_AGAIN=1 does that anywhere. CI (TRAINYARD_REQUIRE=all) keeps records of its own:
what a developer ran, perhaps alone or with more patience, is no reason to leave it out there; and they last for PROVED_S only
(decision 0031).
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
import time
from pathlib import Path

import pytest

from tests import proofs

ROOT = Path(__file__).parents[1]
ALWAYS = ("constraints.txt", "pyproject.toml", "tests/conftest.py", "tests/when_changed.py")
MADE = re.compile(r"__pycache__/|\.egg-info/|/\.(?!claude-plugin)")
"""What running and installing leave there."""
REASON = "by design: it passed before, and no file that it is about has changed since"
PROVED_S = 3 * 24 * 3600.0
"""In CI: what breaks without a change of any file (a clock, a full disk, a race) is seen after this."""


@functools.cache
def digest_of(root: Path, patterns: tuple[str, ...], own: Path) -> str:
    """Of the names and contents of all files that match, but of no tests than `own` and those that it takes something from."""
    both = [sys.version, *(digest_of_matching(root, pattern) for pattern in patterns)]
    both += [digest_of_file(root, path) for path in sorted(with_lenders(own))]
    return hashlib.sha256("\n".join(both).encode()).hexdigest()


@functools.cache
def digest_of_matching(root: Path, pattern: str) -> str:
    found = {path for path in root.glob(pattern) if path.is_file() and not path.name.startswith("test_")}
    kept = sorted(path for path in found if not MADE.search(str(path.relative_to(root))))
    return hashlib.sha256("\n".join(digest_of_file(root, path) for path in kept).encode()).hexdigest()


@functools.cache
def digest_of_file(root: Path, path: Path) -> str:
    return f"{path.relative_to(root)} {hashlib.sha256(path.read_bytes()).hexdigest()}"


def with_lenders(own: Path) -> set[Path]:
    """A file of tests, and the ones beside it whose names stand in it."""
    found, new = {own}, [own]
    while new:
        names = set(re.findall(r"\btest_\w+", new.pop().read_text()))
        others = {path for path in own.parent.glob("test_*.py") if path.stem in names} - found
        found |= others
        new += others
    return found


def record_of(item: pytest.Item) -> Path | None:
    """The file that is there when this test passed with these files; None for a test that always runs."""
    marker = item.get_closest_marker("when_changed")
    files = marker.args if marker else proofs.files_of(item.nodeid)
    if files is None:
        return None
    digest = digest_of(item.config.rootpath, (*files, *ALWAYS), item.path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = hashlib.sha256(f"{item.nodeid}\n{digest}".encode()).hexdigest()
    return cache / "trainyard" / ("proved-in-ci" if is_in_ci() else "proved") / name


def skip_if_proved(item: pytest.Item) -> None:
    if os.environ.get("PROVE_AGAIN") == "1":
        return
    record = record_of(item)
    if record and record.exists() and not (is_in_ci() and time.time() - record.stat().st_mtime > PROVED_S):
        pytest.skip(REASON)


def is_in_ci() -> bool:
    return os.environ.get("TRAINYARD_REQUIRE") == "all"


def remember(item: pytest.Item, report: pytest.TestReport) -> None:
    record = record_of(item) if report.when == "call" and report.passed else None
    if record:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.touch()
