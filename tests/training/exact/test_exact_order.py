"""Four DDP ranks resume in the order of sums of the run before; tests/training/test_ddp_order.py has the negative control.

The runs are resumed at a given step from a copy, so nothing here is left to chance.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.training.exact.oracle import differences, outcome_of
from tests.training.exact.runs import STEPS, Configuration, Run

RESUMED_AT = 10
FOUR = Configuration("ddp", 4)


def resumed_from(whole: Run, folder: Path) -> Run:
    """A run in `folder` that goes on from a copy of the checkpoint of step RESUMED_AT, and of that one alone."""
    run = Run(whole.configuration, folder, run_id=whole.run_id, forks=True)
    name = f"step_{RESUMED_AT:08d}"
    shutil.copytree(whole.checkpoints / name, run.checkpoints / name)
    shutil.copyfile(whole.checkpoints / "lock.json", run.checkpoints / "lock.json")
    with run.submitted():
        assert run.wait()["state"] == "finished", run.tail()
    assert [event["step"] for event in run.events("restored")] == [RESUMED_AT]
    return run


def differences_after_a_resume(whole: Run, folder: Path) -> list[str]:
    ours, expected = outcome_of(resumed_from(whole, folder).folder, STEPS), outcome_of(whole.folder, STEPS)
    for step in range(1, RESUMED_AT + 1):
        del expected.steps[step]
    return differences(ours, expected)


def test_a_resumed_run_of_four_ranks_is_the_same(reference: Callable[[Configuration], Run], tmp_path: Path) -> None:
    assert differences_after_a_resume(reference(FOUR), tmp_path / "run") == []
