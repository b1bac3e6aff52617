"""One run of an example, over all its starts: killed at seeded moments, and started again with the same command."""

from __future__ import annotations

import contextlib
import json
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainyard.process import start_time

from tests.training.exact.phases import save_in_progress
from tests.training.exact.processes import Process, held_still
from tests.training.examples.nursery import EXAMPLES, Nursery

STEPS = 30
VARIANTS = Path(__file__).with_name("variants.py")
ROLLING_STEPS = 4
DEADLINE_S = 120.0
"""For any one thing that a start does; generous, for it only ends a test that would hang."""
POLL_S, POLL_SAVING_S, SAVING_S = 0.005, 0.001, 0.004


@dataclass(frozen=True)
class Example:
    """A script, and how it is started."""

    script: Path
    kind: str
    """The name of the example; a variant's that of the one it is made from."""
    ranks: int = 1
    words: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.words[0] if self.words else self.kind} x{self.ranks}"


def example(name: str, ranks: int = 1) -> Example:
    return Example(EXAMPLES / f"{name}.py", name, ranks)


def variant(name: str, kind: str, ranks: int = 1) -> Example:
    return Example(VARIANTS, kind, ranks, (name,))


@dataclass
class Trial:
    """A run folder, and the processes that train in it."""

    nursery: Nursery
    example: Example
    folder: Path
    run_id: str = field(default_factory=lambda: secrets.token_hex(8))
    starts: int = 0
    ranks: list[Process] = field(default_factory=list)
    """The processes of the last start."""

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    # --- a start ---

    @contextlib.contextmanager
    def started(self) -> Iterator[None]:
        """Start it; whatever of it lives when the block is left is ended."""
        self.folder.mkdir(parents=True, exist_ok=True)
        words = [*self.example.words, "--steps", str(STEPS), "--seen", str(self.folder / f"seen-{self.starts:02}")]
        port = free_port()
        try:
            self.ranks = []
            for rank in range(self.example.ranks):
                env = {**self._environment(), **place(rank, self.example.ranks, port)}
                pid = self.nursery.start(self.example.script, words, self.folder, env, self._log(self.starts))
                self.ranks.append(Process(pid, start_time(pid) or 0, "rank", rank))
            self.starts += 1
            yield
        finally:
            self.kill()

    def _environment(self) -> dict[str, str]:
        ours = {"RUN_ID": self.run_id, "RUN_DIR": str(self.folder), "CHECKPOINTS": str(self.checkpoints)}
        return {f"TRAINYARD_{name}": value for name, value in ours.items()} | {"TRAINYARD_ROLLING_STEPS": str(ROLLING_STEPS)}

    def exit_codes(self) -> list[int]:
        """Of each rank, when all have ended."""
        codes: list[int | None] = []

        def all_ended() -> bool:
            codes[:] = [self.nursery.poll(process.pid) for process in self.ranks]
            return None not in codes

        self.wait_for("end", all_ended)
        return [code for code in codes if code is not None]

    def has_ended(self) -> bool:
        return not any(process.is_alive() for process in self.ranks)

    # --- to its end, or not ---

    def finish_well(self) -> None:
        with self.started():
            self.wait_well()

    def wait_well(self) -> None:
        """Until every rank has ended with exit code 0."""
        codes = self.exit_codes()
        assert set(codes) == {0}, f"{self.example}: exits {codes}\n{self.tail()}"

    def kill(self) -> bool:
        """SIGKILL to every rank at once; False when all had ended."""
        with held_still(self.ranks):
            hit = [process.send(signal.SIGKILL) for process in self.ranks]
        self.exit_codes()
        return any(hit)

    def kill_at(self, step: int, moment_s: float) -> bool:
        """Start it and kill it so long after this step is done; False when it had ended by then."""
        with self.started():
            self.wait_for_step(step)
            time.sleep(moment_s)
            return self.kill()

    def kill_in_save(self, step: int, chance: random.Random) -> str:
        """Start it and kill it in the first save after this step that is hit; what was on disk of it, "" when none was."""
        with self.started():
            self.wait_for_step(step)
            while not self.has_ended():
                if save_in_progress(self.checkpoints):
                    time.sleep(chance.uniform(0, SAVING_S))
                    with held_still(self.ranks):
                        if (phase := save_in_progress(self.checkpoints)) and self.kill():
                            return phase
                time.sleep(POLL_SAVING_S)
        return ""

    def stop_at(self, step: int, moment_s: float) -> list[int]:
        """Start it and send SIGTERM to every rank so long after this step, as torchrun passes it on; the exit codes."""
        with self.started():
            self.wait_for_step(step)
            time.sleep(moment_s)
            for process in self.ranks:
                process.send(signal.SIGTERM)
            return self.exit_codes()

    def wait_for_step(self, step: int) -> None:
        """Until this start has done that step or a later one, and there is a checkpoint to go on from."""

        def is_there() -> bool:
            done = [line["step"] for line in self.records() if line["incarnation"] == self.starts]
            return self.has_ended() or (max(done, default=0) >= step and bool(self.events("committed")))

        self.wait_for(f"step {step}", is_there)
        assert self.records(), self.tail()

    # --- what it wrote ---

    def events(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in self._lines("events.jsonl") if not types or event["type"] in types]

    def records(self) -> list[dict[str, Any]]:
        return self._lines("steps.jsonl")

    def steps_told(self) -> list[int]:
        """The step of each record, in the order of time."""
        return [line["step"] for line in self.records()]

    def restored_steps(self) -> list[int]:
        """The step that each start began from."""
        return [event["step"] for event in self.events("restored")]

    def seen(self, rank: int) -> list[list[int]]:
        """The samples that each start read, in order."""
        files = [self.folder / f"seen-{start:02}-rank{rank}" for start in range(self.starts)]
        return [[int(line) for line in path.read_text().split()] for path in files]

    def _lines(self, name: str) -> list[dict[str, Any]]:
        with contextlib.suppress(FileNotFoundError):
            text = (self.folder / name).read_text()
            return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
        return []

    def _log(self, start: int) -> Path:
        return self.folder / f"start-{start:02}.log"

    def tail(self) -> str:
        log = self._log(self.starts - 1)
        return f"--- {log} ---\n{log.read_text(errors='replace')[-4000:]}"

    def wait_for(self, what: str, ready: Callable[[], Any]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not ready():
            assert time.monotonic() < deadline, f"{self.example}: no {what} within {DEADLINE_S} s\n{self.tail()}"
            time.sleep(POLL_S)


def place(rank: int, ranks: int, port: int) -> dict[str, str]:
    """What torchrun tells a rank."""
    if ranks == 1:
        return {}
    master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return {**master, "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(ranks), "LOCAL_WORLD_SIZE": str(ranks)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
