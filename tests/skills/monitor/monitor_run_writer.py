"""Writes run folders as shared-docs/run-folder.md tells, and keeps its own ledger of where the time went.

The ledger is kept while the history is made up, second by second, so it is an answer to compare the program's account with.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = ("productive", "starting", "saving", "restoring", "repeated", "stalled", "down")
STEP_S = 0.5
"""The usual step of a made-up run: the stall limit at factor 10 is 5 s."""


@dataclass
class RunWriter:
    """A clock, two files, a ledger. Every method that lets time pass says in its name what it is for."""

    path: Path
    now: float = 1_790_000_000.0
    total_steps: int = 400
    incarnation: int = 0
    attempt: int = -1
    step: int = 0
    last_step_time: float | None = None
    ledger: dict[str, float] = field(default_factory=lambda: dict.fromkeys(KINDS, 0.0))
    kept: list[tuple[int, int, float]] = field(default_factory=list)
    """(incarnation, step, seconds of work) booked as productive, until a restore undoes them."""
    began: float | None = None
    deaths: list[tuple[float, int]] = field(default_factory=list)
    """(time of death, greatest step before it) of the kills that another life followed or may follow."""
    new_steps: list[float] = field(default_factory=list)
    repeated_steps: int = 0
    greatest: int = 0

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        self.began = self.now

    def spend(self, seconds: float, kind: str) -> None:
        before, self.now = self.now, self.now + seconds
        self.ledger[kind] += self.now - before

    def event(self, type: str, **fields: Any) -> None:
        runner = type in (
            "attempt",
            "attempt-ended",
            "restart-scheduled",
            "stop-requested",
            "run-ended",
            "hang",
            "paused",
            "goes-on",
        )
        own = {} if runner else {"incarnation": self.incarnation}
        self._append(
            "events.jsonl", {"time": self.now, "type": type, "source": "runner" if runner else "trainer", **own, **fields}
        )

    def _append(self, name: str, line: dict[str, Any]) -> None:
        with (self.path / name).open("a") as file:
            file.write(json.dumps(line) + "\n")

    def launch(self, *, launcher_s: float = 1.0) -> None:
        """An attempt begins; the time of the first launcher is starting, of later ones down."""
        self.attempt += 1
        self.event("attempt", attempt=self.attempt, pid=1000 + self.attempt)
        self.spend(launcher_s, "starting" if self.attempt == 0 else "down")

    def live(self, *, import_s: float = 2.0, restore_s: float = 0.5, warm_s: float = 0.25, at: int = 0) -> None:
        """A process starts, restores step `at` and begins to train."""
        self.incarnation += 1
        started = self.now
        self.spend(import_s, "starting")
        count = {"world_size": 2, "restart_count": 0, "total_steps": self.total_steps, "pids": [11, 12]}
        self.event("start", process_started=started, attempt=self.attempt, **count)
        self.spend(restore_s, "restoring")
        self.event("restored", step=at, seconds=restore_s, requested="latest", skipped=[])
        self.undo(at)
        self.spend(warm_s, "starting")
        self.event("training", step=at)
        self.step, self.last_step_time = at, self.now

    def undo(self, at: int) -> None:
        for _incarnation, step, seconds in self.kept:
            if step > at:
                self.ledger["productive"] -= seconds
                self.ledger["repeated"] += seconds
        self.kept = [entry for entry in self.kept if entry[1] <= at]

    def train(self, *, work_s: float = STEP_S, blocked_s: float = 0.0, stall_s: float = 0.0, **extra: Any) -> None:
        """One step: work, a stall, a snapshot that held the loop."""
        before = self.now
        self.spend(work_s, "productive")
        self.kept.append((self.incarnation, self.step + 1, self.now - before))
        self.spend(stall_s, "stalled")
        self.spend(blocked_s, "saving")
        self.step += 1
        self.repeated_steps += self.step <= self.greatest
        if self.step > self.greatest:
            self.new_steps += [self.now - death for death, before in self.deaths if before == self.greatest]
            self.deaths = []
        self.greatest = max(self.greatest, self.step)
        line = {"step": self.step, "time": self.now, "incarnation": self.incarnation, "loss": 5.5 / (1 + self.step / 60)}
        line |= {"step_s": self.now - before, "blocked_s": blocked_s, "lr": 3e-4, "tokens_per_s": 1024 / STEP_S}
        self._append("steps.jsonl", line | extra)
        self.last_step_time = self.now
        if blocked_s:
            self.event("snapshot", step=self.step, blocked_s=blocked_s, reasons=["rolling"])

    def commit(self, *, seconds: float = 0.0) -> None:
        self.event("committed", step=self.step, seconds=seconds, bytes=4096, reasons=["rolling"])
        folder = self.path / "checkpoints" / f"step_{self.step:08d}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").write_text("{}")
        (folder.parent / "latest").write_text(folder.name + "\n")
        tiers = {"format": 1, "latest": self.step, "rolling": [self.step], "epoch": [], "best": None}
        (folder.parent / "tiers.json").write_text(json.dumps(tiers))

    def die_inside_attempt(self, *, until_restart_s: float) -> None:
        """Killed; the launcher stays and starts the script again."""
        self.deaths.append((self.now, self.greatest))
        self.spend(until_restart_s, "down")

    def die_with_attempt(self, *, unfinished_s: float = 0.25, delay_s: float = 1.0) -> None:
        """Killed in mid-step together with its launcher, then a back-off."""
        self.spend(unfinished_s, "repeated")
        self.event("attempt-ended", attempt=self.attempt, exit_code=-9, reason="killed by signal 9")
        self.deaths.append((self.now, self.greatest))
        self.event("restart-scheduled", attempt=self.attempt, delay_s=delay_s, restarts=self.attempt + 1)
        self.spend(delay_s, "down")

    def close(self, *, finished: bool, last_save_s: float = 0.5, exit_s: float = 0.25) -> None:
        """The script ends by itself, and the launcher with it."""
        self.spend(last_save_s, "saving")
        self.event("closed", step=self.step, finished=finished)
        self.spend(exit_s, "down")
        code = 0 if finished else 143
        self.event("attempt-ended", attempt=self.attempt, exit_code=code, reason=f"exit code {code}")

    def end(self, state: str) -> None:
        self.event("run-ended", state=state, exit_code=0 if state == "finished" else 1, reason=None)

    def runner(self, state: str, **fields: Any) -> None:
        document = {
            "format": 1,
            "run_id": "5f0c5f0c5f0c5f0c",
            "name": "made-up",
            "state": state,
            "reason": None,
            "supervisor": None,
            "launcher": None,
            "attempt": max(0, self.attempt),
            "restarts": max(0, self.incarnation - 1),
            "max_restarts": 3,
            "exit_code": 0 if state == "finished" else None,
            "started": self.began,
            "ended": None,
            "log": "logs/attempt-0000.log",
            "stop_requested": None,
        }
        (self.path / "runner.json").write_text(json.dumps(document | fields))


def random_history(path: Path, seed: int) -> RunWriter:
    """A finished run with kills of both sorts, stops, stalls and saves, all drawn from `seed`."""
    dice = random.Random(seed)
    run = RunWriter(path, total_steps=dice.randint(20, 60))
    run.launch(launcher_s=dice.uniform(0, 3))
    committed = 0
    run.live(restore_s=dice.uniform(0, 2))
    while run.step < run.total_steps:
        fate = dice.random()
        if fate < 0.07 and run.incarnation < 6:
            committed = _die(run, dice, committed)
            continue
        saves = dice.random() < 0.2
        run.train(
            # A step that stalls must have worked for the whole stall limit first; no other may reach it.
            **({"work_s": 10 * STEP_S, "stall_s": dice.uniform(1, 40)} if fate > 0.97 else {"work_s": STEP_S}),
            blocked_s=dice.uniform(0.01, 0.3) if saves else 0.0,
        )
        if saves:
            run.commit()
            committed = run.step
    run.close(finished=True, last_save_s=dice.uniform(0, 2))
    run.end("finished")
    return run


def _die(run: RunWriter, dice: random.Random, committed: int) -> int:
    kind = dice.choice(["inside", "attempt", "stop"])
    if kind == "inside":
        run.die_inside_attempt(until_restart_s=dice.uniform(0.5, 5))
    elif kind == "attempt":
        run.die_with_attempt(unfinished_s=dice.uniform(0, 4), delay_s=dice.uniform(0, 5))
        run.launch(launcher_s=dice.uniform(0, 2))
    else:  # an agreed stop saves first, so nothing is undone
        committed = run.step
        run.close(finished=False)
        run.spend(dice.uniform(0, 30), "down")
        run.launch()
    run.live(restore_s=dice.uniform(0, 2), at=committed)
    return committed
