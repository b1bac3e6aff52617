"""One step on one rank: verified without changing anything, then handed to the objects."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from trainyard import checkpoint_contents as contents
from trainyard import checkpoint_format as fmt
from trainyard import checkpoint_forms as forms
from trainyard import codec, objects, reading, rng
from trainyard.errors import DamagedError, MismatchError
from trainyard.layout import Piece, local_piece
from trainyard.modules import plain_name
from trainyard.store import SavedStep
from trainyard.targets import (
    Note,
    Targets,
    check_before,
    load_modules,
    load_optimizers,
    load_others,
    loaded_tensors,
    targets,
)


@dataclass
class Prepared:
    """A verified step, ready to be applied."""

    checkpoint: SavedStep
    state: dict[str, Any]
    own: dict[str, Any]
    """What this rank's PerRank objects saved."""
    targets: Targets
    pieces: list[Piece]


def prepare(
    checkpoint: SavedStep, things: objects.Objects, fingerprint: str | None, rank: int = 0, world_size: int = 1
) -> Prepared:
    """Verify a step without changing anything. Raises DamagedError, OSError, MemoryError or MismatchError."""
    state = checkpoint.state
    check_generators(checkpoint, [str(rank)])
    _check_values(state)
    saved_print = checkpoint.manifest["data_fingerprint"]
    if fingerprint and saved_print and fingerprint != saved_print:
        raise MismatchError(
            f"the training data changed since step {checkpoint.manifest['step']} ({saved_print} then, {fingerprint} now): its sample order would be another. "
            "Bring the old data back, or begin anew: another folder (TRAINYARD_CHECKPOINTS), or restore 'none', which sets these steps aside"
        )
    saved, own = state["shared"]["objects"], state["ranks"].get(str(rank), {}).get("objects", {})
    objects.reshard(things)
    objects.check_labels(things, saved)
    objects.check_forms(things, saved)
    objects.check_per_rank(things, saved, own, (len(state["ranks"]), world_size))
    objects.check_optimizers(things, saved)
    found = targets(things, saved, own, functools.partial(make_tensor, checkpoint))
    reading.check_tensors(checkpoint, found.tensors)
    check_before(things, saved, own, found)
    pieces = [local_piece(key, tensor.detach()) for key, tensor in found.tensors.items()]
    checkpoint.verify(pieces)
    reading.check_expanded(checkpoint, pieces)
    return Prepared(checkpoint, state, own, found, pieces)


def make_tensor(checkpoint: SavedStep, key: str, like: torch.Tensor | None, device: torch.device | None = None) -> torch.Tensor:
    """A tensor to fill with a saved one: laid out as `like` where that has its shape. Its values are those of fresh memory."""
    if key not in checkpoint.manifest["tensors"]:
        raise DamagedError(f"{checkpoint.name}: its state names tensor {key}, which it does not hold")
    dtype, shape = reading.like(checkpoint, key)
    if like is not None and tuple(like.shape) == shape and (shape or isinstance(like, DTensor)):
        return torch.empty_like(like.detach(), dtype=dtype, device=None if isinstance(like, DTensor) else device)
    return torch.empty(shape, dtype=dtype, device=device)


def check_generators(checkpoint: SavedStep, ranks: Iterable[str]) -> None:
    """Their states are loaded last, when everything else has changed: a state that torch refuses must be found before."""
    for rank in ranks:
        held = checkpoint.state["ranks"].get(rank)
        try:
            if held is not None:
                rng.check(codec.decode(held["rng"], dict[str, torch.Tensor]().__getitem__))
        except (ValueError, TypeError, RuntimeError, KeyError) as error:
            raise DamagedError(f"{fmt.STATE}: the generators of rank {rank} cannot be restored ({error})") from error


def _check_values(state: dict[str, Any]) -> None:
    """What only this runtime and torch can judge, before anything is changed. Raises MismatchError for a form of a newer writer."""
    for value, _ in contents.dicts_in(state):
        tag = next(iter(value)) if len(value) == 1 else ""
        if tag.startswith("$") and tag != "$tensor" and tag not in forms.FORMS:
            raise MismatchError(
                f"{fmt.STATE}: a form {tag} that this Trainyard does not know; resume with the newer one that saved it"
            )
        try:
            if tag in ("$device", "$dtype"):
                codec.decode(value, dict[str, torch.Tensor]().__getitem__)
        except (ValueError, RuntimeError) as error:
            raise DamagedError(f"{fmt.STATE}: {fmt.quoted(value[tag])} is not a {tag[1:]} of torch") from error


@torch.no_grad()
def apply(prepared: Prepared, things: objects.Objects, rank: int, note: Note) -> None:
    """Hand every object its state, those that may refuse first, and fill the tensors; RNG last, so that nothing uses it up in between.

    Raises MismatchError where an object refuses, or afterwards is not what was loaded.
    """
    saved, found = prepared.state["shared"]["objects"], prepared.targets
    live = {f"{label}.{plain_name(name)}" for label, state in found.modules.items() for name in state.in_place}
    for piece in prepared.pieces:
        if piece.key not in live:
            reading.fill(prepared.checkpoint, piece)
    load_others(things, saved, prepared.own, found, note)
    for piece in prepared.pieces:
        if piece.key in live:
            reading.fill(prepared.checkpoint, piece)
    load_optimizers(things, saved, found, note)
    finish_modules(prepared.checkpoint, saved, found, note)
    mine = prepared.state["ranks"].get(str(rank))
    if mine is None:
        rng.reseed(prepared.checkpoint.manifest["step"], rank)
    else:
        rng.restore(codec.decode(mine["rng"], found.tensors.__getitem__))


def finish_modules(checkpoint: SavedStep, saved: dict[str, Any], found: Targets, note: Note) -> None:
    """What was not filled in place goes through `load_state_dict`, and is then compared with the file. Raises MismatchError."""
    load_modules(saved, found, note)
    for key, tensor in loaded_tensors(found):
        if key not in found.left_out and not reading.matches(checkpoint, local_piece(key, tensor.detach())):
            raise MismatchError(
                f"{key} is not what was saved after load_state_dict of {key.partition('.')[0]}: "
                "its state_dict() and its load_state_dict do not belong together; end this process"
            )
