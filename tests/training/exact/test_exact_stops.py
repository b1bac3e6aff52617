"""SIGTERM to one rank, to torchrun, through `stop`, and two signals: all ranks save the same step, and nothing is lost or repeated."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.exact.processes import held_still
from tests.training.exact.runs import Configuration, Run

STEPS_BEFORE = 3
"""Steps that each start of the run is given before it is stopped."""
Told = dict[str, dict[str, Any]]


def signal_one_rank(run: Run) -> None:
    max(run.processes("rank"), key=lambda process: process.rank or 0).send(signal.SIGTERM)


def signal_torchrun(run: Run) -> None:
    run.processes("launcher")[0].send(signal.SIGTERM)


def signal_all_twice(run: Run) -> None:
    """Two signals that a rank finds together when it goes on, so that it has no time to save after the first."""
    ranks = run.processes("rank")
    with held_still(ranks):
        for process in ranks:
            assert process.send(signal.SIGINT) and process.send(signal.SIGTERM)


def stop_and_resume(run: Run) -> None:
    seen = run.stop()
    assert seen["state"] == "stopped" and seen["exit_code"] != 0, seen
    assert run.leftovers() == []
    run.submit(resume=True)


# The verb comes last: it takes a moment, in which a quick machine trains many steps.
STOPS = {
    Configuration("ddp", 4): [signal_one_rank, stop_and_resume],
    Configuration("fsdp", 2): [signal_one_rank, signal_torchrun, signal_all_twice, stop_and_resume],
}


class Stopped:
    """A run that was stopped in one way after the other, and what it told of each stop."""

    def __init__(self, configuration: Configuration, folder: Path) -> None:
        self.run = Run(configuration, folder, forks=True)
        with self.run.submitted():
            self.told = {stop: self._after(stop) for stop in STOPS[configuration]}
            self.end = self.run.wait()

    def _after(self, stop: Callable[[Run], None]) -> Told:
        """Let it train a little, stop it, see it train again: the last event of each type before the stop, the first after it."""
        run = self.run
        began = run.wait_for("training", lambda: run.events("training"))[-1]
        run.wait_for("steps", lambda: run.last_step() >= began["step"] + STEPS_BEFORE)
        attempt = run.record()["attempt"]
        stop(run)
        run.wait_for("training again", lambda: run.events("training")[-1]["incarnation"] > began["incarnation"])
        told = {event["type"]: event for event in run.events() if event.get("incarnation") == began["incarnation"]}
        after = [event for event in run.events("restored") if event["incarnation"] > began["incarnation"]]
        return {**told, "restored": after[0], "attempts": {"new": run.record()["attempt"] - attempt}}


@pytest.fixture(scope="module", params=STOPS, ids=str)
def stopped(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stopped:
    return Stopped(request.param, tmp_path_factory.mktemp("stopped") / "run")


def test_every_agreed_stop_saves_the_step_it_stopped_at_and_the_next_start_goes_on_there(stopped: Stopped) -> None:
    for stop, told in stopped.told.items():
        if stop is not signal_all_twice:
            step = told["stopping"]["step"]
            assert (told["committed"]["step"], told["closed"]["step"], told["restored"]["step"]) == (step, step, step)
            assert "stop" in told["committed"]["reasons"] and not told["closed"]["finished"]


def test_a_rank_that_was_stopped_exits_with_143_and_all_are_started_again(stopped: Stopped) -> None:
    assert stopped.told[signal_one_rank]["attempts"]["new"] == 1
    logs = [path.read_text() for path in (stopped.run.folder / "logs").glob("attempt-*.log")]
    assert any("(exitcode: 143)" in log for log in logs)


def test_sigterm_to_torchrun_is_no_end_of_the_work_so_the_supervisor_starts_it_again(stopped: Stopped) -> None:
    if signal_torchrun in stopped.told:
        assert stopped.told[signal_torchrun]["attempts"]["new"] == 1


def test_a_second_signal_ends_at_once_and_the_newest_checkpoint_stands(stopped: Stopped) -> None:
    if signal_all_twice in stopped.told:
        told = stopped.told[signal_all_twice]
        assert "stopping" not in told and "closed" not in told
        newest = max(event["step"] for event in stopped.run.events("committed") if event["time"] < told["restored"]["time"])
        assert told["restored"]["step"] == newest and told["restored"]["skipped"] == []


def test_a_stopped_run_ends_bit_for_bit_like_the_undisturbed_one(
    stopped: Stopped, differing: Callable[[Run], list[str]]
) -> None:
    assert (stopped.end["state"], stopped.end["exit_code"]) == ("finished", 0), stopped.run.tail()
    assert differing(stopped.run) == []


def test_exit_0_comes_last_and_nothing_is_left(stopped: Stopped) -> None:
    exits = [event["exit_code"] for event in stopped.run.events("attempt-ended")]
    assert exits[-1] == 0 and 0 not in exits[:-1]
    assert [event["finished"] for event in stopped.run.events("closed")].index(True) == len(stopped.run.events("closed")) - 1
    assert stopped.run.leftovers() == []
