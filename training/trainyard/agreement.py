"""What the ranks tell each other at every step, on a gloo group of their own: a flag is read one step late, so nobody waits for it.

Only the training thread uses the group: two threads on one group can deadlock.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from trainyard.errors import ConfigError, PeerLostError

TEXT_BYTES = 2048


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

    def exchange(self, flags: list[int]) -> list[int] | None:
        """Post this rank's flags; return the maxima of what was posted one call ago, None at the first call.

        A single rank gets its own flags back at once.

        Raises PeerLostError when a rank did not post within the deadline: then nobody may act on a half-known state.
        """
        if self._group is None:
            return flags
        posted, previous = torch.tensor(flags, dtype=torch.int32), self._pending
        work = self._call(lambda: dist.all_reduce(posted, dist.ReduceOp.MAX, group=self._group, async_op=True))
        self._pending = (work, posted)
        if previous is None:
            return None
        self._call(lambda: previous[0].wait(self._timeout))
        return [int(flag) for flag in previous[1]]

    def broadcast(self, value: Any) -> Any:
        """Rank 0's `value` on every rank; it travels as JSON, for torch's own object collectives unpickle."""
        if self._group is None:
            return value
        data = json.dumps(value).encode() if self.rank == 0 else b""
        size = torch.tensor([len(data)])
        self._call(lambda: dist.broadcast(size, src=0, group=self._group))
        box = (
            torch.frombuffer(bytearray(data), dtype=torch.uint8)
            if self.rank == 0
            else torch.empty(int(size), dtype=torch.uint8)
        )
        self._call(lambda: dist.broadcast(box, src=0, group=self._group))
        return json.loads(bytes(box.tolist()))

    def broadcast_float(self, value: float) -> float:
        """Rank 0's `value` on every rank."""
        if self._group is None:
            return value
        box = torch.tensor([value], dtype=torch.float64)
        self._call(lambda: dist.broadcast(box, src=0, group=self._group))
        return float(box)

    def gather(self, value: str) -> list[str]:
        """Every rank's text, by rank, on every rank; cut at TEXT_BYTES."""
        if self._group is None:
            return [value]
        data = value.encode()[:TEXT_BYTES].ljust(TEXT_BYTES, b"\0")
        boxes = [torch.empty(TEXT_BYTES, dtype=torch.uint8) for _ in range(self.world_size)]
        own = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        self._call(lambda: dist.all_gather(boxes, own, group=self._group))
        return [bytes(box.tolist()).rstrip(b"\0").decode(errors="replace") for box in boxes]

    def _call(self, collective: Any) -> Any:
        try:
            return collective()
        except RuntimeError as error:  # gloo: connection closed, timed out
            first_line = str(error).splitlines()[0]
            raise PeerLostError(f"rank {self.rank}: another rank is gone or does not answer ({first_line})") from error
