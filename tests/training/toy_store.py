"""A store in a dictionary, and stores that break what a store promises."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from trainyard import checkpoint_contents as contents
from trainyard import checkpoint_format as fmt
from trainyard import stored_forms
from trainyard.errors import DamagedError, RestoreError, SaveError
from trainyard.layout import Piece
from trainyard.policy import SavePolicy
from trainyard.shard import nonfinite_keys
from trainyard.store import Block, Rejected, Save, Tidied

Part = tuple[bytes, bytes | memoryview]
"""A rank's, as in a shard: header and tensors."""


def joined(part: Part) -> bytes:
    return part[0] + bytes(part[1])


@dataclass
class Kept:
    """One step: what each rank gave, and how it looked then. A SavedStep of store.py."""

    manifest: dict[str, Any]
    state: dict[str, Any]
    parts: dict[str, Part]
    digests: dict[str, dict[str, Any]]

    @property
    def name(self) -> str:
        return f"step {self.manifest['step']}"

    where = name

    @property
    def blocks(self) -> dict[str, list[Block]]:
        found: dict[str, list[Block]] = {}
        for name, (header, body) in self.parts.items():
            for key, each in contents.blocks_of(header[8:], len(header) + len(body)).items():
                dtype = stored_forms.DTYPES[each.dtype]
                found.setdefault(key, []).append(Block(name, each.begin, dtype, each.shape, each.offsets))
        return found

    def verify(self, pieces: list[Piece] | None = None) -> None:
        for name, part in self.parts.items():
            if fmt.digest_of(joined(part)) != self.digests[name]:
                raise DamagedError(f"{name} of {self.name} is not what was saved")

    def read_into(self, block: Block, tensor: torch.Tensor) -> None:
        if tensor.numel():
            data = bytearray(joined(self.parts[block.name]))
            tensor.copy_(
                torch.frombuffer(data, dtype=block.dtype, count=tensor.numel(), offset=block.begin).reshape(tensor.shape)
            )


@dataclass
class Shelf:
    """What outlives a start."""

    steps: dict[int, Kept] = field(default_factory=dict)
    finals: set[int] = field(default_factory=set)


class ToyStore:
    """All that store.py asks for."""

    def __init__(self, shelf: Shelf, policy: SavePolicy) -> None:
        self.shelf, self.policy = shelf, policy
        self.written: dict[tuple[int, int], tuple[Save, Part]] = {}
        """(step, rank) -> what was not committed yet."""

    def candidates(self, requested: str) -> list[int]:
        kind, _, number = requested.partition(":")
        steps, manifests = self.durable_steps()[::-1], self._manifests()
        if kind in ("latest", "none"):
            return steps if kind == "latest" else []
        wanted = {
            "step": lambda: [step for step in steps if step == int(number)],
            "epoch": lambda: [m["step"] for m in manifests if m["end_of_epoch"] and m["epoch"] == int(number)][-1:],
            "best": lambda: [step for step in [self._tiers()["best"]] if step is not None],
        }
        if not (found := wanted[kind]()):
            raise RestoreError(f"no {requested} in {self}")
        return found

    def open(self, step: int, *, any_run: bool = False) -> Kept:
        return self.shelf.steps[step]

    def durable_steps(self) -> list[int]:
        return sorted(self.shelf.steps)

    def way_out(self, step: int) -> str:
        return "Begin anew."

    def set_newer_aside(self, step: int, damaged: set[int]) -> list[str]:
        return [f"step {newer}" for newer in self.durable_steps() if newer > step and self.shelf.steps.pop(newer)]

    def write(self, save: Save) -> None:
        self.written[save.info.step, save.rank] = save, self.taken(save)

    def taken(self, save: Save) -> Part:
        return save.slot.header, bytes(save.slot.body)

    def commit(self, save: Save) -> int:
        step, deadline = save.info.step, time.monotonic() + self.policy.part_timeout_s
        while len(found := [key for key in self.written if key[0] == step]) < save.world_size:
            if time.monotonic() > deadline:
                raise SaveError(f"{len(found)} parts of {save.world_size}")
            time.sleep(0.001)
        saves = [self.written[key][0] for key in sorted(found)]
        if bad := [key for each in saves for key in nonfinite_keys(each.slot, each.parameters)]:
            raise Rejected(step, bad)
        parts = self.parts_of(step, len(saves))
        digests = {name: fmt.digest_of(joined(part)) for name, part in parts.items()}
        self.shelf.steps[step] = Kept(_manifest(save, saves), _state(save, saves), parts, digests)
        self.abandon(save)
        return sum(len(joined(part)) for part in parts.values())

    def parts_of(self, step: int, world_size: int) -> dict[str, Part]:
        return {f"rank {rank}": self.written[step, rank][1] for rank in range(world_size)}

    def abandon(self, save: Save) -> None:
        self.written = {key: value for key, value in self.written.items() if key[0] != save.info.step}

    def retain(self, step: int) -> Tidied:
        removed = [each for each in self.durable_steps() if each not in fmt.named_steps(self._tiers())]
        for each in removed:
            del self.shelf.steps[each]
        return Tidied(removed)

    def mark_final(self, step: int) -> None:
        self.shelf.finals.add(step)

    def _manifests(self) -> list[dict[str, Any]]:
        return [self.shelf.steps[step].manifest for step in self.durable_steps()]

    def _tiers(self) -> dict[str, Any]:
        policy = self.policy
        return fmt.rebuild_tiers(
            self._manifests(), keep_rolling=policy.keep_rolling, keep_epochs=policy.keep_epochs, finals=self.shelf.finals
        )


def _manifest(save: Save, saves: Iterable[Save]) -> dict[str, Any]:
    tensors = {key: entry for each in saves for key, entry in each.tensors.items()}
    return {**vars(save.info), "reasons": sorted(save.info.reasons), "tensors": tensors, "world_size": save.world_size}


def _state(save: Save, saves: Iterable[Save]) -> dict[str, Any]:
    return {"format": 1, "shared": save.shared, "ranks": {str(each.rank): each.rank_state for each in saves}}


# --- stores that break a promise ---------------------------------------------------------------------------------


class Forgetful(ToyStore):
    """Says that a step is saved, and the next start does not find it."""

    def __init__(self, shelf: Shelf, policy: SavePolicy) -> None:
        super().__init__(Shelf(), policy)


class Torn(ToyStore):
    """Returns a step whose parts are of two snapshots: of the last rank the one before this."""

    def parts_of(self, step: int, world_size: int) -> dict[str, Part]:
        parts, older = super().parts_of(step, world_size), self.durable_steps()[-1:]
        last = f"rank {world_size - 1}"
        return parts | {last: self.shelf.steps[older[0]].parts.get(last, parts[last])} if older else parts


class Lender(ToyStore):
    """Keeps no bytes of its own: the next snapshot is copied over the saved one."""

    def taken(self, save: Save) -> Part:
        return save.slot.header, save.slot.body


class Hasty(ToyStore):
    """Proposes a step as soon as one rank has given its part."""

    def candidates(self, requested: str) -> list[int]:
        return sorted({step for step, _ in self.written} | set(super().candidates(requested)), reverse=True)


class Trusting(ToyStore):
    """Verifies nothing."""

    def open(self, step: int, *, any_run: bool = False) -> Kept:
        kept = super().open(step, any_run=any_run)
        return Kept(
            kept.manifest, kept.state, kept.parts, {name: fmt.digest_of(joined(part)) for name, part in kept.parts.items()}
        )


class Hoarder(ToyStore):
    """Removes nothing."""

    def retain(self, step: int) -> Tidied:
        return Tidied()


class Careless(ToyStore):
    """Removes the end of an earlier training with the rest."""

    def mark_final(self, step: int) -> None:
        pass


class Stubborn(ToyStore):
    """Goes on proposing what the run has gone back behind."""

    def set_newer_aside(self, step: int, damaged: set[int]) -> list[str]:
        return []


class Obliging(ToyStore):
    """Gives the newest where something else was asked for and is not there."""

    def candidates(self, requested: str) -> list[int]:
        try:
            return super().candidates(requested)
        except RestoreError:
            return super().candidates("latest")


class Permissive(ToyStore):
    """Takes numbers that are not finite."""

    def write(self, save: Save) -> None:
        save.parameters.clear()
        super().write(save)
