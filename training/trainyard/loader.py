"""A torch DataLoader that knows where it is, for loops and trainers that want one iterable an epoch.

loader = trainyard.ResumableLoader(dataset, batch_size=8, seed=7)    # where DataLoader(dataset, 8, shuffle=True) stood
checkpointer = trainyard.Checkpointer(model=model, optimizer=optimizer, data=loader)
step = checkpointer.restore()
while loader.epoch < epochs:
    for batch in loader:                                             # after a restore: the rest of the epoch
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
from trainyard.signals import stop_signals
from trainyard.speaking import say

TAKEN = ("sampler", "batch_sampler", "drop_last", "generator", "persistent_workers")
"""DataLoader options that this class decides itself."""


class ResumableLoader:
    """Batches in the order of a GlobalOrder; `options` are DataLoader's.

    `batch_size` is what it is for a DataLoader: the samples of one rank. `batch_size_per_rank` says so by its name;
    `global_batch_size` is split over the ranks. Exactly one of the three.

    Its position is that of the loop, not that of the workers that read ahead: a batch counts when the loop gets it. The samples at
    an epoch's end that fill no batch for every rank are left out of that epoch. Rank and world size None mean those of
    torch.distributed, else of torchrun's environment, looked up when iteration begins. Raises ConfigError.
    """

    def __init__(
        self,
        dataset: Dataset[Any],
        batch_size: int | None = None,
        *,
        batch_size_per_rank: int | None = None,
        global_batch_size: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        rank: int | None = None,
        world_size: int | None = None,
        **options: Any,
    ) -> None:
        if taken := [name for name in TAKEN if name in options]:
            raise ConfigError(f"ResumableLoader decides {', '.join(taken)} itself: leave that out")
        sizes = {"batch_size": batch_size, "batch_size_per_rank": batch_size_per_rank, "global_batch_size": global_batch_size}
        given = [name for name, size in sizes.items() if size is not None]
        if len(given) != 1:
            raise ConfigError(f"ResumableLoader takes one of {', '.join(sizes)}, not {' and '.join(given) or 'none'}")
        self._size_name, self._size = given[0], sizes[given[0]] or 0
        if self._size < 1:
            raise ConfigError(f"{self._size_name} must be at least 1, not {self._size}")
        self.dataset, self.options = dataset, options
        self.order = GlobalOrder(len(dataset), seed=seed, shuffle=shuffle)  # type: ignore[arg-type]
        self._rank, self._world_size = rank, world_size
        self.before_batch: Callable[[], None] | None = None
        """Called before each batch that the loop asks for and gets: a Checkpointer's."""
        self.was_counted = False
        """Whether `batches_done` was asked for since the last `load_state_dict`."""
        self._marked: int | None = None
        self._said = False

    # --- where it stands -----------------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """The epoch of the next batch; it rises when the loop gets an epoch's last batch."""
        return self.order.epoch

    @property
    def batches_done(self) -> int:
        """Batches of this epoch that the loop has had: `enumerate(loader, start=loader.batches_done)` counts on after a restore."""
        self.was_counted = True
        return self.position_in_epoch // self.global_batch_size

    @property
    def position_in_epoch(self) -> int:
        """Samples of this epoch that are handed out, over all ranks."""
        return self.order.position % self.order.num_samples

    @property
    def batch_size(self) -> int:
        """Samples of a batch on this rank."""
        return self.global_batch_size // self._place()[1]

    @property
    def global_batch_size(self) -> int:
        """Samples of a batch over all ranks. Raises ConfigError where it cannot be had."""
        world_size = self._place()[1]
        size = self._size if self._size_name == "global_batch_size" else self._size * world_size
        if size % world_size:
            raise ConfigError(f"global_batch_size={size} does not divide by {world_size} ranks")
        if size > self.order.num_samples:
            raise ConfigError(
                f"{self.order.num_samples} samples do not fill one batch of {size // world_size} on each of {world_size} ranks"
            )
        return size

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever in one the loader stands."""
        return self.order.num_samples // self.global_batch_size

    def __iter__(self) -> Iterator[Any]:
        """The batches that are left of this epoch."""
        return _Batches(self)

    def _place(self) -> tuple[int, int]:
        """(rank, world size). Not asked for in __init__: some trainers start the process group after the loader is made."""
        started = dist.is_available() and dist.is_initialized()
        rank = dist.get_rank() if started else int(os.environ.get("RANK", "0"))
        world_size = dist.get_world_size() if started else int(os.environ.get("WORLD_SIZE", "1"))
        return rank if self._rank is None else self._rank, world_size if self._world_size is None else self._world_size

    # --- handing out ---------------------------------------------------------------------------------------------

    def batches_left(self) -> int:
        """Batches that are left of this epoch; at least one, for a rest that fills none is passed over."""
        self._say_size()
        self._pass_over_rest()
        return (self.order.num_samples - self.position_in_epoch) // self.global_batch_size

    def advance(self) -> None:
        """The loop gets a batch."""
        self.order.position += self.global_batch_size
        self._pass_over_rest()

    def _pass_over_rest(self) -> None:
        """Such a rest is there at an epoch's end, and near it where a run goes on at another number of ranks."""
        left = self.order.num_samples - self.position_in_epoch
        if left < self.global_batch_size:
            self.order.position += left

    def read(self, count: int) -> Iterator[Any]:
        """The next `count` batches, which may be read ahead of the loop."""
        # A generator of its own: else each epoch would take a number from the training's generator, for its workers' seeds.
        generator = torch.Generator().manual_seed(self.order.position * 1_000_003 + self.order.seed)
        worker_init_fn = functools.partial(begin_worker, self.options.get("worker_init_fn"))
        return iter(
            DataLoader(
                self.dataset,
                batch_sampler=self._indices(copy.copy(self.order), count),
                generator=generator,
                **{**self.options, "worker_init_fn": worker_init_fn},
            )
        )

    def _indices(self, ahead: GlobalOrder, count: int) -> Iterator[list[int]]:
        """This rank's share of each batch, on an order that may run ahead of the loop."""
        (rank, world_size), global_batch = self._place(), self.global_batch_size
        for _ in range(count):
            yield ahead.next_batch(global_batch, rank, world_size).tolist()

    def _say_size(self) -> None:
        """Once: `batch_size=8` on four ranks trains with 32, and a script that was written for one rank had 8."""
        rank, world_size = self._place()
        if self._size_name == "batch_size" and world_size > 1 and rank == 0 and not self._said:
            size = self._size
            say(
                f"trainyard: batch_size={size} is for each rank: {size * world_size} samples a batch on {world_size} ranks "
                f"(global_batch_size={size} would split {size} over them, batch_size_per_rank={size} means this)"
            )
        self._said = True

    # --- state ---------------------------------------------------------------------------------------------------

    def mark(self) -> None:
        """From now on `state_dict` says this position, until the next mark: batches fetched for a coming step are not used up."""
        self._marked = self.order.position

    def unmark(self) -> None:
        self._marked = None

    def state_dict(self) -> dict[str, int]:
        """The same on every rank."""
        position = self.order.position
        try:
            self.order.position = position if self._marked is None else self._marked
            return self.order.state_dict()
        finally:
            self.order.position = position

    def check_state_dict(self, state: Mapping[str, int]) -> None:
        """Changes nothing. Raises MismatchError where the order would be another one."""
        self.order.check_state_dict(state)

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on after the last batch that the loop had. Raises MismatchError where the order would be another one.

        An iterator that was made before goes on from here too.
        """
        self.order.load_state_dict(state)
        self.was_counted = False
        if self._marked is not None:
            self.mark()


class _Batches:
    """One pass of a loop over what is left of an epoch. The loader's position rules: an iterator that is at another one reads anew."""

    def __init__(self, loader: ResumableLoader) -> None:
        self._loader = loader
        self._ahead: Iterator[Any] | None = None
        self._position, self._left = -1, 0
        self._is_over = False

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        loader = self._loader
        if self._position != loader.order.position and not self._is_over:
            self._ahead, self._left = None, loader.batches_left()
        if self._left == 0:
            self._ahead, self._is_over = None, True  # the workers end with it
            raise StopIteration
        if loader.before_batch is not None:
            loader.before_batch()
        if self._ahead is None:
            self._ahead = loader.read(self._left)
        batch = next(self._ahead)
        loader.advance()
        self._position, self._left = loader.order.position, self._left - 1
        return batch


def begin_worker(then: Callable[[int], None] | None, worker: int) -> None:
    """A stop is the training's to answer, and until its last step it needs batches."""
    for number in stop_signals():
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()
    if then is not None:
        then(worker)
