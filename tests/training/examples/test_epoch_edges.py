"""The edges of an epoch: killed or stopped at its last step, the one before and the one after, a run goes on bit for bit."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pytest

from tests.training.examples import epoch_shapes
from tests.training.examples.nursery import Nursery
from tests.training.examples.trials import free_port, place

pytest_plugins = ["tests.training.rt_fixtures"]

SCRIPT = Path(epoch_shapes.__file__)
DEADLINE_S = 120.0
FATES = ["die:4", "die:5", "die:6", "stop:9", "stop:10", "stop:11"]
TOLD = (r"^digest step=(\d+) (\w+)", r"^epoch (\d+) lr (\S+)", r"^(end) (\w+)")
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

    def __init__(self, nursery: Nursery, shape: str, folder: Path, ranks: int = 1) -> None:
        self.nursery, self.shape, self.folder, self.ranks = nursery, shape, folder, ranks
        self.logs: list[str] = []
        folder.mkdir()

    def start(self, *fates: str) -> list[int]:
        """Each rank's exit code; none of the fates is "-"."""
        logs = [self.folder / f"log-{len(self.logs)}-{rank}" for rank in range(self.ranks)]
        port, pids = free_port(), []
        for rank, log in enumerate(logs):
            words = [self.shape, str(self.folder / "checkpoints"), fates[rank] if fates else "-"]
            env = {"TRAINYARD_RUN_ID": "5f0c000000000000", **place(rank, self.ranks, port)}
            pids.append(self.nursery.start(SCRIPT, words, self.folder, env, log))
        deadline = time.monotonic() + DEADLINE_S
        while None in (codes := [self.nursery.poll(pid) for pid in pids]):
            assert time.monotonic() < deadline, logs[0].read_text()
            time.sleep(0.005)
        self.logs += [log.read_text() for log in logs]
        return [code for code in codes if code is not None]

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
    assert reference.start() == [0], reference.logs[-1]
    for fate in SHAPES[shape]:
        assert run.start(fate) == [9 if fate.startswith("die") else 143], run.logs[-1]
    assert run.start() == [0], run.logs[-1]
    for pattern in TOLD:
        assert run.found(pattern) == reference.found(pattern)
    # Never more than a step is lost: the step at which a process died is not over, the one before is saved.
    ends = [int(fate.partition(":")[2]) - fate.startswith("die") for fate in SHAPES[shape]]
    assert run.restored == ends
    assert not [path for path in (run.folder / "checkpoints").iterdir() if "aside" in path.name]


def test_two_ranks_go_on_bit_for_bit_from_around_an_epochs_last_step(nursery: Nursery, memory_path: Path) -> None:
    """One rank dies, or is told to stop: they agree on that one step later, in the second case in an epoch's last step."""
    reference, run = (Starts(nursery, "while_epoch", memory_path / name, ranks=2) for name in ("reference", "run"))
    assert reference.start() == [0, 0], reference.logs
    for fates, codes in ((("-", "die:6"), [1, 9]), (("stop:9", "-"), [143, 143]), (("-", "stop:13"), [143, 143])):
        assert run.start(*fates) == codes, run.logs[-2:]
    assert run.start() == [0, 0], run.logs[-2:]
    for pattern in TOLD:
        assert run.found(pattern) == reference.found(pattern)
    assert run.restored[1:] == [10, 14] and run.restored[0] >= 3
