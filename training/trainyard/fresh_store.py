"""A place in torchrun's store that only the ranks of one start know.

torchrun's agents may keep one store over all restarts (TORCHELASTIC_USE_AGENT_STORE). It still holds the addresses of the ranks
that died, and who reads those waits for them, or fails to connect. Nothing in the environment numbers the starts:
TORCHELASTIC_RESTART_COUNT is each agent's own count of failures, and an agent that learns of a restart from another one before its
own ranks fail does not count it. So the ranks agree on a number first. Rank 0 draws one, and gives it to each rank under a word that
only the living rank knows.
"""

from __future__ import annotations

import os
import secrets
import time
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

LOOK_EVERY_S = 0.02


def is_kept_over_restarts() -> bool:
    """Whether the store of env:// is the agent's; otherwise rank 0 has just opened it."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def of_this_start(store: Any, rank: int, world_size: int, timeout_s: float) -> Any:
    """`store` under a prefix that no earlier start has used. Collective over all ranks.

    Raises torch.distributed.DistError where a rank does not come within `timeout_s`.
    """
    room = torch._C._distributed_c10d.PrefixStore("trainyard", store)
    number = _receive(room, world_size, timeout_s) if rank == 0 else _ask(room, rank, timeout_s)
    return torch._C._distributed_c10d.PrefixStore(f"trainyard/start-{number}", store)


def _ask(room: Any, rank: int, timeout_s: float) -> int:
    word = secrets.token_hex(16)
    room.set(f"asks-{rank}", word)
    room.wait([f"number-{word}"], timedelta(seconds=timeout_s))
    number = int(room.get(f"number-{word}"))
    room.set(f"has-{number}-{rank}", word)
    return number


def _receive(room: Any, world_size: int, timeout_s: float) -> int:
    """What a rank that died had asked is answered too, and then its successor's question is."""
    number, deadline = int(room.add("starts", 1)), time.monotonic() + timeout_s
    missing = set(range(1, world_size))
    answered: dict[int, bytes] = {}
    while True:
        for rank in sorted(missing):
            if room.check([f"asks-{rank}"]) and (word := room.get(f"asks-{rank}")) != answered.get(rank):
                room.set(f"number-{word.decode()}", str(number))
                answered[rank] = word
            if room.check([f"has-{number}-{rank}"]):
                missing.discard(rank)
        if not missing:
            return number
        if time.monotonic() > deadline:
            raise dist.DistError(f"rank {min(missing)} did not join within {timeout_s:.0f} s")
        time.sleep(LOOK_EVERY_S)
