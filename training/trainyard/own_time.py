"""How long this rank worked on its own before the ranks wait for each other: from the end of a step to the last gradient of the next.

Step times are alike on all ranks, for the fast wait for the slow in their collectives. What differs is the time until a rank's own
backward pass is over. It is over where the gradient of the model's first parameter is there: a hook on it tells, on a GPU with an
event in the stream, which nobody waits for. Where no such hook runs (FSDP2 keeps its own leaves), nothing is told.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any

import torch

PENDING = 8
"""Steps whose events the GPU has not reached yet; older ones are dropped."""


class OwnTime:
    def __init__(self, things: Iterable[Any]) -> None:
        inner = (getattr(thing, "thing", thing) for thing in things)  # PerRank holds one
        parameters = [each for thing in inner if isinstance(thing, torch.nn.Module) for each in thing.parameters()]
        first = next((each for each in parameters if each.requires_grad and each.is_leaf), None)
        self.group = f"{len(parameters)}-{sum(each.numel() for each in parameters)}"
        """Ranks with the same parts of a model can be compared: pipeline stages that differ cannot."""
        self._on_gpu = first is not None and first.is_cuda
        self._began: float | None = None
        self._gradient_at: float | None = None
        self._start: Any = None
        self._end: Any = None
        self._pending: deque[tuple[Any, Any]] = deque(maxlen=PENDING)
        of_first: Any = first
        self._hook = of_first.register_post_accumulate_grad_hook(self._gradient) if of_first is not None else None

    def begin(self) -> None:
        """The work of the next step begins."""
        self._began, self._gradient_at = time.monotonic(), None
        if self._on_gpu and not torch.cuda.is_current_stream_capturing():
            event: Any = torch.cuda.Event
            self._start, self._end = event(enable_timing=True), event(enable_timing=True)
            self._start.record()

    def taken(self) -> list[float]:
        """Seconds of the steps that are known since the last call: on a CPU the one that ends now, on a GPU those that it is done with."""
        began, at, self._gradient_at = self._began, self._gradient_at, None
        if began is None or at is None:
            return self._ready()
        if not self._on_gpu:
            return [at - began]
        self._pending.append((self._start, self._end))
        return self._ready()

    def close(self) -> None:
        if self._hook is not None:
            self._hook.remove()

    def _gradient(self, parameter: torch.Tensor) -> None:
        """With accumulation it comes several times a step; the last one counts."""
        if self._on_gpu:
            if self._end is None or torch.cuda.is_current_stream_capturing():  # a graph would replay it without telling
                return
            self._end.record()
        self._gradient_at = time.monotonic()

    def _ready(self) -> list[float]:
        seconds = []
        while self._pending and self._pending[0][1].query():
            start, end = self._pending.popleft()
            seconds.append(start.elapsed_time(end) / 1000)
        return seconds
