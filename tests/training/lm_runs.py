"""Short runs of the example trainers, in processes of their own and in this one."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tests.training.forking import WarmPopen, forked_run, forking

TRAINING = Path(__file__).resolve().parents[2] / "training"
sys.path.insert(0, str(TRAINING))  # as `python training/train.py` does

import lm_corpus  # noqa: E402
import lm_model  # noqa: E402
import lm_options  # noqa: E402
import train  # noqa: E402
import trainyard  # noqa: E402

TINY = "--layers 2 --dim 32 --heads 2 --block-size 16 --batch-size 8 --eval-interval 2 --eval-batches 2 --max-bytes 60000"
DEADLINE_S = 180
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Ended:
    code: int
    out: str
    err: str
    folder: Path

    def steps(self) -> list[dict[str, float]]:
        return [json.loads(line) for line in (self.folder / "steps.jsonl").read_text().splitlines()]

    def events(self, type: str) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]
        return [line for line in lines if line["type"] == type]

    def column(self, name: str) -> list[float]:
        return [line[name] for line in self.steps() if line.get(name) is not None]


@contextlib.contextmanager
def running(folder: Path, *options: str, after_step: int, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    """train.py in one process, once it has told `after_step` steps; killed at the end if it still lives."""
    environment = {**os.environ, "TRAINYARD_RUN_DIR": str(folder), "OMP_NUM_THREADS": "1", **(env or {})}
    command = [sys.executable, str(TRAINING / "train.py"), *TINY.split(), *options]
    process = WarmPopen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline, told = time.monotonic() + DEADLINE_S, folder / "steps.jsonl"
    try:
        while not told.exists() or len(told.read_text().splitlines()) < after_step:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.005)
        yield process
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


def start(folder: Path, *options: str, ranks: int = 0, script: str = "train.py", env: dict[str, str] | None = None) -> Ended:
    """The trainer in `folder` as its run folder; `ranks` 0 is plain Python without torchrun."""
    folder.mkdir(exist_ok=True)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks else []
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("TRAINYARD_", "PET_", "WANDB_"))}
    environment = {
        **inherited,
        "TRAINYARD_RUN_DIR": str(folder),
        "GLOO_SOCKET_IFNAME": "lo",
        "OMP_NUM_THREADS": "1",
        **forking(),
        **(env or {}),
    }
    command = [sys.executable, *launcher, str(TRAINING / script), *TINY.split(), *options]
    done = forked_run(command, cwd=folder, env=environment, timeout=DEADLINE_S)
    return Ended(done.returncode, done.stdout, done.stderr, folder)


def refusal(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line with which the options are refused."""
    with pytest.raises(SystemExit) as stop:
        train.main(list(options))
    error = capsys.readouterr().err
    assert stop.value.code == 2
    assert error.startswith("train.py: error: ") and error.count("\n") == 1
    return error


def make_trainer(*options: str) -> train.Trainer:
    args = lm_options.make_parser(None).parse_args([*TINY.split(), *options])
    torch.manual_seed(args.seed)
    names = ("block_size", "layers", "heads", "dim", "dropout", "tied")
    net = lm_model.GPT(lm_model.ModelConfig(**{name: getattr(args, name) for name in names}))
    scaler = torch.amp.GradScaler("cpu", enabled=args.precision == "fp16")
    return train.Trainer(net, net, train.make_optimizer(net, args), scaler, trainyard.World(0, 1, 0, CPU), args)


def ramp() -> lm_corpus.Blocks:
    """Text that is easy to learn."""
    return lm_corpus.Blocks(torch.arange(4096).remainder(61).to(torch.uint8), 16)


def step(trainer: train.Trainer, indices_B: torch.Tensor) -> tuple[float, float]:
    return trainer.step(*ramp().batch(indices_B, CPU))
