"""What a finished run came to, read with stock safetensors and stock JSON, and in what two runs differ."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

# Of a step line, what names time or process.
CLOCKS = {"time", "incarnation", "step_s", "blocked_s", "tokens_per_s"}
SHOWN = 6


@dataclass(frozen=True)
class Outcome:
    """Everything that must be equal, bit for bit."""

    tensors: dict[str, torch.Tensor]
    """shard/key -> parameter or optimizer state, from every shard of the last checkpoint."""
    state: Any
    """state.json: optimizer groups, schedule, data position, configuration, the dropout generator of each rank."""
    steps: dict[int, dict[str, str]]
    """step -> its metrics (loss, gradient norm, rate, validation loss), as the text of the last line of that step."""


def outcome_of(folder: Path, step: int) -> Outcome:
    """What the run in `folder` came to at its last step."""
    checkpoint = folder / "checkpoints" / f"step_{step:08d}"
    return Outcome(tensors_of(checkpoint), _state(checkpoint / "state.json"), _steps(folder / "steps.jsonl"))


def tensors_of(checkpoint: Path) -> dict[str, torch.Tensor]:
    found = {}
    for shard in sorted(checkpoint.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - not a dict
                found[f"{shard.name[:11]}/{key}"] = file.get_tensor(key)
    return found


def _state(path: Path) -> Any:
    state = json.loads(path.read_text(), parse_float=str)
    for rank in state["ranks"].values():
        # train.py draws from torch alone; Python and NumPy seed themselves anew in every first start.
        del rank["rng"]["python"], rank["rng"]["numpy"]
    return state


def _steps(path: Path) -> dict[int, dict[str, str]]:
    found = {}
    for line in path.read_text().splitlines():
        record = json.loads(line, parse_float=str)
        found[record["step"]] = {key: str(value) for key, value in record.items() if key not in CLOCKS}
    return found


def differences(ours: Outcome, reference: Outcome) -> list[str]:
    """The first few differences in words; [] when the two are the same, bit for bit."""
    found = _of_dicts("tensor", ours.tensors, reference.tensors)
    found += _of_dicts("step", ours.steps, reference.steps)
    found += _of_dicts("state", _flat(ours.state), _flat(reference.state))
    return found if len(found) <= SHOWN else [*found[:SHOWN], f"and {len(found) - SHOWN} more"]


def _of_dicts(what: str, ours: dict[Any, Any], reference: dict[Any, Any]) -> list[str]:
    found = [f"{what} {key} is missing" for key in reference.keys() - ours.keys()]
    found += [f"{what} {key} is new" for key in ours.keys() - reference.keys()]
    for key, expected in reference.items():
        if key in ours and not _same(ours[key], expected):
            found.append(f"{what} {key}: {_short(ours[key])}, not {_short(expected)}")
    return found


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, torch.Tensor):
        return bool(one == other)
    return one.dtype == other.dtype and one.shape == other.shape and _bytes(one) == _bytes(other)


def _bytes(tensor: torch.Tensor) -> bytes:
    """Bits, not values: 0.0 equals -0.0, and NaN nothing."""
    return tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes()


def _short(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"{value.dtype}{list(value.shape)} sum {value.double().sum():.17g}"
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "..."


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """path -> leaf of a JSON value."""
    if not isinstance(value, dict | list) or not value:
        return {path: value}
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    return {name: leaf for key, item in pairs for name, leaf in _flat(item, f"{path}.{key}").items()}
