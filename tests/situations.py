"""The table of what a cluster can look like and what is said then: each row is a test, and a run of the tests writes the rows.

    FULL_IMAGES=1 python -m pytest -m situation --situations shared-docs/situations.md

`@pytest.mark.situation("S07", "what the cluster looks like", "what must be said")` makes a test a row. Tests with the same three words
hold one row together, which is met when all of them passed; other words under the same number are a row of their own. With `-n` each
process reports to the one that writes.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

ROW = "situation"
HEAD = """# Situations on a cluster, and what is said

Written by `FULL_IMAGES=1 python -m pytest -m situation --situations shared-docs/situations.md`; do not edit. Each row is a test, nearly all on the
test cluster (`tests/components/cluster`): a real API server, scheduler, controllers and kubelet, with simulated nodes where
hardware is needed. How the deployer uses the answer of a manager program (such as `manage_cluster.py`) is tested with stand-ins for these programs.

| # | situation | what is said | shown |
|---|---|---|---|
"""


@dataclass
class Row:
    """One situation, and how its tests ended."""

    number: str
    situation: str
    said: str
    outcomes: list[str]

    def line(self) -> str:
        bad = [outcome for outcome in self.outcomes if outcome != "passed"]
        shown = f"**{bad[0]}**" if bad else f"passed ({len(self.outcomes)} tests)" if len(self.outcomes) > 1 else "passed"
        return f"| {self.number} | {cell(self.situation)} | {cell(self.said)} | {shown} |\n"


def cell(text: str) -> str:
    return text.replace("|", "\\|")


class Table:
    """Collects the rows of a session; writes them behind the last test."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[tuple[str, str, str], Row] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or report.outcome != "passed":
            for words in (value for name, value in report.user_properties if name == ROW):
                row = self.rows.setdefault(tuple(words), Row(*words, []))
                row.outcomes.append(report.outcome)

    def pytest_sessionfinish(self) -> None:
        lines = [self.rows[words].line() for words in sorted(self.rows)]
        self.path.write_text(HEAD + "".join(lines))


def add_option(parser: pytest.Parser) -> None:
    parser.addoption("--situations", type=Path, metavar="FILE", help="write the table of situations there")


def configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "situation(number, situation, said): a row of shared-docs/situations.md")
    path = config.getoption("--situations")
    if path is not None:
        os.environ["PROVE_AGAIN"] = "1"  # a row is what was seen now
    if path is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Table(path), "situations-table")


def note(item: pytest.Item) -> None:
    """The rows that this test is about, into its report."""
    for marker in item.iter_markers(ROW):
        number, situation, said = marker.args
        item.user_properties.append((ROW, (number, situation, said)))
