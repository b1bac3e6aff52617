"""Weights alone from a checkpoint of any run: where fine-tuning begins.

step = checkpointer.restore()                                                # this run's own progress, or 0
if step == 0:
    trainyard.load_weights(model, "/trainyard/pretrain-1f2e/checkpoints", which="best")
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainyard import applying, choosing, disk_reading, objects, reading, refusals, restoring, targets
from trainyard import checkpoint_format as fmt
from trainyard.agreement import Agreement
from trainyard.errors import DamagedError, MismatchError, RestoreError
from trainyard.layout import local_piece
from trainyard.rank_errors import RankError, as_data, texts

TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Loaded:
    """What `load_weights` did."""

    step: int
    missing: tuple[str, ...] = ()
    """Tensors of the model that the checkpoint lacks, or has in another shape or type: left as they were."""
    unused: tuple[str, ...] = ()
    """Tensors of the checkpoint's model that this one lacks."""


def load_weights(
    model: nn.Module, source: str | Path, *, which: str = "latest", name: str = "model", strict: bool = True
) -> Loaded:
    """Parameters and buffers of `model` from a checkpoint folder, or from one step's folder; nothing else is read or changed.

    `which` is `latest`, `best`, `epoch:N` or `step:N`; `name` is what the model was called in that run's Checkpointer. The bytes are
    verified before the model is touched, and the source is not written to, nor its lock taken. Collective where a process group is
    there. With `strict` a model that differs is MismatchError; without it what fits is loaded and the rest returned. RestoreError where
    there is no such intact checkpoint.
    """
    refusals.check_objects({name: model})
    agreement = Agreement(timeout_s=TIMEOUT_S)
    folder = Path(restoring.on_rank_0(agreement, lambda: str(_choose(Path(source).absolute(), which))))
    failure: RankError | None = None
    try:
        loaded = _load(folder, model, name, strict)
    except (DamagedError, OSError) as error:
        failure = as_data(RestoreError(f"{folder}: {error}"))
    if failures := texts(agreement.gather(failure)):
        raise RestoreError(failures[0])
    return loaded


def _choose(source: Path, which: str) -> Path:
    """The step's folder. Raises RestoreError."""
    if fmt.step_inside(source.name) is not None:
        return source
    if not source.is_dir():
        raise RestoreError(f"{source}: no such folder")
    if choosing.REQUEST.fullmatch(which) is None or which == "none":
        raise RestoreError(f"load_weights(which={which!r}): use latest, best, epoch:N or step:N")
    damaged = []
    for step in choosing.candidates(source, which):
        folder = source / fmt.step_name(step)
        try:
            fmt.verify_folder(folder)
            return folder
        except DamagedError as error:
            damaged.append(str(error))
    raise RestoreError(f"{source}: no checkpoint {which} is intact" + "".join(f"; {text}" for text in damaged))


def _load(folder: Path, model: nn.Module, name: str, strict: bool) -> Loaded:
    checkpoint = disk_reading.open_checkpoint(folder)
    disk_reading.verify(checkpoint, {fmt.STATE})
    saved: dict[str, Any] = json.loads((folder / fmt.STATE).read_bytes())["shared"]["objects"]
    if not isinstance(saved.get(name), dict) or not any(key.startswith(f"{name}.") for key in checkpoint.manifest["tensors"]):
        raise RestoreError(f"{folder} holds no module called {name!r}; it holds {', '.join(sorted(saved))}")
    things = {name: model}
    objects.reshard(things)
    found = targets.targets(things, {name: saved[name]}, {}, functools.partial(applying.make_tensor, checkpoint))
    entries = {key: entry for key, entry in checkpoint.manifest["tensors"].items() if key.startswith(f"{name}.")}
    differences = reading.differences(entries, found.tensors)
    if differences and strict:
        raise MismatchError(
            f"{folder} is of another model: {'; '.join(sorted(differences)[:5])}; strict=False loads what fits and returns the rest"
        )
    found.left_out = {key for key in found.tensors if reading.differences(_only(entries, key), {key: found.tensors[key]})}
    pieces = [local_piece(key, tensor.detach()) for key, tensor in found.tensors.items() if key not in found.left_out]
    checkpoint.verify(pieces)
    reading.check_expanded(checkpoint, pieces)
    with torch.no_grad():
        for piece in pieces:
            reading.fill(checkpoint, piece)
        applying.finish_modules(checkpoint, saved, found, lambda note: None)
    unused = set(entries) - (set(found.tensors) - found.left_out)
    return Loaded(checkpoint.manifest["step"], tuple(sorted(found.left_out)), tuple(sorted(unused)))


def _only(entries: dict[str, Any], key: str) -> dict[str, Any]:
    return {key: entries[key]} if key in entries else {}
