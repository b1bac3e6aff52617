"""A training script of a few milliseconds that drives trainyard.Checkpointer: what the fault tests start, kill and start again.

    python -m tests.training.rt_trainer '{"steps": 6, "policy": {"rolling_steps": 2}}'

It tells every state as a digest: `digest step=4 <sha256>` after a step, `restored step=4 <sha256>` after a restore. A restore is exact
if it tells what the uninterrupted run told after that step. The model has an empty, a 0-d and an uneven tensor, a buffer and dropout.
"""

from __future__ import annotations

import contextlib
import errno
import faulthandler
import hashlib
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import trainyard
from torch import nn
from trainyard import codec

for name in trainyard.__all__:  # loaded when first used otherwise: too late for a child that has become another user
    getattr(trainyard, name)

DEADLINE_S = 60.0


class TinyNet(nn.Module):
    def __init__(self, width: int, ballast: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(6, width)
        self.out = nn.Linear(width, 1)
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.nothing = nn.Parameter(torch.zeros(0, 3))
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("ballast", torch.rand(ballast))

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        self.seen += len(x_BF)
        hidden_BD = nn.functional.dropout(torch.tanh(self.hidden(x_BF)), 0.3, self.training)
        return self.out(hidden_BD) * self.scale + self.nothing.sum()


def digest(things: dict[str, Any]) -> str:
    """SHA-256 over every bit of the objects' state and of the generators."""
    text = hashlib.sha256()

    def put(path: str, tensor: torch.Tensor) -> None:
        text.update(f"{path} {tensor.dtype} {tuple(tensor.shape)}".encode())
        text.update(bytes(tensor.detach().reshape(-1).view(torch.uint8).numpy().data))

    for label, value in things.items():
        text.update(json.dumps(codec.encode(_sorted(value.state_dict()), label, put)).encode())
    text.update(repr((random.getstate(), torch.get_rng_state().tolist())).encode())
    return text.hexdigest()


def _sorted(value: Any) -> Any:
    """Dicts in the order of their keys: what a restore may change is that order, which means nothing."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value, key=repr)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def wait_for(ready: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not ready():
        if time.monotonic() > deadline:
            faulthandler.dump_traceback(all_threads=True)
            sys.exit(f"rt_trainer: waited {DEADLINE_S:.0f} s for {what}")
        time.sleep(0.005)


def wait_for_save(step: int) -> None:
    """Until the events say how the save of this step ended, and the writer's thread is over."""
    path, words = Path(os.environ["TRAINYARD_RUN_DIR"], "events.jsonl"), ("committed", "save-failed", "rejected")

    def ended() -> bool:
        events = [json.loads(line) for line in path.read_text().splitlines()]
        return any(event["type"] in words and event["step"] == step for event in events)

    wait_for(ended, f"the save of step {step}")
    wait_for_idle()


LASTING = ("trainyard-evidence", "trainyard-aside")
"""Threads that end with the process, and save nothing."""


def wait_for_idle() -> None:
    """Until no thread of the runtime saves: a rolling save that is due while one does would be put off to a later step."""
    wait_for(
        lambda: not [name for name in names_of_threads() if name.startswith("trainyard-") and name not in LASTING],
        "an idle writer",
    )


def names_of_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


# --- what can happen after a step --------------------------------------------------------------------------------


def fill(folder: str, leave_bytes: int = 0) -> None:
    """Write into the folder's file system until there are only so many bytes left."""
    with open(os.path.join(folder, "filler"), "wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
        file.truncate(max(0, file.tell() - leave_bytes))


def is_full(folder: str) -> str:
    """Whether the folder's disk is full: the proof that the fault was there."""
    try:
        Path(folder, "probe").write_bytes(bytes(4096))
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    finally:
        Path(folder, "probe").unlink(missing_ok=True)
    return "fits"


def pause(name: str) -> None:
    """Create `name`.here and go on when `name` exists: how a test holds one process while it does something."""
    Path(f"{name}.here").touch()
    wait_for(Path(name).exists, name)


def make_folder(path: str, name: str, content: str) -> None:
    Path(path).mkdir(parents=True)
    Path(path, name).write_text(content)


def make_fifo(path: str) -> None:
    """A file that blocks whoever opens it for writing: a disk that does not answer."""
    Path(path).parent.mkdir(exist_ok=True)
    os.mkfifo(path)


ACTIONS: dict[str, Callable[..., object]] = {
    "signal": lambda name: os.kill(os.getpid(), getattr(signal, name)),
    "exit": os._exit,
    "write": lambda path, content: Path(path).write_text(content),
    "make": make_folder,
    "unlink": os.unlink,
    "mkfifo": make_fifo,
    "fill": fill,
    "probe": lambda folder: print("probe", is_full(folder), flush=True),
    "probe_into": lambda folder, path: Path(path).write_text(is_full(folder)),
    "pause": pause,
    "chmod": os.chmod,
}


# --- killing itself inside a call --------------------------------------------------------------------------------

CALLS = {"write", "fsync", "rename", "unlink", "mkdir", "rmdir"}
"""Calls after which the disk looks different."""


class KillAt:
    """SIGKILL to this process right before the n-th of the CALLS made on a thread; the interpreter's profile hook counts them."""

    def __init__(self, nth: int, thread: str = "MainThread", calls: Iterable[str] = CALLS) -> None:
        self.nth, self.thread, self.calls, self.count = nth, thread, set(calls), 0

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        if event != "c_call" or argument.__name__ not in self.calls or threading.current_thread().name != self.thread:
            return
        self.count += 1
        if self.count == self.nth:
            while "trainyard" not in frame.f_code.co_filename and frame.f_back:
                frame = frame.f_back
            os.write(2, f"killed before {argument.__name__} in {frame.f_code.co_name}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    def arm(self) -> None:
        threading.setprofile(self)  # for threads that begin from here on
        if threading.current_thread().name == self.thread:
            sys.setprofile(self)


def disarm() -> None:
    sys.setprofile(None)
    threading.setprofile(None)


# --- the script --------------------------------------------------------------------------------------------------


def make_things(options: dict[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(1)
    torch.manual_seed(7)
    random.seed(7)
    model = TinyNet(options.get("width", 5), options.get("ballast", 0))
    optimizer_class = getattr(torch.optim, options.get("optimizer", "AdamW"))
    optimizer = optimizer_class(model.parameters(), lr=0.01)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step))
    order = trainyard.GlobalOrder(options.get("samples", 23), seed=options.get("seed", 3))
    return {"model": model, "optimizer": optimizer, "scheduler": scheduler, "data": order}


def train_one(things: dict[str, Any], step: int, options: dict[str, Any]) -> torch.Tensor:
    indices_B = things["data"].next_batch(4)
    x_BF = torch.sin(indices_B[:, None] * torch.arange(1.0, 7.0)) + random.random()
    loss = things["model"](x_BF).square().mean()
    loss.backward()
    things["optimizer"].step()
    things["optimizer"].zero_grad()
    things["scheduler"].step()
    if step == options.get("nan_parameters_at"):
        with torch.no_grad():
            things["model"].hidden.weight[0, 0] = float("nan")
    return loss.detach() * (float("nan") if step == options.get("nan_loss_at") else 1.0)


def train(options: dict[str, Any]) -> None:
    by_step = {name: {int(step): value for step, value in options.get(name, {}).items()} for name in ("val_losses", "after")}
    kill = options.get("kill")
    trainyard.init_distributed()
    things = make_things(options)
    if kill and kill["at"] == "start":
        KillAt(kill["nth"]).arm()
    checkpointer = trainyard.Checkpointer(
        policy=trainyard.SavePolicy(**options["policy"]) if "policy" in options else None,
        config=options.get("config"),
        total_steps=options.get("total_steps", options["steps"]),
        data_fingerprint=options.get("fingerprint"),
        tensorboard=options.get("tensorboard", False),
        **things,
    )
    step = checkpointer.restore(options.get("which", "latest"))
    disarm()
    print(f"restored step={step} {digest(things)} best={checkpointer.best_loss} config={checkpointer.saved_config}", flush=True)
    while step < options["steps"]:
        step += 1
        loss = train_one(things, step, options)
        told = digest(things)
        if options.get("paced", True) or step <= options.get("paced_to", 0):
            wait_for_idle()
        if kill and kill["at"] == step:
            KillAt(**{name: value for name, value in kill.items() if name != "at"}).arm()
        epoch_steps = options.get("epoch_steps", 10**9)
        checkpointer.step(
            step,
            loss=loss,
            val_loss=by_step["val_losses"].get(step),
            epoch=(step - 1) // epoch_steps,
            end_of_epoch=step % epoch_steps == 0,
            **options.get("metrics", {}),
        )
        if step in options.get("again", []):
            checkpointer.step(step)
        print(f"digest step={step} {told}", flush=True)
        if step in options.get("wait_after", []):
            wait_for_save(step)
        disarm()
        for name, *arguments in by_step["after"].get(step, []):
            ACTIONS[name](*arguments)
    if options.get("close", True):
        checkpointer.close()


def train_on_local_parts(whole: bool) -> None:
    """FSDP2 with an optimizer that keeps plain tensors: of this rank's shard, or of the whole parameter."""
    from torch.distributed.fsdp import fully_shard

    trainyard.init_distributed()
    torch.manual_seed(7)
    model = nn.Linear(6, 4)
    fully_shard(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for parameter in model.parameters():
        kept = parameter.full_tensor() if whole else parameter.to_local()
        optimizer.state[parameter]["kept"] = kept.detach().clone()
    checkpointer = trainyard.Checkpointer(model=model, optimizer=optimizer)
    checkpointer.restore()
    model(torch.ones(1, 6)).sum().backward()
    optimizer.step()
    checkpointer.step(1)
    checkpointer.close()
    kinds = {type(slots["kept"]).__name__ for slots in optimizer.state.values()}
    again = trainyard.Checkpointer(model=model, optimizer=optimizer)
    print(
        f"again {again.restore()} {kinds == {type(slots['kept']).__name__ for slots in optimizer.state.values()}}", flush=True
    )
    again.close()


def main(options: dict[str, Any]) -> None:
    try:
        train(options) if "local_parts" not in options else train_on_local_parts(options["local_parts"] == "whole")
    except trainyard.TrainyardError as error:
        sys.exit(f"{type(error).__name__}: {error}")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
