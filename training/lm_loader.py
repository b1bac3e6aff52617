"""Batches for the training loop: made on the spot, or ahead of it by worker processes. The numbers are the same either way."""

from __future__ import annotations

import copy
import functools
import multiprocessing
from collections.abc import Iterator

import torch
import trainyard
from lm_corpus import Blocks
from torch.utils.data import DataLoader, Dataset
from trainyard.loader import begin_worker

# B batch (this rank's share), T tokens (bytes) of a block

TIMEOUT_S = 300


class _Windows(Dataset[tuple[torch.Tensor, ...]]):
    """A whole batch is one item: its indices come from the order, not from a sampler of the loader."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks

    def __getitem__(self, indices_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (indices_B, *self.blocks.batch(indices_B, torch.device("cpu")))


class BatchLoader:
    """Makes the batches of `order`, from its position on.

    Workers run ahead on an order of their own, so that the position in a checkpoint is that of the training, not that of the
    reading: batches read ahead when a run ends are read again by the next start, none is lost.
    """

    def __init__(
        self,
        blocks: Blocks,
        order: trainyard.GlobalOrder,
        global_batch: int,
        world: trainyard.World,
        *,
        workers: int = 0,
        prefetch: int = 2,
        pin_memory: bool = False,
    ) -> None:
        self._blocks, self._device = blocks, world.device
        self._ahead: Iterator[list[torch.Tensor]] | None = None
        if workers:
            loader = DataLoader(
                _Windows(blocks),
                batch_size=None,
                sampler=_indices(copy.copy(order), global_batch, world),  # type: ignore[arg-type]
                num_workers=workers,
                prefetch_factor=prefetch,
                pin_memory=pin_memory and world.device.type == "cuda",
                timeout=TIMEOUT_S,
                # Children of this process, which die with it. Those of a fork server would go when a stop signals that server,
                # and the training could not make its last step.
                multiprocessing_context=multiprocessing.get_context("fork"),
                worker_init_fn=functools.partial(begin_worker, None),
                generator=torch.Generator(),  # else it draws from the training's own random numbers
            )
            self._ahead = iter(loader)

    def batch(self, indices_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets (B, T) of the samples that the order has just handed out."""
        if self._ahead is None:
            return self._blocks.batch(indices_B, self._device)
        ahead_B, inputs_BT, targets_BT = next(self._ahead)
        assert torch.equal(ahead_B, indices_B), "the workers are at another place of the order than the training"
        return inputs_BT.to(self._device, non_blocking=True), targets_BT.to(self._device, non_blocking=True)

    def close(self) -> None:
        """End the workers."""
        self._ahead = None


def _indices(order: trainyard.GlobalOrder, global_batch: int, world: trainyard.World) -> Iterator[torch.Tensor]:
    while True:
        yield order.next_batch(global_batch, world.rank, world.world_size)
