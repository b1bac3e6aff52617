"""The runs that nobody disturbs: one for each configuration and test session, of forked ranks."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.training.exact.oracle import Outcome, differences, outcome_of
from tests.training.exact.runs import STEPS, Configuration, Run, finished


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Configuration], Run]:
    """The uninterrupted run of a configuration, made at the first call; it keeps every checkpoint."""
    made: dict[Configuration, Run] = {}

    def of(configuration: Configuration) -> Run:
        if configuration not in made:
            folder = tmp_path_factory.mktemp("reference") / f"{configuration.parallel}-{configuration.ranks}"
            made[configuration] = finished(configuration, folder, keep_rolling=1000, forks=True)
        return made[configuration]

    return of


@pytest.fixture(scope="session")
def differing(reference: Callable[[Configuration], Run]) -> Callable[[Run], list[str]]:
    """In what a finished run differs from the uninterrupted one; [] is bit for bit the same."""
    outcomes: dict[Configuration, Outcome] = {}

    def compare(run: Run) -> list[str]:
        if run.configuration not in outcomes:
            outcomes[run.configuration] = outcome_of(reference(run.configuration).folder, STEPS)
        return differences(outcome_of(run.folder, STEPS), outcomes[run.configuration])

    return compare
