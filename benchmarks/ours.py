"""Trainyard as a training script uses it, with clocks around it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.subject import Subject

TIMEOUT_S = 600.0


@dataclass(frozen=True)
class Saved:
    """One save: how long it held the loop, and how long from the call until the step was committed."""

    blocked_s: float
    durable_s: float
    """NaN on other ranks than 0, which does not hear of them."""


class Ours:
    """A Checkpointer of its own in `folder`; only the newest step stays."""

    def __init__(self, folder: Path, subject: Subject) -> None:
        from trainyard import Checkpointer, SavePolicy

        self.folder, self._run_dir = folder, folder.with_name(f"{folder.name}-run")
        policy = SavePolicy(rolling_steps=10**9, keep_rolling=1, keep_epochs=0)
        with environment(TRAINYARD_RUN_DIR=str(self._run_dir)), silence():
            self.checkpointer = Checkpointer(folder, policy=policy, model=subject.model, optimizer=subject.optimizer, data=None)
        self._step, self._state_bytes = 0, subject.nbytes

    def step_without_save(self) -> None:
        """The first step of a run: nothing is due, and the snapshot's memory is made ready beside training."""
        self._step += 1
        with silence():
            self.checkpointer.step(self._step)
        self._finish()

    def save(self) -> Saved:
        """One step that saves; returns when its step is committed and older ones are removed."""
        self._step += 1
        with silence():
            started = time.monotonic()
            self.checkpointer.step(self._step, val_loss=-self._step)  # the best so far: always saved
            blocked_s = time.monotonic() - started
        self._finish()
        os.sync()  # what the removal of the older step still has to write is not the next contestant's
        save = self.checkpointer._saver.last
        assert save is not None
        if self.checkpointer.rank:
            return Saved(blocked_s, float("nan"))
        committed = self._event("committed")
        if committed["bytes"] < self._state_bytes:
            raise RuntimeError(f"{committed['bytes']} bytes were committed, the state has {self._state_bytes}")
        return Saved(blocked_s, save.taken_at - started + committed["seconds"])  # the event counts from the end of the copy

    def restore(self) -> float:
        """Seconds of `restore()`."""
        with silence():
            started = time.monotonic()
            self._step = self.checkpointer.restore()
            return time.monotonic() - started

    def close(self) -> None:
        with silence():
            self.checkpointer.close()

    def _finish(self) -> None:
        error = self.checkpointer._saver.finish_last()
        if error:
            raise RuntimeError(f"the save of step {self._step} failed: {error}")

    def _event(self, type: str) -> dict[str, Any]:
        """This step's event in the run folder (rank 0 writes it)."""
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for line in reversed((self._run_dir / "events.jsonl").read_text().splitlines()):
                event: dict[str, Any] = json.loads(line)
                if event["type"] == type and event.get("step") == self._step:
                    return event
            time.sleep(0.01)
        raise TimeoutError(f"no {type} event of step {self._step}")


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """The job's environment while a Checkpointer is made; a surrounding job's own must not reach in."""
    before = {key: os.environ.pop(key) for key in list(os.environ) if key.startswith("TRAINYARD_")}
    os.environ.update(values)
    try:
        yield
    finally:
        for key in values:
            del os.environ[key]
        os.environ.update(before)


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Step lines are printed, as in a job, but not shown here."""
    with contextlib.redirect_stdout(io.StringIO()):
        yield
