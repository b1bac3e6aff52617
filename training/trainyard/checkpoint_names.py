"""The names in a checkpoint folder. Standard library only."""

from __future__ import annotations

import re

_STEP = re.compile(r"step_(\d{8,})", re.ASCII)
_TEMPORARY = re.compile(r"step_\d{8,}\.(?:e(\d+)|removed)\.tmp", re.ASCII)
_ASIDE = re.compile(r"(step_\d{8,})\.aside-e\d+(-\d+)?", re.ASCII)


def step_name(step: int) -> str:
    """Folder name of a committed step: eight digits or more."""
    return f"step_{step:08d}"


def step_of(name: str) -> int | None:
    """Step number of a committed folder's name, None for any other name."""
    match = _STEP.fullmatch(name)
    return int(match[1]) if match and step_name(int(match[1])) == name else None


def temporary_name(step: int, incarnation: int) -> str:
    return f"{step_name(step)}.e{incarnation}.tmp"


def is_temporary(name: str) -> bool:
    """True for folders that a save or a removal left behind; nobody reads them."""
    return _TEMPORARY.fullmatch(name) is not None


def incarnation_inside(name: str) -> int | None:
    """The incarnation that was writing a temporary folder of this name; None for a removal, and for any other name."""
    match = _TEMPORARY.fullmatch(name)
    return int(match[1]) if match and match[1] else None


def is_aside(name: str) -> bool:
    """True for folders set aside when a run resumed from an older step."""
    return _ASIDE.fullmatch(name) is not None


def step_inside(name: str) -> int | None:
    """Step number that the manifest in a folder of this name must have: a committed one's, or one set aside."""
    match = _ASIDE.fullmatch(name)
    return step_of(match[1] if match else name)


def shard_name(rank: int, world_size: int) -> str:
    """File of one rank, named as stock DCP's Hugging Face writer names its shards."""
    return f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors"
