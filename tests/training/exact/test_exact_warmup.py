"""Why train.py does one forward and backward on zeros at every start: without it, four DDP ranks resume in another order of sums.

DDP orders its gradient buckets by the first backward, and the order decides which rank adds which elements first.
The runs are resumed at a given step from a copy, so nothing here is left to chance.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.training.exact.oracle import differences, outcome_of
from tests.training.exact.runs import STEPS, Configuration, Run, finished

RESUMED_AT = 10
WITH = Configuration("ddp", 4)
WITHOUT = Configuration("ddp", 4, ("--skip-warm-up",))


def resumed_from(whole: Run, folder: Path) -> Run:
    """A run in `folder` that goes on from a copy of the checkpoint of step RESUMED_AT, and of that one alone."""
    run = Run(whole.configuration, folder, run_id=whole.run_id)
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


def test_with_the_warm_up_a_resumed_run_of_four_ranks_is_the_same(
    reference: Callable[[Configuration], Run], tmp_path: Path
) -> None:
    assert differences_after_a_resume(reference(WITH), tmp_path / "run") == []


def test_without_the_warm_up_it_differs(tmp_path: Path) -> None:
    """Negative control: it also proves that the oracle sees the last bit of a sum."""
    whole = finished(WITHOUT, tmp_path / "whole", keep_rolling=1000)
    found = differences_after_a_resume(whole, tmp_path / "resumed")
    assert found and found[0].startswith("tensor"), found
