"""What happens to an example's run before it may end: kills and stops at seeded random moments."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.training.examples.nursery import Nursery, missing_libraries
from tests.training.examples.trials import ROLLING_STEPS, STEPS, Example, Trial

MOMENT_S = 0.03
"""Kills and stops fall this long after a step drawn at random, or less: anywhere in one or two steps, or in a save."""
TRIES = 4


def require_libraries(example: str) -> None:
    """Skip where a library is not installed; with TRAINYARD_REQUIRE=all that is a failure."""
    missing = missing_libraries(example)
    if missing and os.environ.get("TRAINYARD_REQUIRE") == "all":
        pytest.fail(f"{', '.join(missing)} must be installed")
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")


@dataclass
class Campaign:
    """A run that nobody disturbs, one that is disturbed, and how."""

    nursery: Nursery
    example: Example
    folder: Path
    seed: int
    told: list[tuple[str, str]] = field(default_factory=list)
    """(what was done to the run, how it went), in order."""

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} {self.example}")
        self.reference = Trial(self.nursery, self.example, self.folder / "reference")
        self.run = self.reference

    def endure(self, *interruptions: str, earliest: int = ROLLING_STEPS, latest: int = STEPS - ROLLING_STEPS) -> None:
        """A run that meets each of `kill`, `save` (a kill in mid-save) and `stop`, and then its end. A fresh one where it was too fast."""
        for number in range(TRIES):
            self.run, self.told = Trial(self.nursery, self.example, self.folder / f"run-{number}"), []
            # Not in the last steps: who looks for a step on a busy machine finds it a few steps late.
            steps = sorted(self.chance.sample(range(earliest, latest), len(interruptions)))
            if all(self._interrupt(what, step) for what, step in zip(interruptions, steps, strict=True)):
                self.run.finish_well()
                print(f"{self.example}: began from steps {self.run.restored_steps()}", flush=True)
                return
        pytest.fail(f"{self.example}: {TRIES} runs ended before {interruptions} had happened to one of them")

    def _interrupt(self, what: str, step: int) -> bool:
        """Whether it happened before the run's end."""
        moment_s = self.chance.uniform(0, MOMENT_S)
        if what == "kill":
            how = "killed" if self.run.kill_at(step, moment_s) else ""
        elif what == "save":
            how = self.run.kill_in_save(step, self.chance)
        else:
            codes = self.run.stop_at(step, moment_s)
            how = f"exits {codes}" if any(codes) else ""
        if how:
            self.told.append((what, how))
            print(f"seed {self.seed}  {self.example}  {what}: {how}, after step {self.run.steps_told()[-1]}", flush=True)
        return bool(how)
