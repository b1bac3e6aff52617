"""One job, one kill of one rank at a drawn step, and what became of it."""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.killing.launchers import LAUNCHERS, ROOT, RUNNER, Job
from tests.training.forking import forking

SCRIPTS = Path(__file__).with_name("scripts")
EXAMPLES = ROOT / "training" / "examples"
WITHOUT = {"plain": "plain.py", "HF Trainer": "hf.py", "Lightning": "pl.py", "accelerate": "acc.py"}
WITH = {
    "plain": "plain_loop.py",
    "HF Trainer": "huggingface_trainer.py",
    "Lightning": "lightning_trainer.py",
    "accelerate": "accelerate_loop.py",
}
LIBRARY = {"plain": "", "HF Trainer": "transformers.trainer", "Lightning": "lightning.pytorch", "accelerate": "accelerate"}
STEPS = 40
EARLIEST, LATEST = 4, 30
"""Steps after which the kill may fall: far enough from both ends."""
DEADLINE_S = 400.0


@dataclass(frozen=True)
class Case:
    kind: str
    """plain, HF Trainer, Lightning or accelerate."""
    lines: bool
    """With Trainyard's lines."""
    ranks: int
    launcher: str

    def __str__(self) -> str:
        return f"{self.kind}, {'with' if self.lines else 'without'} the lines, {self.ranks} ranks, {self.launcher}"


@dataclass
class Outcome:
    case: Case
    seed: int
    killed_rank: int = -1
    after_step: int = -1
    load: float = 0.0
    """Load average of the machine at the kill."""
    back: bool = False
    restarts: int | None = None
    """As runner.json has them; None where no supervisor of ours counts."""
    starts: int = 0
    seconds: float = 0.0
    """From the kill to the end of the job."""
    losses: dict[int, float] = field(default_factory=dict)
    problem: str = ""

    @property
    def good(self) -> bool:
        return self.back and not self.problem and self.restarts in (None, 1)


class Trial:
    """`forks`: the launchers fork their ranks, which is quicker, instead of starting each as a program."""

    def __init__(self, case: Case, seed: int, folder: Path, *, forks: bool = False) -> None:
        self.case, self.seed = case, seed
        self.chance = random.Random(f"{seed} {case}")
        script = EXAMPLES / WITH[case.kind] if case.lines else SCRIPTS / WITHOUT[case.kind]
        folder.mkdir(parents=True)
        env = {"TOLD": str(folder / "told"), "TRAINYARD_ROLLING_STEPS": "5", **(forking(LIBRARY[case.kind]) if forks else {})}
        words = ("--steps", str(STEPS)) if case.lines else ()
        self.job = Job(folder, secrets.token_hex(8), script, words, case.ranks, env)
        self.processes: list[subprocess.Popen[bytes]] = []

    def run(self, *, kill: bool = True) -> Outcome:
        """Everything that was started is ended when this returns."""
        outcome = Outcome(self.case, self.seed)
        try:
            self._start()
            if kill:
                self._kill(outcome)
            began = time.monotonic()
            self._wait(outcome)
            outcome.seconds = time.monotonic() - began
        except TimeoutError as error:
            outcome.problem = str(error)
        finally:
            self._end()
        outcome.restarts = self._restarts()
        outcome.starts = len(set(self._pids_told()))
        outcome.losses = self._losses()
        return outcome

    # --- the job ---

    def _start(self) -> None:
        self.job.run_dir.mkdir()
        for number, (words, env) in enumerate(LAUNCHERS[self.case.launcher](self.job)):
            with (self.job.folder / f"node-{number}.log").open("wb") as log:
                self.processes.append(
                    subprocess.Popen(words, env=env, cwd=self.job.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                )

    @property
    def _is_local(self) -> bool:
        return self.case.launcher.endswith("local-runner")

    def _wait(self, outcome: Outcome) -> None:
        if self._is_local:
            words = [sys.executable, str(RUNNER), "wait", str(self.job.run_dir), "--timeout", str(DEADLINE_S)]
            done = subprocess.run(words, capture_output=True, timeout=DEADLINE_S + 60)
            outcome.back = done.returncode == 0
            outcome.problem = "" if outcome.back else done.stdout.decode(errors="replace")[-400:]
            return
        until(lambda: all(process.poll() is not None for process in self.processes), "the job does not end")
        codes = [process.returncode for process in self.processes]
        outcome.back = not any(codes)
        outcome.problem = "" if outcome.back else f"exit codes {codes}"

    def _end(self) -> None:
        if self._is_local and (self.job.run_dir / "runner.json").exists():
            words = [sys.executable, str(RUNNER), "stop", str(self.job.run_dir), "--now"]
            subprocess.run(words, capture_output=True, timeout=120)
        for pid in self._processes_of_the_run():
            os.kill(pid, signal.SIGKILL)
        for process in self.processes:
            process.kill()
            process.wait()

    # --- the kill ---

    def _kill(self, outcome: Outcome) -> None:
        step = self.chance.randint(EARLIEST, LATEST)
        rank, moment_s = self.chance.randrange(self.case.ranks), self.chance.uniform(0, 0.04)
        until(lambda: self._step() >= step or self._has_ended(), f"step {step} does not come")
        time.sleep(moment_s)
        victim = self._pid_of(rank)
        if victim is None or self._has_ended():
            raise TimeoutError(f"rank {rank} had ended before the kill")
        os.kill(victim, signal.SIGKILL)
        outcome.killed_rank, outcome.after_step, outcome.load = rank, self._step(), os.getloadavg()[0]

    def _has_ended(self) -> bool:
        return not self._is_local and any(process.poll() is not None for process in self.processes)

    def _step(self) -> int:
        """The last step that was done."""
        if self.case.lines:
            return max((line["step"] for line in self._lines()), default=0)
        return max((int(line.split()[1]) for line in self._told()), default=0)

    def _pid_of(self, rank: int) -> int | None:
        """The worker and not a child of it: the oldest process with that rank."""
        found = [pid for pid in self._processes_of_the_run() if _environment(pid).get("RANK") == str(rank)]
        return min(found, key=_started, default=None)

    def _processes_of_the_run(self) -> list[int]:
        pids = [int(path.name) for path in Path("/proc").glob("[0-9]*")]
        return [pid for pid in pids if _environment(pid).get("TRAINYARD_RUN_ID") == self.job.run_id and pid != os.getpid()]

    # --- what it left ---

    def _told(self) -> list[str]:
        path = self.job.folder / "told"
        return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")] if path.exists() else []

    def _lines(self) -> list[dict[str, Any]]:
        path = self.job.run_dir / "steps.jsonl"
        text = path.read_bytes() if path.exists() else b""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith(b"\n")]

    def _pids_told(self) -> list[str]:
        if self.case.lines:
            return [str(line["incarnation"]) for line in self._lines()]
        return [line.split()[0] for line in self._told()]

    def _losses(self) -> dict[int, float]:
        return {line["step"]: line["loss"] for line in self._lines()} if self.case.lines else {}

    def _restarts(self) -> int | None:
        path = self.job.run_dir / "runner.json"
        return int(json.loads(path.read_bytes())["restarts"]) if path.exists() else None


def until(ready: Callable[[], bool], problem: str, timeout_s: float = DEADLINE_S) -> None:
    """Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{problem} (waited {timeout_s:.0f} s)")
        time.sleep(0.01)


def _environment(pid: int) -> dict[str, str]:
    try:
        items = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return {}
    return dict(item.decode(errors="replace").split("=", 1) for item in items if b"=" in item)


def _started(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return 1 << 62
