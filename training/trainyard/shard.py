"""Write one rank's shard and its part manifest into the temporary folder of a step."""

from __future__ import annotations

import ctypes
import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainyard.checkpoint_format import FileDigest, shard_name
from trainyard.files import write_atomically
from trainyard.snapshot import Slot

WRITE_BYTES = 8 << 20
DIGEST_BYTES = 256 << 10
"""Stays in a core's own cache between the two digests of it."""
START_WRITEBACK = 2
"""SYNC_FILE_RANGE_WRITE of sync_file_range(2)."""
LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Part:
    """What one rank contributes to a checkpoint; travels as `part-<rank>.json`."""

    rank: int
    incarnation: int
    file: dict[str, Any] | None
    """Manifest entry of the shard; None when it could not be written."""
    tensors: dict[str, dict[str, Any]]
    state: dict[str, Any]
    """This rank's own state (RNG), encoded."""
    nonfinite: list[str]
    error: str | None = None


def part_path(folder: Path, rank: int) -> Path:
    return folder / f"part-{rank:05d}.json"


def write_part(folder: Path, part: Part) -> None:
    """Tell rank 0. Not fsynced: the commit, which is, carries all of it, and without a commit nobody asks for it."""
    write_atomically(part_path(folder, part.rank), json.dumps(vars(part)).encode(), durably=False)


def read_part(folder: Path, rank: int, incarnation: int) -> Part | None:
    """The part of one rank of this incarnation, None while it is not there. Raises OSError when it cannot be read."""
    try:
        part = Part(**json.loads(part_path(folder, rank).read_bytes()))
    except (FileNotFoundError, ValueError, TypeError, RecursionError):
        return None
    return part if part.incarnation == incarnation else None


def write_shard(folder: Path, rank: int, world_size: int, slot: Slot) -> dict[str, Any]:
    """Write and fsync the slot's bytes as a safetensors file; returns its manifest entry.

    The digest is computed beside the writing, not before it: hashing is memory-bound, writing waits for the disk.
    """
    path = folder / shard_name(rank, world_size)
    try:
        with path.open("wb", buffering=0) as file, ThreadPoolExecutor(1, "trainyard-digest") as pool:
            entry = pool.submit(_digest, slot)
            _write_all(file.fileno(), memoryview(slot.header))
            _write_all(file.fileno(), slot.body)
            os.fsync(file.fileno())
            return entry.result()
    except OSError:
        path.unlink(missing_ok=True)  # on a full disk this makes room for the part that says so
        raise


def _digest(slot: Slot) -> dict[str, Any]:
    digest = FileDigest()
    digest.update(slot.header)
    for start in range(0, slot.body.nbytes, DIGEST_BYTES):
        digest.update(slot.body[start : start + DIGEST_BYTES])
    return digest.entry()


def _write_all(descriptor: int, data: memoryview) -> None:
    while data:
        count = os.write(descriptor, data[:WRITE_BYTES])
        _start_writeback(descriptor, count)
        data = data[count:]


def _start_writeback(descriptor: int, count: int) -> None:
    """Let the disk begin with the last `count` bytes, which the kernel would keep until fsync. Linux; elsewhere nothing."""
    start = getattr(LIBC, "sync_file_range", None)
    if start is not None:
        position = os.lseek(descriptor, 0, os.SEEK_CUR)
        start(descriptor, ctypes.c_int64(position - count), ctypes.c_int64(count), START_WRITEBACK)


def nonfinite_keys(slot: Slot, parameters: set[str]) -> list[str]:
    """The parameters in the slot that hold NaN or Inf."""
    views = slot.view_of()
    return [key for key in sorted(parameters & set(views)) if _has_nonfinite(views[key])]


def _has_nonfinite(tensor: torch.Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return False
    if tensor.element_size() == 1:  # float8 has no arithmetic of its own
        tensor = tensor.to(torch.float32)
    # NaN wins in aminmax. One pass without a temporary: isfinite().all() takes thirty times as long on a CPU.
    return not all(math.isfinite(bound) for bound in torch.aminmax(tensor))
