"""Read a step from its folder: what it says is judged as everywhere, its bytes are verified, its blocks are found."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from trainyard import checkpoint_format as fmt
from trainyard import checkpoint_judgement as judgement
from trainyard import stored_forms
from trainyard.errors import DamagedError
from trainyard.layout import Piece
from trainyard.patience import PATIENT, Patience
from trainyard.reading import overlap
from trainyard.store import Block


@dataclass(frozen=True)
class Checkpoint:
    """A step whose parts fit together; its files are verified by `verify`. A SavedStep of store.py."""

    step: judgement.Step
    blocks: dict[str, list[Block]]
    patience: Patience
    """For every later read of its files."""

    @property
    def folder(self) -> Path:
        return self.step.folder

    @property
    def where(self) -> str:
        return str(self.folder)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def manifest(self) -> dict[str, Any]:
        return self.step.manifest

    @property
    def state(self) -> dict[str, Any]:
        return self.step.state

    def verify(self, pieces: list[Piece] | None = None) -> None:
        verify(self, set(self.manifest["files"]) if pieces is None else files_for(self, pieces) - {fmt.STATE})

    def read_into(self, block: Block, tensor: torch.Tensor) -> None:
        path = self.folder / block.name
        self.patience.read(partial(_read_once, path, block.begin, tensor), path)


def open_checkpoint(folder: Path, owner: fmt.Owner | None = None, patience: Patience = PATIENT) -> Checkpoint:
    """Everything but the bytes of the tensors, judged as everywhere. `owner` as for `read_manifest`.

    Here and below: raises DamagedError, or what `Patience.read` raises.
    """
    step = patience.read(partial(judgement.open_step, folder, owner), folder)
    blocks: dict[str, list[Block]] = {}
    for key, found in step.blocks.items():
        dtype = step.manifest["tensors"][key]["dtype"]
        if dtype not in stored_forms.DTYPES:
            raise DamagedError(f"{folder.name}: {fmt.quoted(key)} is of type {dtype}, which the runtime does not save")
        blocks[key] = [Block(name, each.begin, stored_forms.DTYPES[dtype], each.shape, each.offsets) for name, each in found]
    return Checkpoint(step, blocks, patience)


def files_for(checkpoint: Checkpoint, pieces: list[Piece]) -> set[str]:
    """The files that hold any element of these pieces, and those that hold no element of any tensor (state.json)."""
    blocks = [block for found in checkpoint.blocks.values() for block in found]
    used = set(checkpoint.manifest["files"]) - {block.name for block in blocks if math.prod(block.shape)}
    for piece in pieces:
        used |= {block.name for block in checkpoint.blocks[piece.key] if overlap(piece, block) is not None}
    return used


def verify(checkpoint: Checkpoint, names: set[str]) -> None:
    """Read every byte of these files and compare with the manifest."""
    for name in sorted(names):
        checkpoint.patience.read(partial(judgement.verify_files, checkpoint.step, [name]), checkpoint.folder / name)


def _read_once(path: Path, begin: int, tensor: torch.Tensor) -> None:
    view = tensor.detach().reshape(-1).view(torch.uint8).numpy().data
    with path.open("rb", buffering=0) as file:
        file.seek(begin)
        while view:
            count = file.readinto(view)
            if not count:
                raise DamagedError(f"{path.name}: it became shorter while it was read")
            view = view[count:]
