"""One run of training/train.py under the real local-runner, driven through its command line."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.training.exact import leftovers, processes
from tests.training.forking import forking, skill_run

ROOT = Path(__file__).resolve().parents[3]
RUN_LOCAL = ROOT / "skills" / "local-runner" / "src" / "run_local.py"
STEPS = 40
MODEL = "--layers 2 --dim 32 --heads 2 --block-size 32 --dropout 0.1 --max-bytes 20000 --batch-size 16 --seed 7"
LOOP = f"--steps {STEPS} --gradient-accumulation 2 --grad-clip 0.5 --warmup-steps 5 --eval-interval 10 --eval-batches 2"
ROLLING_STEPS = 5
DEADLINE_S = 240.0
"""For any one thing that a run does; generous, for it only ends a test that would hang."""


@dataclass(frozen=True)
class Configuration:
    parallel: str
    ranks: int
    options: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join([f"{self.parallel} x{self.ranks}", *self.options])

    def command(self) -> list[str]:
        words = [*MODEL.split(), *LOOP.split(), "--sample-bytes", "0", "--parallel", self.parallel, *self.options]
        return ["torchrun", "training/train.py", *words]


CONFIGURATIONS = [Configuration(parallel, ranks) for parallel in ("ddp", "fsdp") for ranks in (2, 4)]


@dataclass
class Run:
    """A run folder and what was seen of it."""

    configuration: Configuration
    folder: Path
    keep_rolling: int = 3
    run_id: str = ""
    forks: bool = False
    """Whether torchrun forks the ranks, which is quicker, instead of starting each as a program."""
    shm_before: set[str] = field(default_factory=leftovers.shared_memory)
    sockets: set[str] = field(default_factory=set)
    started: float = field(default_factory=time.monotonic)

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    # --- the program's verbs ---

    def submit(self, *, resume: bool = False) -> None:
        policy = {"ROLLING_STEPS": ROLLING_STEPS, "KEEP_ROLLING": self.keep_rolling, "KEEP_EPOCHS": 1}
        options = ["--run-dir", str(self.folder), "--procs", str(self.configuration.ranks), "--workdir", str(ROOT)]
        options += ["--python", sys.executable, "--max-restarts", "1000", "--backoff-s", "0", "--stop-grace-s", "20"]
        options += [word for name, value in policy.items() for word in ("--env", f"TRAINYARD_{name}={value}")]
        variables = {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **(forking() if self.forks else {})}
        options += [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        options += ["--run-id", self.run_id] if self.run_id else []
        answer = self._call("submit", *options, *(["--resume"] if resume else []), "--", *self.configuration.command())
        self.run_id = answer["data"]["run_id"]

    @contextlib.contextmanager
    def submitted(self) -> Iterator[Run]:
        """Submit it; a test that fails or is interrupted inside takes the run with it."""
        self.submit()
        try:
            yield self
        except BaseException:
            self._call("stop", str(self.folder), "--now", exits=(0, 7))
            raise

    def status(self) -> dict[str, Any]:
        return self._call("status", str(self.folder))["data"]

    def stop(self) -> dict[str, Any]:
        return self._call("stop", str(self.folder))["data"]

    def wait(self) -> dict[str, Any]:
        """Until it has ended."""
        return self._call("wait", str(self.folder), "--timeout", str(DEADLINE_S), exits=(0, 1))["data"]

    def _call(self, *words: str, exits: tuple[int, ...] = (0,)) -> dict[str, Any]:
        done = skill_run([sys.executable, str(RUN_LOCAL), *words], timeout=DEADLINE_S + 60)
        assert done.returncode in exits, (
            f"run_local.py {words[0]}: exit {done.returncode}\n{done.stdout}{done.stderr}\n{self.tail()}"
        )
        return dict(json.loads(done.stdout))

    # --- what it wrote ---

    def events(self, *types: str) -> list[dict[str, Any]]:
        return [event for event in _lines(self.folder / "events.jsonl") if not types or event["type"] in types]

    def step_lines(self) -> list[dict[str, Any]]:
        return _lines(self.folder / "steps.jsonl")

    def last_step(self) -> int:
        """Last step told; 0 before the first."""
        return max((line["step"] for line in self.step_lines()[-1:]), default=0)

    def record(self) -> dict[str, Any]:
        return dict(json.loads((self.folder / "runner.json").read_bytes()))

    def has_ended(self) -> bool:
        return self.record()["state"] in ("finished", "failed", "stopped")

    def processes(self, role: str | None = None) -> list[processes.Process]:
        return [process for process in processes.of_run(self.run_id) if role in (None, process.role)]

    def pace_s(self) -> float:
        """Seconds from the start of the launcher to the last word of the trainer, in a run that nobody disturbed."""
        return float(self.events("closed")[-1]["time"] - self.events("attempt")[0]["time"])

    def training_s(self) -> float:
        """The part of it that the training loop took."""
        return float(self.events("closed")[-1]["time"] - self.events("training")[0]["time"])

    def leftovers(self) -> list[str]:
        return leftovers.leftovers(self.run_id, self.folder, shm_before=self.shm_before, sockets=self.sockets)

    def tail(self) -> str:
        """The end of the newest log, for the message of a test that fails."""
        logs = sorted(self.folder.glob("logs/*.log"))
        return "".join(f"--- {path.name} ---\n{path.read_text(errors='replace')[-3000:]}\n" for path in logs[-1:])

    def wait_for(self, what: str, ready: Callable[[], Any], *, poll_s: float = 0.02) -> Any:
        """The first true value of `ready()`. Fails when the deadline has passed."""
        deadline = time.monotonic() + DEADLINE_S
        while not (value := ready()):
            assert time.monotonic() < deadline, f"{self.configuration}: no {what} within {DEADLINE_S} s\n{self.tail()}"
            time.sleep(poll_s)
        return value


def _lines(path: Path) -> list[dict[str, Any]]:
    """The complete lines of a .jsonl file."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines() if line]


def finished(configuration: Configuration, folder: Path, **more: Any) -> Run:
    """A run that nobody disturbs, at its end."""
    run = Run(configuration, folder, **more)
    with run.submitted():
        seen = run.wait()
    assert (seen["state"], seen["exit_code"]) == ("finished", 0), f"{seen}\n{run.tail()}"
    return run
