"""A torch DataLoader that knows where it is, for loops and trainers that want one iterable an epoch.

loader = trainyard.ResumableLoader(dataset, batch_size=8, seed=7)    # where DataLoader(dataset, 8, shuffle=True) stood
checkpointer = trainyard.Checkpointer(model=model, optimizer=optimizer, data=loader)
step = checkpointer.restore()
for batch in loader:                                                 # after a restore: the rest of the epoch
    ...
"""

from __future__ import annotations

import copy
import functools
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset

from trainyard.data import GlobalOrder
from trainyard.errors import ConfigError
from trainyard.process import die_with_parent

TAKEN = ("sampler", "batch_sampler", "drop_last", "generator", "persistent_workers")
"""DataLoader options that this class decides itself."""


class ResumableLoader:
    """Batches of `batch_size` samples for each rank, in the order of a GlobalOrder; `options` are DataLoader's.

    Its position is that of the loop, not that of the workers that read ahead: a batch counts when the loop gets it. The samples at
    an epoch's end that fill no batch for every rank are left out of that epoch. Rank and world size None mean those of
    torch.distributed, else of torchrun's environment, looked up when iteration begins. Raises ConfigError.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int,
        *,
        seed: int = 0,
        shuffle: bool = True,
        rank: int | None = None,
        world_size: int | None = None,
        **options: Any,
    ) -> None:
        if taken := [name for name in TAKEN if name in options]:
            raise ConfigError(f"ResumableLoader decides {', '.join(taken)} itself: leave that out")
        if batch_size < 1:
            raise ConfigError(f"batch_size must be at least 1, not {batch_size}")
        self.dataset, self.batch_size, self.options = dataset, batch_size, options
        self.order = GlobalOrder(len(dataset), seed=seed, shuffle=shuffle)  # type: ignore[arg-type]
        self._rank, self._world_size = rank, world_size

    @property
    def epoch(self) -> int:
        """The epoch of the next batch."""
        return self.order.epoch

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever in one the loader stands."""
        return self.order.num_samples // self._global_batch()

    def __iter__(self) -> Iterator[Any]:
        """The batches that are left of this epoch."""
        global_batch = self._global_batch()
        # A generator of its own: else each epoch would take a number from the training's generator, for its workers' seeds.
        generator = torch.Generator().manual_seed(self.order.position * 1_000_003 + self.order.seed)
        loader = DataLoader(
            self.dataset,
            batch_sampler=self._indices(copy.copy(self.order), global_batch),
            generator=generator,
            **{**self.options, "worker_init_fn": functools.partial(begin_worker, self.options.get("worker_init_fn"))},
        )
        for batch in loader:
            self._advance(global_batch)
            yield batch

    def _indices(self, ahead: GlobalOrder, global_batch: int) -> Iterator[list[int]]:
        """This rank's share of each batch, on an order that may run ahead of the loop."""
        rank, world_size = self._place()
        left = ahead.num_samples - ahead.position % ahead.num_samples
        for _ in range(left // global_batch):
            yield ahead.next_batch(global_batch, rank, world_size).tolist()

    def _advance(self, global_batch: int) -> None:
        self.order.position += global_batch
        left = self.order.num_samples - self.order.position % self.order.num_samples
        if left < global_batch:
            self.order.position += left

    def _place(self) -> tuple[int, int]:
        """(rank, world size). Not asked for in __init__: some trainers start the process group after the loader is made."""
        started = dist.is_available() and dist.is_initialized()
        rank = dist.get_rank() if started else int(os.environ.get("RANK", "0"))
        world_size = dist.get_world_size() if started else int(os.environ.get("WORLD_SIZE", "1"))
        return rank if self._rank is None else self._rank, world_size if self._world_size is None else self._world_size

    def _global_batch(self) -> int:
        world_size = self._place()[1]
        if self.batch_size * world_size > self.order.num_samples:
            raise ConfigError(
                f"{self.order.num_samples} samples do not fill one batch of {self.batch_size} on each of {world_size} ranks"
            )
        return self.batch_size * world_size

    def state_dict(self) -> dict[str, int]:
        """The same on every rank."""
        return self.order.state_dict()

    def check_state_dict(self, state: Mapping[str, int]) -> None:
        """Changes nothing. Raises MismatchError where the order would be another one."""
        self.order.check_state_dict(state)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the last batch that the loop had. Raises MismatchError where the order would be another one."""
        self.order.load_state_dict(state)


def begin_worker(then: Callable[[int], None] | None, worker: int) -> None:
    """A stop is the training's to answer, and until its last step it needs batches."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    if then is not None:
        then(worker)
