"""Kills at seeded random moments, and what a run is then worth: the campaign that the tests and the soak share."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.training.exact import phases
from tests.training.exact.leftovers import listening_sockets
from tests.training.exact.processes import Process, held_still
from tests.training.exact.runs import Run

VICTIMS = ("one rank", "all ranks", "torchrun", "supervisor", "everything")
MOMENTS = ("any", "training", "saving")
ANY_SHARE, TRAINING_SHARE = 0.8, 0.25
"""A moment of kind `any` falls within this share of a whole undisturbed run after the last fault: starting, restoring or training;
one of kind `training` within this share of an undisturbed loop after the loop began."""
SAVING_S = 0.01
"""A save of this model takes 0.02-0.05 s; a moment of kind `saving` falls this long after it began or less."""
POLL_SAVING_S = 0.001


@dataclass(frozen=True)
class Fault:
    """One kill to come. `moment` says in which part of a run its random wall-clock moment is drawn."""

    victim: str
    moment: str

    @classmethod
    def drawn(cls, chance: random.Random) -> Fault:
        return cls(chance.choice(VICTIMS), chance.choice(MOMENTS))


@dataclass(frozen=True)
class Kill:
    """One kill that happened."""

    seed: int
    configuration: str
    victim: str
    pids: tuple[int, ...]
    step: int
    """Last finished step."""
    phase: str

    def __str__(self) -> str:
        return f"seed {self.seed}  {self.configuration:8}  killed {self.victim:10}  after step {self.step:2}  in {self.phase}"


@dataclass
class Campaign:
    """Faults that runs of one configuration must survive, in moments drawn from `seed` and scaled to an undisturbed run."""

    reference: Run
    folder: Path
    seed: int
    kills: list[Kill] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    """Finished ones. The faults go on in a fresh run where one had reached its end before its next fault."""

    def __post_init__(self) -> None:
        self.chance = random.Random(f"{self.seed} {self.reference.configuration}")
        self.whole_s, self.training_s = self.reference.pace_s(), self.reference.training_s()

    def endure(self, faults: Iterable[Fault]) -> None:
        """Let every fault happen to a run, and bring the runs to their end."""
        left = list(faults)
        for number in range(2 * len(left)):
            if left:
                run = Run(self.reference.configuration, self.folder / f"run-{number}")
                left = left[self._hurt(run, left) :]
        assert not left, f"{self.reference.configuration}: the runs end before {left} can happen"

    def _hurt(self, run: Run, faults: list[Fault]) -> int:
        """One run from its submission to its end; how many of the faults it met."""
        self.run, self.events_before = run, 0
        met = 0
        with run.submitted():
            while met < len(faults) and self._inflict(faults[met]):
                met += 1
                self._pick_up()
            seen = run.wait()
        assert (seen["state"], seen["exit_code"]) == ("finished", 0), f"{seen}\n{run.tail()}"
        self.runs.append(run)
        return met

    def _inflict(self, fault: Fault) -> bool:
        """Wait for the moment and kill; False when the run ended first."""
        longest_s = ANY_SHARE * self.whole_s if fault.moment == "any" else TRAINING_SHARE * self.training_s
        if fault.moment != "any":
            self.run.wait_for("training", lambda: self.run.has_ended() or self._new_events("training"))
        time.sleep(self.chance.uniform(0, longest_s))
        while not self.run.has_ended():
            if fault.moment == "saving" and not self._save_begins():
                return False
            self.run.sockets |= listening_sockets(self.run.run_id)
            if self._kill(fault):
                return True
            time.sleep(POLL_SAVING_S)
        return False

    def _kill(self, fault: Fault) -> bool:
        """SIGKILL while the ranks are held still; False when the victim, or the save to be hit, is not there (any more)."""
        with held_still(self.run.processes("rank")):
            phase, step = phases.phase_of(self.run), self.run.last_step()
            if fault.moment == "saving" and not phase.startswith("saving"):
                return False
            self._check_single(phase)
            hit = [process for process in self._victims(fault.victim) if process.send(signal.SIGKILL)]
        if not hit:
            return False
        pids = tuple(process.pid for process in hit)
        self.kills.append(Kill(self.seed, str(self.run.configuration), fault.victim, pids, step, phase))
        print(self.kills[-1], flush=True)
        self.run.wait_for("death of the victims", lambda: not any(process.is_alive() for process in hit))
        return True

    def _victims(self, victim: str) -> list[Process]:
        everybody = self.run.processes()
        ranks = sorted((process for process in everybody if process.role == "rank"), key=lambda process: process.rank or 0)
        if victim == "one rank":
            return [self.chance.choice(ranks)] if ranks else []
        role = {"all ranks": "rank", "torchrun": "launcher", "supervisor": "supervisor"}.get(victim)
        return [process for process in everybody if role in (None, process.role)]

    def _check_single(self, phase: str) -> None:
        """No rank of an earlier start trains beside those of this one."""
        ranks = [process.rank for process in self.run.processes("rank")]
        assert len(ranks) == len(set(ranks)), f"ranks {ranks} live at once, in {phase}"

    def _pick_up(self) -> None:
        """What a user does after the kill: nothing, where the supervisor lives; else look, and submit again."""
        self.events_before = len(self.run.events())
        if self.run.processes("supervisor"):
            return
        # Every other time the run is resumed while its orphans may still be saving; else it is left alone until it is lost.
        if self.chance.random() < 0.5:
            self.run.wait_for("state lost", lambda: self.run.status()["state"] == "lost")
            assert self.run.leftovers() == []
        self.run.submit(resume=True)

    def _new_events(self, type: str) -> bool:
        return any(event["type"] == type for event in self.run.events()[self.events_before :])

    def _save_begins(self) -> bool:
        """Wait for a temporary folder, then a few milliseconds more; False when the run ended first."""
        began = self.run.wait_for(
            "save", lambda: "ended" if self.run.has_ended() else _is_saving(self.run.checkpoints), poll_s=POLL_SAVING_S
        )
        time.sleep(self.chance.uniform(0, SAVING_S))
        return bool(began != "ended")


def _is_saving(checkpoints: Path) -> bool:
    return bool(phases.save_in_progress(checkpoints))
