"""What state.json and the header of a shard must say, beyond having the right bytes: a digest can be computed by anybody.

Standard library only, and nothing here opens a file. Each function returns what is wrong, or raises ValueError that says so.
"""

from __future__ import annotations

import json
import math
import random
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

IN_TRAINYARD = bool(__package__)
if IN_TRAINYARD:
    from trainyard import checkpoint_format as fmt
    from trainyard import checkpoint_forms as forms
else:  # a copy beside its siblings, in the checkpoint-manager skill
    import checkpoint_format as fmt
    import checkpoint_forms as forms

MAX_DEPTH = 200
"""Levels of nesting in state.json: readers recurse."""
MT19937_BYTES = 624 * 4

# --- state.json --------------------------------------------------------------------------------------------------


def state_problem(state: Any, manifest: dict[str, Any]) -> str | None:
    """What a restore relies on and this state lacks; None if nothing. A writer asks before it commits."""
    if not isinstance(state, dict) or state.get("format") != 1:
        return "it is not a state of format 1"
    if problem := _values_problem(state, manifest["tensors"]):
        return problem
    shared, ranks = state.get("shared"), state.get("ranks")
    if not isinstance(shared, dict) or not isinstance(shared.get("objects"), dict):
        return "it has no shared.objects"
    if (
        not fmt.is_count(shared.get("step"))
        or shared["step"] != manifest["step"]
        or not fmt.is_count(shared.get("epoch"), -fmt.MAX_NUMBER)
    ):
        return "shared.step or shared.epoch is not that of the manifest"
    if not {"config", "best_loss"} <= shared.keys() or type(shared["best_loss"]) not in (int, float, type(None)):
        return "it has no shared.config, or no shared.best_loss"
    if not isinstance(ranks, dict) or set(ranks) != {str(rank) for rank in range(manifest["world_size"])}:
        return f"it has not the state of {manifest['world_size']} ranks"
    own = {label for label, value in shared["objects"].items() if value == {"per_rank": True}}
    for rank, held in ranks.items():
        if problem := _rank_problem(held, own):
            return f"rank {rank}: {problem}"
    return None


def _rank_problem(held: Any, own: set[str]) -> str | None:
    if not isinstance(held, dict) or not isinstance(objects := held.get("objects", {}), dict):
        return "its state is not an object"
    if missing := sorted(own - set(objects)):
        return f"it lacks the state of {fmt.quoted(missing[0])}"
    return rng_problem(held.get("rng"))


def rng_problem(rng: Any) -> str | None:
    """What is wrong with the generators of one rank, as trainyard.rng captures them."""
    if not isinstance(rng, dict):
        return "it has no rng"
    python, numpy = forms.tagged(rng.get("python"), "$tuple"), forms.tagged(rng.get("numpy"), "$tuple")
    if not isinstance(python, list) or len(python) != 3 or not isinstance(forms.tagged(python[1], "$tuple"), list):
        return "rng.python is not a state of random.Random"
    try:
        random.Random().setstate((python[0], tuple(forms.tagged(python[1], "$tuple")), python[2]))
    except (ValueError, TypeError, OverflowError):
        return "rng.python is not a state of random.Random"
    if not isinstance(numpy, list) or len(numpy) != 5 or numpy[0] != "MT19937":
        return "rng.numpy is not a state of MT19937"
    if len(forms.bytes_in(numpy[1]) or b"") != MT19937_BYTES or not fmt.is_count(numpy[2]) or numpy[2] > 624:
        return "rng.numpy is not a state of MT19937"
    if not fmt.is_count(numpy[3]) or type(numpy[4]) not in (int, float):
        return "rng.numpy is not a state of MT19937"
    devices = [name for name in ("torch", "cuda") if name in rng or name == "torch"]
    return next((f"rng.{name} is not bytes" for name in devices if not forms.bytes_in(rng.get(name))), None)


def _values_problem(state: Any, tensors: dict[str, Any]) -> str | None:
    """A value that trainyard.codec cannot decode."""
    for value, depth in dicts_in(state):
        if depth > MAX_DEPTH:
            return f"it is nested deeper than {MAX_DEPTH} levels"
        if problem := forms.problem_of(value, tensors):
            return problem
    return None


def dicts_in(state: Any) -> Iterator[tuple[dict[str, Any], int]]:
    """Every object in a JSON value with its depth; the depth of lists counts too. Without recursion, which is what is to be bounded."""
    waiting: list[tuple[Any, int]] = [(state, 0)]
    while waiting:
        value, depth = waiting.pop()
        if depth > MAX_DEPTH:
            yield {}, depth
            continue
        if isinstance(value, dict):
            yield value, depth
        items = value.values() if isinstance(value, dict) else value
        waiting += [(item, depth + 1) for item in items if isinstance(item, list | dict)]


# --- shards ------------------------------------------------------------------------------------------------------


class Box(Protocol):
    """So many elements along each axis, from these offsets."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def offsets(self) -> tuple[int, ...]: ...


@dataclass(frozen=True)
class Block:
    """A block of a saved tensor: `shape` elements at `offsets`, `begin` bytes into the file."""

    begin: int
    dtype: str
    shape: tuple[int, ...]
    offsets: tuple[int, ...]

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def header_length(first_8_bytes: bytes, file_bytes: int) -> int:
    """Bytes of a safetensors header. Raises ValueError."""
    if len(first_8_bytes) != 8:
        raise ValueError("it is too short for a header")
    length = int(struct.unpack("<Q", first_8_bytes)[0])
    if not 0 < length <= min(file_bytes - 8, fmt.MAX_MANIFEST_BYTES):
        raise ValueError("its header is longer than the file")
    return length


def blocks_of(header: bytes, file_bytes: int) -> dict[str, Block]:
    """key -> block, of the header of a shard as trainyard writes it. Raises ValueError for anything else.

    As the safetensors format asks, the blocks fill the rest of the file without holes and without overlap.
    """
    try:
        entries = json.loads(header, object_pairs_hook=_without_repeats)
        offsets = json.loads(entries.pop("__metadata__")["DCP_SHARDING_INFO"], object_pairs_hook=_without_repeats)
        blocks = {key: _block(8 + len(header), entry, offsets[key]["saved_offsets"]) for key, entry in entries.items()}
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"its header cannot be read ({type(error).__name__})") from error
    end = 8 + len(header)
    for block in sorted(blocks.values(), key=lambda block: (block.begin, block.elements)):
        if block.begin != end:
            raise ValueError("its blocks do not fill the file")
        end += block.elements * fmt.ITEM_BYTES[block.dtype]
    if end != file_bytes:
        raise ValueError("its blocks do not fill the file")
    return blocks


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("its header says something twice")
    return members


def _block(data_begin: int, entry: dict[str, Any], offsets: list[int]) -> Block:
    begin, end = entry["data_offsets"]
    shape, dtype = tuple(entry["shape"]), entry["dtype"]
    numbers = (begin, end, *shape, *offsets)
    if dtype not in fmt.ITEM_BYTES or len(shape) != len(offsets) or not all(map(fmt.is_count, numbers)):
        raise ValueError("its header describes no block")
    if end - begin != math.prod(shape) * fmt.ITEM_BYTES[dtype]:
        raise ValueError("its header gives a block another size than its shape")
    return Block(data_begin + begin, dtype, shape, tuple(offsets))


def cover_problem(blocks: list[Block], dtype: str, shape: tuple[int, ...]) -> str | None:
    """Why these blocks are not the whole of a tensor, each element once; None if they are."""
    for block in blocks:
        inside = len(block.shape) == len(shape) and all(
            at + size <= end for at, size, end in zip(block.offsets, block.shape, shape, strict=True)
        )
        if not inside or block.dtype != dtype:
            return "a block of it does not fit the tensor that the manifest lists"
    if sum(block.elements for block in blocks) != math.prod(shape):
        return "its blocks do not cover the tensor exactly once"
    return "two of its blocks overlap" if any(overlapping(blocks)) else None


def overlapping(blocks: Sequence[Box]) -> Iterator[bool]:
    """Sweeps along the axis on which most blocks begin: those that lie side by side there need no comparison."""
    full = [block for block in blocks if 0 not in block.shape]
    if len(full) < 2 or not full[0].shape:
        yield len(full) > 1
        return
    axis = max(range(len(full[0].shape)), key=lambda axis: len({block.offsets[axis] for block in full}))
    active: list[Box] = []
    for block in sorted(full, key=lambda block: block.offsets[axis]):
        active = [other for other in active if other.offsets[axis] + other.shape[axis] > block.offsets[axis]]
        yield any(_meet(block, other) for other in active)
        active.append(block)


def _meet(one: Box, other: Box) -> bool:
    spans = zip(one.offsets, one.shape, other.offsets, other.shape, strict=True)
    return all(max(a, b) < min(a + a_size, b + b_size) for a, a_size, b, b_size in spans)
