"""AWS's real launcher, two nodes on this machine: what workers hear of each stop, that they save, and that nothing else changes.

The whole table: python -m tests.components.hyperpod.stops --output shared-docs/hyperpod-stops.md
"""

from __future__ import annotations

import os

import pytest

from tests.components.hyperpod import launcher
from tests.components.hyperpod.pair import ROLLING_STEPS, uninterrupted
from tests.components.hyperpod.stops import Row, Tour, delete_waiting_pod, differences, short

STEPS = 130


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Tour:
    """One run that was stopped in each way, one after the other, and came to its end."""
    if os.geteuid() != 0:
        pytest.skip("needs root: the launcher writes into /opt/ml, here in a mount namespace of its own")
    launcher.need()
    tour = Tour(tmp_path_factory.mktemp("hyperpod") / "run", STEPS)
    tour.folder.mkdir()
    short(tour)
    print(*(row.line() for row in tour.rows), sep="\n")
    return tour


@pytest.fixture(scope="module")
def rows(tour: Tour) -> dict[str, Row]:
    return {row.way: row for row in tour.rows}


def test_the_losses_are_those_of_the_undisturbed_run(tour: Tour) -> None:
    expected = uninterrupted(tour.folder.parent / "undisturbed", STEPS)
    assert len(expected) == STEPS and differences(tour, expected) == []
    wrong = {**expected, STEPS: expected[STEPS] + 1e-9}  # a step that was trained once
    assert len(differences(tour, wrong)) == 1, "control: one loss that differs in its last digits"


@pytest.mark.parametrize(("way", "signal"), [("/stop graceful", "SIGUSR1"), ("/stop", "SIGTERM")])
def test_a_stop_with_our_options_saves_the_step_and_loses_none(rows: dict[str, Row], way: str, signal: str) -> None:
    row = rows[way]
    assert signal in row.signals and row.saved.startswith("yes") and row.resumed.endswith(", 0 lost"), row
    assert "-9" not in row.workers and row.launchers == "ready", row


def test_a_drained_pod_lets_both_nodes_save_and_the_other_launcher_calls_it_a_fault(rows: dict[str, Row]) -> None:
    row = rows["SIGTERM to one pod (a drain)"]
    assert row.saved.startswith("yes") and row.resumed.endswith(", 0 lost"), row
    assert row.launchers.startswith("exit 1, "), row


@pytest.mark.parametrize("way", ["/stop, the launcher's own defaults", "a worker is killed"])
def test_after_a_sigkill_the_newest_rolling_checkpoint_is_resumed(rows: dict[str, Row], way: str) -> None:
    row = rows[way]
    assert row.saved == "no" and "-9" in row.workers, row
    lost = int(row.resumed.split(", ")[1].split()[0])
    assert 0 < lost <= 2 * ROLLING_STEPS, row


def test_a_finished_run_leaves_launchers_that_end_with_0(rows: dict[str, Row]) -> None:
    assert rows["completion, then /shutdown"].launchers == "exit 0"


def test_a_waiting_launcher_ends_at_sigterm_beside_the_pods_process_1_and_not_as_process_1(tour: Tour) -> None:
    beside = delete_waiting_pod(tour.folder, as_process_1=False)
    assert beside.launchers == "exit -15" and beside.seconds < 3, beside
    assert "ignored" in delete_waiting_pod(tour.folder, as_process_1=True).launchers
