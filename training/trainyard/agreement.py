"""What the ranks tell each other at every step, on a gloo group of their own: a flag is read one step late, so nobody waits for it.

Only the training thread uses the group: two threads on one group can deadlock.
"""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from trainyard.errors import ConfigError, DisagreementError, PeerLostError

CLOSE_TIMEOUT = timedelta(seconds=10)


def refuse_strangers(world_size: int) -> None:
    """Raises ConfigError where torchrun started more ranks than the process group has: each would train a model of its own and
    save it into the same folder. Lightning does that on two nodes with num_nodes left at 1.
    """
    started = os.environ.get("WORLD_SIZE", "") if "TORCHELASTIC_RUN_ID" in os.environ else ""
    if started.isdigit() and int(started) != world_size:
        what = f"this rank's process group has {world_size}" if dist.is_initialized() else "no process group is there yet"
        raise ConfigError(
            f"torchrun started {started} ranks, and {what}: each would train a model of its own. Call trainyard.init_distributed() "
            "(or torch's init_process_group) before the Checkpointer is made; in Lightning set devices=LOCAL_WORLD_SIZE and "
            "num_nodes=GROUP_WORLD_SIZE"
        )


@dataclass(frozen=True, kw_only=True)
class Call:
    """What a rank asked for: the same on all of them, or they would wait for each other in different places."""

    step: int
    val_loss: bool = False
    end_of_epoch: bool = False
    close: bool = False

    FLAGS = ("val_loss", "end_of_epoch", "close")

    @property
    def is_rare(self) -> bool:
        """A call that the ranks have to agree on before they act on it; of an ordinary step they learn one step late."""
        return self.val_loss or self.end_of_epoch or self.close

    def numbers(self, rank: int) -> list[int]:
        """What shows a difference in its maxima over the ranks: each flag's highest rank with it, and without it, from 1."""
        told = [bool(getattr(self, name)) for name in self.FLAGS]
        return [self.step, -self.step, *((rank + 1) * flag for flag in told), *((rank + 1) * (not flag) for flag in told)]


def difference(maxima: list[int]) -> str | None:
    """In what the ranks' calls differ, None where they do not; the maxima of `Call.numbers`."""
    (most, negative_least), rest = maxima[:2], maxima[2:]
    texts = {
        "close": "rank {0} called close(), and rank {1} called step({step})",
        "val_loss": "rank {0} gave a val_loss, and rank {1} gave none; give it on every rank (rank 0's counts), or on none",
        "end_of_epoch": "rank {0} gave end_of_epoch=True, and rank {1} did not; give it on every rank, or on none",
    }
    for name, text in texts.items():
        with_it, without_it = rest[Call.FLAGS.index(name)], rest[Call.FLAGS.index(name) + len(Call.FLAGS)]
        if with_it and without_it:
            return f"at step {most}: " + text.format(with_it - 1, without_it - 1, step=most)
    if most != -negative_least:
        return f"one rank called step({-negative_least}), and another one step({most}) at the same time"
    return None


class Agreement:
    """Maxima and broadcasts over all ranks; with one rank, the rank itself."""

    def __init__(self, *, timeout_s: float) -> None:
        """Collective: every rank must construct it. Raises ConfigError in a rank that trains by itself among others."""
        self._timeout = timedelta(seconds=timeout_s)
        self.world_size = dist.get_world_size() if dist.is_initialized() else 1
        refuse_strangers(self.world_size)
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self._group: dist.ProcessGroup | None = None
        if self.world_size > 1:
            group = dist.new_group(backend="gloo", timeout=self._timeout)
            assert isinstance(group, dist.ProcessGroup)
            self._group = group
        self._pending: tuple[Any, torch.Tensor] | None = None

    def close(self) -> None:
        """Let go of the group; not collective. What was posted last is waited for: gloo aborts where it is pulled from under it."""
        group, self._group = self._group, None
        if group is None or not dist.is_initialized():
            return
        if self._pending is not None:
            with contextlib.suppress(RuntimeError):
                self._pending[0].wait(CLOSE_TIMEOUT)
        with contextlib.suppress(RuntimeError, ValueError):  # peers are gone, or the script has destroyed all groups
            dist.destroy_process_group(group)

    def exchange(self, flags: list[int], call: Call) -> list[int] | None:
        """Post this rank's flags and call; return the maxima of the flags posted one call ago, None at the first call.

        A single rank gets its own flags back at once. A rare call is waited for, so that no rank acts on it alone.

        Raises PeerLostError when a rank did not post within the deadline: then nobody may act on a half-known state.
        DisagreementError where the ranks' calls differ.
        """
        if self._group is None:
            return flags
        maxima = None if self._pending is None else self._agreed()
        posted = torch.tensor([*call.numbers(self.rank), *flags])
        work = self._call(lambda: dist.all_reduce(posted, dist.ReduceOp.MAX, group=self._group, async_op=True))
        self._pending = (work, posted)
        if call.is_rare:
            self._agreed()
        return None if maxima is None else maxima[-len(flags) :]

    def _agreed(self) -> list[int]:
        """The maxima of what was posted last."""
        assert self._pending is not None
        work, posted = self._pending
        self._call(lambda: work.wait(self._timeout))
        maxima: list[int] = posted.tolist()
        differs = difference(maxima)
        if differs:
            raise DisagreementError(f"the ranks did not make the same call {differs}")
        return maxima

    def broadcast(self, value: Any) -> Any:
        """Rank 0's `value` on every rank; it travels as JSON, for torch's own object collectives unpickle."""
        if self._group is None:
            return value
        data = _packed(value) if self.rank == 0 else torch.empty(0, dtype=torch.uint8)
        size = torch.tensor([data.numel()])
        self._call(lambda: dist.broadcast(size, src=0, group=self._group))
        box = data if self.rank == 0 else torch.empty(int(size), dtype=torch.uint8)
        self._call(lambda: dist.broadcast(box, src=0, group=self._group))
        return _unpacked(box)

    def broadcast_float(self, value: float) -> float:
        """Rank 0's `value` on every rank."""
        if self._group is None:
            return value
        box = torch.tensor([value], dtype=torch.float64)
        self._call(lambda: dist.broadcast(box, src=0, group=self._group))
        return float(box)

    def gather(self, value: Any) -> list[Any]:
        """Every rank's `value`, by rank, on every rank; small ones, for each is padded to the largest. As JSON, like `broadcast`."""
        if self._group is None:
            return [value]
        data = _packed(value)
        size = torch.tensor([data.numel()])
        self._call(lambda: dist.all_reduce(size, dist.ReduceOp.MAX, group=self._group))
        own = torch.full((int(size),), ord(" "), dtype=torch.uint8)
        own[: data.numel()] = data
        boxes = [torch.empty_like(own) for _ in range(self.world_size)]
        self._call(lambda: dist.all_gather(boxes, own, group=self._group))
        return [_unpacked(box) for box in boxes]

    def torchrun_restarts(self) -> int:
        """The most that any rank knows of: an agent that learns of a restart from another one does not count it."""
        return max(int(text) for text in self.gather(os.environ.get("TORCHELASTIC_RESTART_COUNT") or "0"))

    def _call(self, collective: Any) -> Any:
        try:
            return collective()
        except RuntimeError as error:  # gloo: connection closed, timed out
            first_line = str(error).splitlines()[0]
            raise PeerLostError(f"rank {self.rank}: another rank is gone or does not answer ({first_line})") from error


def _packed(value: Any) -> torch.Tensor:
    return torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)


def _unpacked(data: torch.Tensor) -> Any:
    return json.loads(bytes(data.tolist()))
