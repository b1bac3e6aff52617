"""Loops in the shapes in which people write them: three epochs of five batches, with something to do after each epoch.

    python epoch_shapes.py SHAPE FOLDER die:4 stop:10 -

The last word is what happens to this start: `die:N` ends the process after the call of step N, `stop:N` sends it SIGTERM before that.
It prints `digest step=N <digest>` for the state after each step, `epoch E lr L` for each epoch, and `end <digest>`.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import torch
import trainyard
from torch.utils.data import DataLoader, TensorDataset

EPOCHS, BATCHES, DEADLINE_S = 3, 5, 60.0


class Patience:
    """What a script keeps over its epochs."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def state_dict(self) -> dict[str, Any]:
        return {"losses": list(self.losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.losses = list(state["losses"])


class Job:
    def __init__(self, folder: str, fate: str) -> None:
        world = trainyard.init_distributed()
        torch.manual_seed(7)
        data = TensorDataset(torch.arange(float(4 * BATCHES + 2)).reshape(-1, 1) / 20)
        self.model: torch.nn.Module = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
        if world.world_size > 1:
            self.model = torch.nn.parallel.DistributedDataParallel(self.model)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, 1, gamma=0.5)
        self.loader = trainyard.ResumableLoader(data, global_batch_size=4, seed=3)
        self.patience = Patience()
        self.checkpointer = trainyard.Checkpointer(
            folder,
            policy=trainyard.SavePolicy(rolling_steps=1),
            model=self.model,
            optimizer=self.optimizer,
            scheduler=self.schedule,
            data=self.loader,
            patience=self.patience,
        )
        self.fate, _, number = fate.partition(":")
        self.fatal_step = int(number or 0)
        self.is_stopped = False
        self.step = self.checkpointer.restore()

    def begin_epoch(self) -> None:
        """Uses up random numbers, as a script may that looks at a sample first."""
        torch.rand(3)
        next(iter(DataLoader(TensorDataset(torch.arange(4.0)), shuffle=True)))
        print(f"epoch {self.loader.epoch} lr {self.schedule.get_last_lr()[0]}", flush=True)

    def backward(self, batch: Any) -> None:
        (self.model(batch[0]) - 1).square().mean().backward()

    def update(self) -> None:
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.step += 1
        print(f"digest step={self.step} {self.digest()}", flush=True)

    def tell(self, **told: Any) -> None:
        """Each save is on the disk before the next step is told, so that every step is one to go on from."""
        deadline = time.monotonic() + DEADLINE_S
        while any(thread.name.startswith("trainyard-") for thread in threading.enumerate()):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        is_fatal = self.step == self.fatal_step
        if is_fatal and self.fate == "stop" and not self.is_stopped:
            self.is_stopped = True
            os.kill(os.getpid(), signal.SIGTERM)
        self.checkpointer.step(self.step, loss=1.0, **told)
        if is_fatal and self.fate == "die":
            os._exit(9)

    def train(self, batch: Any, **told: Any) -> None:
        self.backward(batch)
        self.update()
        self.tell(**told)

    def evaluate(self) -> float:
        self.model.eval()
        with torch.no_grad():
            loss = float(self.model(torch.rand(4, 1)).mean())
        self.model.train()
        self.patience.losses.append(loss)
        return loss

    def end_epoch(self) -> None:
        self.evaluate()
        self.schedule.step()

    def digest(self) -> str:
        slots = [self.optimizer.state[parameter].get("momentum_buffer", parameter) for parameter in self.model.parameters()]
        tensors = [*self.model.state_dict().values(), *slots, torch.get_rng_state()]
        text = repr([tensor.tolist() for tensor in tensors])
        text += repr((self.optimizer.param_groups[0]["lr"], self.schedule.last_epoch, self.patience.losses))
        return hashlib.sha256(text.encode()).hexdigest()


def epochs_by_while(job: Job) -> Iterator[None]:
    while job.loader.epoch < EPOCHS:
        job.begin_epoch()
        yield


def epochs_by_range(job: Job) -> Iterator[None]:
    for _ in range(job.loader.epoch, EPOCHS):
        job.begin_epoch()
        yield


def while_epoch(job: Job) -> None:
    for _ in epochs_by_while(job):
        for batch in job.loader:
            job.train(batch)
        job.end_epoch()


def for_range(job: Job) -> None:
    for _ in epochs_by_range(job):
        losses = []
        for batch in job.loader:
            job.train(batch)
            losses.append(1.0)
        assert sum(losses) / len(losses) == 1.0  # a pass without a batch would end the run here
        job.end_epoch()


def while_step(job: Job) -> None:
    while job.step < EPOCHS * BATCHES:
        job.begin_epoch()
        for batch in job.loader:
            job.train(batch)
            if job.step == EPOCHS * BATCHES:
                break
        job.end_epoch()


def break_at_the_last(job: Job) -> None:
    for _ in epochs_by_while(job):
        for number, batch in enumerate(job.loader, start=job.loader.batches_done):
            job.train(batch)
            if number == len(job.loader) - 1:
                break
        job.end_epoch()


def slices(job: Job) -> None:
    for _ in epochs_by_range(job):
        for batch in itertools.islice(job.loader, len(job.loader) - job.loader.batches_done):
            job.train(batch)
        job.end_epoch()


def next_by_hand(job: Job) -> None:
    for _ in epochs_by_while(job):
        batches = iter(job.loader)
        while (batch := next(batches, None)) is not None:
            job.train(batch)
        job.end_epoch()


def told_before_the_schedule(job: Job) -> None:
    """A schedule by step that stands after the call of step()."""
    while job.loader.epoch < EPOCHS:
        for batch in job.loader:
            job.train(batch)
            job.schedule.step()


def end_told_in_the_loop(job: Job) -> None:
    for _ in epochs_by_while(job):
        for batch in job.loader:
            is_last = (job.step + 1) % BATCHES == 0
            job.train(batch, **({"val_loss": job.evaluate(), "end_of_epoch": True} if is_last else {}))
        job.schedule.step()


def end_told_after_the_loop(job: Job) -> None:
    """The same step again, with its evaluation."""
    for _ in epochs_by_while(job):
        for batch in job.loader:
            job.train(batch)
        job.tell(val_loss=job.evaluate(), end_of_epoch=True)
        job.schedule.step()


def evaluated_before_the_next_step(job: Job) -> None:
    """At the top of the body, with the next batch in hand."""
    for _ in epochs_by_while(job):
        for batch in job.loader:
            if job.step and job.step % 2 == 0:
                job.tell(val_loss=job.evaluate())
            job.train(batch)
        job.end_epoch()


def accumulation(job: Job) -> None:
    """Two batches a step, and one for the last: three steps an epoch."""
    for _ in epochs_by_range(job):
        for number, batch in enumerate(job.loader, start=job.loader.batches_done + 1):
            job.backward(batch)
            if number % 2 == 0 or number == len(job.loader):
                job.update()
                job.tell()
        job.end_epoch()


def main() -> None:
    shape, folder, fate = sys.argv[1:]
    job = Job(folder, fate)
    globals()[shape](job)
    job.checkpointer.close()
    print(f"end {job.digest()}", flush=True)


if __name__ == "__main__":
    main()
