"""Slow tests that passed on this machine run again when a file that they are about has changed.

`@pytest.mark.when_changed("tests/components/**/*", ...)` names the files, from the repository root, and tests/proofs.py does for whole
folders of tests; a test's own file and the versions of the tools always count. What passed is kept in ~/.cache/trainyard/proved: a
fresh machine has none, and proves everything. PROVE_AGAIN=1 does that anywhere. In CI (TRAINYARD_REQUIRE=all) only the markers count:
what a developer ran before, perhaps alone or with more patience, is no reason to leave it out there.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
from pathlib import Path

import pytest

from tests import proofs

ROOT = Path(__file__).parents[1]
ALWAYS = ("constraints.txt", "pyproject.toml", "tests/conftest.py", "tests/when_changed.py")
MADE = re.compile(r"__pycache__/|\.egg-info/|/\.(?!claude-plugin)")
"""What running and installing leave there."""
REASON = "by design: it passed before, and no file that it is about has changed since"


@functools.cache
def digest_of(root: Path, patterns: tuple[str, ...], own: Path) -> str:
    """Of the names and contents of all files that match, but of no tests than `own` and those that it takes something from."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(matching(root, patterns) | with_lenders(own)):
        digest.update(f"{path.relative_to(root)} {path.stat().st_size}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


@functools.cache
def matching(root: Path, patterns: tuple[str, ...]) -> frozenset[Path]:
    found = {path for pattern in patterns for path in root.glob(pattern) if path.is_file()}
    return frozenset(
        path for path in found if not path.name.startswith("test_") and not MADE.search(str(path.relative_to(root)))
    )


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
    return cache / "trainyard" / "proved" / hashlib.sha256(f"{item.nodeid}\n{digest}".encode()).hexdigest()


def skip_if_proved(item: pytest.Item) -> None:
    in_ci = os.environ.get("TRAINYARD_REQUIRE") == "all"
    if os.environ.get("PROVE_AGAIN") == "1" or (in_ci and not item.get_closest_marker("when_changed")):
        return
    record = record_of(item)
    if record and record.exists():
        pytest.skip(REASON)


def remember(item: pytest.Item, report: pytest.TestReport) -> None:
    record = record_of(item) if report.when == "call" and report.passed else None
    if record:
        record.parent.mkdir(parents=True, exist_ok=True)
        record.touch()
