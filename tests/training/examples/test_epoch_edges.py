"""The edges of an epoch: killed or stopped at its last step, the one before and the one after, a run goes on bit for bit."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.examples import epoch_shapes
from tests.training.examples.nursery import Nursery

pytest_plugins = ["tests.training.rt_fixtures"]

SCRIPT = Path(epoch_shapes.__file__)
DEADLINE_S = 120.0
FATES = ["die:4", "die:5", "die:6", "stop:9", "stop:10", "stop:11"]
SHAPES = {
    epoch_shapes.while_epoch: FATES,
    epoch_shapes.for_range: FATES,
    epoch_shapes.while_step: FATES,
    epoch_shapes.break_at_the_last: FATES,
    epoch_shapes.slices: FATES,
    epoch_shapes.next_by_hand: FATES,
    epoch_shapes.told_before_the_schedule: FATES,
    epoch_shapes.end_told_in_the_loop: FATES,
    epoch_shapes.end_told_after_the_loop: FATES,
    epoch_shapes.evaluated_before_the_next_step: FATES,
    epoch_shapes.accumulation: ["die:2", "die:3", "die:4", "stop:5", "stop:6", "stop:7"],
}


class Starts:
    """The starts of one run of a shape, one after the other."""

    def __init__(self, nursery: Nursery, shape: str, folder: Path) -> None:
        self.nursery, self.shape, self.folder, self.logs = nursery, shape, folder, list[str]()
        folder.mkdir()

    def start(self, fate: str = "-") -> int:
        """Its exit code."""
        log = self.folder / f"log-{len(self.logs)}"
        words = [self.shape, str(self.folder / "checkpoints"), fate]
        pid = self.nursery.start(SCRIPT, words, self.folder, {"TRAINYARD_RUN_ID": "5f0c000000000000"}, log)
        deadline = time.monotonic() + DEADLINE_S
        while (code := self.nursery.poll(pid)) is None:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.005)
        self.logs.append(log.read_text())
        return code

    def found(self, pattern: str) -> set[tuple[str, ...]]:
        return {found for log in self.logs for found in re.findall(pattern, log, re.MULTILINE)}

    @property
    def restored(self) -> list[int]:
        return [int(number) for log in self.logs for number in re.findall(r"restored step (\d+) in", log)]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_a_run_that_is_ended_around_an_epochs_last_step_goes_on_bit_for_bit(
    nursery: Nursery, shape: Any, memory_path: Path
) -> None:
    name = shape.__name__
    reference, run = Starts(nursery, name, memory_path / "reference"), Starts(nursery, name, memory_path / "run")
    assert reference.start() == 0, reference.logs[-1]
    for fate in SHAPES[shape]:
        assert run.start(fate) == (9 if fate.startswith("die") else 143), run.logs[-1]
    assert run.start() == 0, run.logs[-1]
    for pattern in (r"^digest step=(\d+) (\w+)", r"^epoch (\d+) lr (\S+)", r"^(end) (\w+)"):
        assert run.found(pattern) == reference.found(pattern)
    # Never more than a step is lost: the step at which a process died is not over, the one before is saved.
    ends = [int(fate.partition(":")[2]) - fate.startswith("die") for fate in SHAPES[shape]]
    assert run.restored == ends
    assert not [path for path in (run.folder / "checkpoints").iterdir() if "aside" in path.name]
