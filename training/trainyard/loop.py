"""What the Checkpointer learns of a training loop from the loader that it was given.

A step's work ends where the loop asks for its next batch. What stands between the call of `step()` and there belongs to the step: at
the end of an epoch that is the schedule and the evaluation, and a checkpoint without them would go on another way than the run that
it was taken from. So a snapshot that is due is taken where the next batch is asked for (decision 0018).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any

from trainyard import given, rng
from trainyard.loader import ResumableLoader

JUDGED_STEPS = 3
"""The first steps of a start show whether a loop fetches batches ahead of them."""


class Loop:
    """One training loop over the ResumableLoaders among `things`; without one, nothing is known and every step is over at once.

    `on_batch` is called where the loop asks for a batch, on the thread that made this; `tell` takes a line for the user.
    """

    def __init__(self, things: dict[str, Any], on_batch: Callable[[], None], tell: Callable[[str], None]) -> None:
        self._loaders = given.loaders(things)
        self._draws = given.draws_from_training(things)
        self._on_batch, self._tell = on_batch, tell
        self._thread = threading.get_ident()
        self._rng: dict[str, Any] | None = None
        self._asked: list[ResumableLoader] = []
        """Who was asked for a batch since the last step was told, in order."""
        self._fed_by: ResumableLoader | None = None
        """Whose batch the last step was trained on: a loader for evaluation may be among them too."""
        self._counts: list[int] = []
        """Batches for each of the first steps of this start."""
        for loader in self._loaders:
            loader.before_batch = functools.partial(self._before_batch, loader)

    def restored(self, step: int) -> None:
        """The run goes on after `step`."""
        self._rng = rng.capture() if step and self._loaders else None
        self._asked, self._fed_by, self._counts = [], None, []
        self._mark()
        if step and self._draws:
            self._tell(
                f"warning: {self._draws} has no generator of its own, so it takes its seeds from the training's random numbers, and "
                "those after a restart are others: write DataLoader(..., generator=torch.Generator())"
            )

    def next_step(self) -> None:
        """A step is told that was not told before."""
        main = self._loaders[0] if self._loaders else None
        if len(self._counts) < JUDGED_STEPS:
            self._counts.append(self._asked.count(main) if main else 0)
            self._judge()
        self._fed_by = main if main in self._asked else next(reversed(self._asked), None)
        self._asked = []
        self._mark()

    @property
    def in_turn(self) -> bool:
        """The loop will ask for a batch before the next step, as far as its last step shows."""
        return self._fed_by is not None and self._fed_by not in self._asked

    def epoch(self, otherwise: int) -> int:
        """The epoch of the batch that the last step was trained on; `otherwise` where that is not known."""
        position = self._fed_by.order.position if self._fed_by else 0
        return (position - 1) // self._fed_by.order.num_samples if self._fed_by and position else otherwise

    def release(self) -> None:
        for loader in self._loaders:
            loader.unmark()
            loader.before_batch = None

    def _mark(self) -> None:
        for loader in self._loaders:
            loader.mark()

    def _before_batch(self, loader: ResumableLoader) -> None:
        if threading.get_ident() != self._thread:  # somebody reads ahead: where the training is then, nobody knows
            return
        if loader is self._fed_by:
            self._on_batch()
        if self._rng is not None and not self._counts and loader not in self._asked:
            # What the script did since the restore, such as making an iterator or evaluating, has used random numbers up.
            rng.restore(self._rng)
            self._note_place(loader)
        self._asked.append(loader)

    def _note_place(self, loader: ResumableLoader) -> None:
        if loader.position_in_epoch and not loader.was_counted:
            done, whole = loader.batches_done, len(loader)
            self._tell(
                f"epoch {loader.epoch} goes on at batch {done} of {whole}. len(loader) is the whole epoch; where the number of the batch "
                "matters (accumulation, the last batch), write enumerate(loader, start=loader.batches_done)"
            )

    def _judge(self) -> None:
        """Warn of a loop that fetches batches ahead of its steps: those are lost where a run goes on from a checkpoint."""
        first, *others = self._counts
        is_ahead = (others == [0] and first > 1) or (len(others) == 2 and others[0] == others[1] > 0 and first > others[0])
        if is_ahead:
            self._tell(
                f"warning: the loop asked for {first} batches before its first step and for {others[-1]} before the next. A batch that is "
                "fetched ahead of its step is not trained on when the run goes on from a checkpoint: fetch it after step(), and "
                "let the loader read ahead (num_workers, prefetch_factor)"
            )
