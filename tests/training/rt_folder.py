"""Checkpoint folders made in this process with the runtime's own writing functions, and ways to damage them."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from trainyard import checkpoint_format as fmt
from trainyard import codec, layout, rng
from trainyard.commit import commit, wait_for_parts
from trainyard.layout import Piece
from trainyard.lock import Lock, take
from trainyard.shard import Part, nonfinite_keys, write_part, write_shard
from trainyard.snapshot import Slot
from trainyard.store import StepInfo


def info(step: int, **fields: Any) -> StepInfo:
    values: dict[str, Any] = {
        "epoch": 0,
        "end_of_epoch": False,
        "val_loss": None,
        "reasons": ("rolling",),
        "data_fingerprint": None,
        **fields,
    }
    return StepInfo(step=step, **values)


def shared_state(step: int) -> dict[str, Any]:
    """What rank 0 contributes to state.json, for a script without objects."""
    return {"step": step, "epoch": 0, "best_loss": None, "config": {}, "objects": {}}


def rank_state() -> dict[str, Any]:
    """What each rank contributes to state.json."""
    return {"rng": codec.encode(rng.capture(), "rng", lambda path, tensor: None)}


def write_parts(lock: Lock, step: int, ranks: list[list[Piece]], parameters: Iterable[str] = ()) -> Path:
    """The temporary folder of a step with every rank's shard and part, as the writers leave it for rank 0.

    `parameters` are the keys that must be finite.
    """
    folder = lock.root / fmt.temporary_name(step, lock.incarnation)
    folder.mkdir()
    for rank, pieces in enumerate(ranks):
        slot = Slot()
        slot.copy(pieces)
        file = write_shard(folder, rank, len(ranks), slot)
        bad = nonfinite_keys(slot, set(parameters))
        write_part(folder, Part(rank, lock.incarnation, file, layout.describe(pieces), rank_state(), bad))
    return folder


def save(lock: Lock, step: int, ranks: list[list[Piece]], **fields: Any) -> Path:
    """Commit a step whose blocks are given by rank; returns its folder."""
    folder = write_parts(lock, step, ranks)
    parts = wait_for_parts(folder, len(ranks), lock.incarnation, timeout_s=5)
    commit(folder, parts, shared_state(step), info(step, **fields), lock)
    return lock.root / fmt.step_name(step)


def save_tensors(lock: Lock, step: int, tensors: dict[str, torch.Tensor], **fields: Any) -> Path:
    """Commit a step of plain tensors, written by one rank."""
    return save(lock, step, [[layout.whole(key, tensor) for key, tensor in tensors.items()]], **fields)


def take_lock(root: Path) -> Lock:
    root.mkdir(parents=True, exist_ok=True)
    return take(root)


def cut(dice: random.Random, shape: tuple[int, ...], cuts: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """(offsets, shape) of blocks that fill `shape` exactly: random straight cuts, each through one block, empty blocks too."""
    blocks = [((0,) * len(shape), shape)]
    for _ in range(cuts if shape else 0):
        offsets, size = blocks.pop(dice.randrange(len(blocks)))
        axis = dice.randrange(len(shape))
        at = dice.randint(0, size[axis])
        for low, high in pairwise((0, at, size[axis])):
            part = (*size[:axis], high - low, *size[axis + 1 :])
            blocks.append(((*offsets[:axis], offsets[axis] + low, *offsets[axis + 1 :]), part))
    return blocks


def block_of(tensor: torch.Tensor, offsets: tuple[int, ...], shape: tuple[int, ...]) -> torch.Tensor:
    return tensor[tuple(slice(start, start + size) for start, size in zip(offsets, shape, strict=True))]


def flip(path: Path, bit: int) -> None:
    """Invert one bit in place; the same call again brings the file back."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


def header_bytes(shard: Path) -> int:
    """Length of a safetensors file's header, its eight length bytes included."""
    with shard.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def shards(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def copy_of(folder: Path, target: Path) -> Path:
    shutil.copytree(folder, target)
    return target


def raw(tensor: torch.Tensor) -> bytes:
    """The tensor's bytes: equal also where NaN differs from itself, and different where 0.0 and -0.0 are equal."""
    return bytes(tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist())


def files_under(root: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(root.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(root)), path.read_bytes()
