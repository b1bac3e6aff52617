"""What it costs a step to tell of itself: step line and steps.jsonl, TensorBoard, Weights & Biases, against a step of training."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import Comparison, Contestant, Group, interleave
from benchmarks.ours import environment, silence

STEPS = 200
TRAINING = "one step of training, the tiny-lm recipe's model"
METRICS = {"lr": 3e-4, "grad_norm": 1.0, "tokens_per_s": 15000.0}


def run(root: Path, folder: Path, repeats: int) -> Group:
    """Seconds a step, the mean of 200 in a row, at one process; nothing is saved in them."""
    charts: dict[str, dict[str, Any]] = {"step line, steps.jsonl": {}}
    notes = []
    for name, package, setting in (
        ("and TensorBoard", "tensorboard", {"tensorboard": True}),
        ("and Weights & Biases offline", "wandb", {"wandb": "offline"}),
    ):
        if importlib.util.find_spec(package):
            charts[name] = setting
        else:
            notes.append(f"not measured, {package} is not installed: {name}")
    with contextlib.ExitStack() as stack:
        contestants: dict[str, Contestant] = {
            name: stack.enter_context(_teller(folder / str(number), setting))
            for number, (name, setting) in enumerate(charts.items())
        }
        series = interleave({**contestants, TRAINING: _trainer(root)}, repeats)
    comparisons = [Comparison(name, series[name], series[TRAINING]) for name in charts]
    return Group("telling of a step", list(series.values()), comparisons, notes)


@contextlib.contextmanager
def _teller(folder: Path, setting: dict[str, Any]) -> Iterator[Contestant]:
    from trainyard import Checkpointer, SavePolicy

    with environment(TRAINYARD_RUN_DIR=str(folder)), silence():
        policy = SavePolicy(rolling_steps=10**9)
        checkpointer = Checkpointer(folder / "checkpoints", policy=policy, model=torch.nn.Linear(8, 8), **setting)
        checkpointer.restore()
    step = 0

    def run_once() -> float:
        nonlocal step
        with silence():
            started = time.monotonic()
            for _ in range(STEPS):
                step += 1
                checkpointer.step(step, loss=1.0, **METRICS)
            return (time.monotonic() - started) / STEPS

    try:
        yield run_once
    finally:
        with silence():
            checkpointer.close()


def _trainer(root: Path) -> Contestant:
    sys.path.insert(0, str(root / "training"))
    import lm_model
    import lm_options
    import train
    import trainyard

    args = lm_options.make_parser(None).parse_args([])
    net, cpu = lm_model.GPT(lm_model.ModelConfig()), torch.device("cpu")
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    trainer = train.Trainer(net, net, train.make_optimizer(net, args), scaler, trainyard.World(0, 1, 0, cpu), args)
    tokens_BT = torch.randint(256, (args.batch_size, args.block_size))

    def run_once() -> float:
        started = time.monotonic()
        trainer.step(tokens_BT, tokens_BT)
        return time.monotonic() - started

    return run_once
