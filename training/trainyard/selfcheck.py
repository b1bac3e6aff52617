"""Before the first save of a run: would what is going to be written fit into these very objects?

Names, types and shapes only: no byte of a tensor is copied. It runs at the first step, when the optimizer has its state, and on every
rank; a failure is every rank's.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from trainyard import checkpoint_format as fmt
from trainyard import codec, layout, module_checks, objects, optimizers, reading, stored_forms
from trainyard.agreement import Agreement
from trainyard.errors import ConfigError, TrainyardError
from trainyard.modules import plain_name
from trainyard.rank_errors import as_data
from trainyard.targets import Targets, targets

ADVICE = "Nothing was saved yet; change this before the run costs hours"
SAMPLED = 8
"""Values of each tensor that are compared between ranks."""
COMPARED_BYTES = 1 << 16
"""Of a tensor that has to be the same on all ranks and need not be."""


@dataclass
class Findings:
    """What a self-check found worth a word, and what this rank's state looks like."""

    notes: list[str] = field(default_factory=list)
    outline: list[str] = field(default_factory=list)
    """One line for each tensor that has to be the same on all ranks."""
    samples: dict[str, list[float]] = field(default_factory=dict)
    """The first values of every parameter, and of every tensor of an optimizer, that is not sharded."""


def check(things: objects.Objects, agreement: Agreement) -> list[str]:
    """Collective. Returns what should be said to the user; raises ConfigError for what could not be restored, on every rank."""
    findings, failure = Findings(), None
    try:
        findings = look(things, agreement.world_size)
    except TrainyardError as error:
        failure = as_data(ConfigError(f"{error}. {ADVICE}"))
    own = {"outline": _digest(sorted(findings.outline)), "samples": _digest_of(findings.samples), "error": failure}
    answers = agreement.gather(own)
    failures = [(rank, answer["error"]["text"]) for rank, answer in enumerate(answers) if answer["error"]]
    for rank, text in failures[:1]:
        raise ConfigError(f"rank {rank}: {text}" if len(answers) > 1 else text)
    if other := _unlike([answer["outline"] for answer in answers]):
        raise ConfigError(
            f"rank {other} holds other tensors than rank 0 (names, types, shapes, or parts of a sharded state), "
            "and only rank 0's would be kept: shard with FSDP2 (fully_shard), or save such an object by itself. " + ADVICE
        )
    if other := _unlike([answer["samples"] for answer in answers]):
        findings.notes.append(
            f"rank {other} has other values than rank 0 in {_first_unlike(findings.samples, agreement)}: one copy is saved, and all ranks go "
            "on from it after a restart. Train with DistributedDataParallel or fully_shard, or broadcast what is frozen"
        )
    return findings.notes


def _first_unlike(samples: dict[str, list[float]], agreement: Agreement) -> str:
    """The first key, in their order, whose values differ between ranks. Collective; the keys are the same on all."""
    keys = sorted(samples)
    while len(keys) > 1:
        half = keys[: len(keys) // 2]
        is_here = _unlike(agreement.gather(_digest_of({key: samples[key] for key in half})))
        keys = half if is_here else keys[len(half) :]
    return keys[0]


def _unlike(values: list[str]) -> str:
    """The ranks whose value is not rank 0's, as text."""
    return ", ".join(str(rank) for rank, value in enumerate(values) if value != values[0])


def _digest(lines: list[str]) -> str:
    return hashlib.blake2b("\n".join(lines).encode(), digest_size=16).hexdigest()


def _digest_of(samples: dict[str, list[float]]) -> str:
    return _digest([f"{key} {samples[key]}" for key in sorted(samples)])


def _samples(things: objects.Objects, tensors: dict[str, torch.Tensor]) -> dict[str, list[float]]:
    """In one copy from the device, however many tensors there are."""
    wanted, own = (
        objects.trainable_keys(things),
        tuple(f"{label}." for label in things if optimizers.is_optimizer(things[label])),
    )
    plain = {key: tensor for key, tensor in tensors.items() if not isinstance(tensor, DTensor) and tensor.numel()}
    starts = {
        key: stored_forms.stored(tensor).reshape(-1)[:SAMPLED].double()
        for key, tensor in plain.items()
        if key in wanted or key.startswith(own or ("\0",))
    }
    if not starts:
        return {}
    device = next((start.device for start in starts.values() if start.device.type != "cpu"), torch.device("cpu"))
    values = iter(torch.cat([start.to(device) for start in starts.values()]).tolist())
    return {key: list(itertools.islice(values, start.numel())) for key, start in starts.items()}


def look(things: objects.Objects, world_size: int = 1) -> Findings:
    """This rank's part of the check. Raises TrainyardError that names the object."""
    findings = Findings()
    classes: dict[str, type] = {}
    tensors, state = objects.capture(things, classes.__setitem__)
    own = objects.capture_per_rank(things).get("objects", {})
    for path, kind in classes.items():
        findings.notes.append(f"{path}: a {kind.__name__} comes back as a plain value after a restart")
    pieces = {key: layout.local_piece(key, tensor) for key, tensor in tensors.items()}
    manifest = {key: piece.entry for key, piece in pieces.items()}
    read = json.loads(fmt.canonical({"saved": state, "own": own}))
    _check_kinds(things, tensors)
    found = _read_back(things, read["saved"], read["own"], manifest)
    if world_size > 1:
        findings.samples = _samples(things, tensors)
    findings.outline = [_outline(key, tensor) for key, tensor in tensors.items()] + _parts(things)
    findings.notes += [note for label, state in found.modules.items() for note in module_checks.check(label, state)]
    return findings


def _read_back(
    things: objects.Objects, saved: dict[str, Any], own: dict[str, Any], manifest: dict[str, dict[str, Any]]
) -> Targets:
    """What a restore does before it reads a byte, from what would be written."""

    def make(key: str, like: torch.Tensor | None, device: torch.device) -> torch.Tensor:
        dtype, shape = stored_forms.logical(manifest[key])
        return torch.empty(shape, dtype=dtype, device="meta")

    objects.check_labels(things, saved)
    objects.check_optimizers(things, saved)
    found = targets(things, saved, own, make)
    differences = reading.differences(manifest, found.tensors)
    if differences:
        raise ConfigError(f"what would be saved cannot be read back: {'; '.join(sorted(differences)[:5])}")
    for label, value in things.items():
        _decode(label, value, own[label] if isinstance(value, objects.PerRank) else saved[label], found)
    return found


def _decode(label: str, value: Any, encoded: Any, found: Targets) -> None:
    """Raises ConfigError where something would come back as another type."""
    live, plain, nothing = found.live.get(label, codec.MISSING), list[str](), torch.empty(0)
    if isinstance(value, nn.Module):
        live = {plain_name(name): entry for name, entry in found.modules[label].others()}
    elif optimizers.is_optimizer(value):
        live = optimizers.live(value)
    codec.decode(encoded, lambda key: nothing, live, lambda path, what: plain.append(f"{path} is {what}"), label)
    if plain:
        raise ConfigError(f"{plain[0]}: it could not be restored. Keep numbers, text, tuples, lists or dicts there")


def _check_kinds(things: objects.Objects, tensors: dict[str, torch.Tensor]) -> None:
    """Outside modules a restore makes tensors anew: plain ones, or laid out as the parameter that they belong to."""
    in_modules = tuple(f"{label}." for label, value in things.items() if isinstance(value, nn.Module))
    for key, tensor in tensors.items():
        if not key.startswith(in_modules or ("\0",)) and type(tensor) not in stored_forms.PLAIN:
            raise ConfigError(
                f"{key}: a {type(tensor).__name__} would come back as a plain tensor; keep plain tensors in the state"
            )
    for label, value in things.items():
        if optimizers.is_optimizer(value):
            for parameter, slots in value.state.items():
                for slot, tensor in slots.items() if isinstance(slots, dict) else ():
                    if isinstance(tensor, DTensor) and not _like(tensor, parameter):
                        raise ConfigError(
                            f"{label}.state: {slot} of {_layout(parameter)} is {_layout(tensor)}, and only a layout like the parameter's "
                            "can be restored; keep whole tensors (full_tensor()) there"
                        )


def _like(tensor: DTensor, parameter: Any) -> bool:
    same = isinstance(parameter, DTensor) and tensor.shape == parameter.shape
    return same and tensor.device_mesh == parameter.device_mesh and tensor.placements == parameter.placements


def _layout(tensor: Any) -> str:
    placed = f" {tuple(map(str, tensor.placements))}" if isinstance(tensor, DTensor) else ""
    return f"{type(tensor).__name__}{list(tensor.shape)}{placed}"


def _outline(key: str, tensor: torch.Tensor) -> str:
    return f"{key} {tensor.dtype} {tuple(tensor.shape)} {isinstance(tensor, DTensor)}"


def _parts(things: objects.Objects) -> list[str]:
    """The first bytes of plain state of sharded parameters: an optimizer that works on local shards keeps another one on each rank."""
    found = []
    for label, value in things.items():
        if optimizers.is_optimizer(value):
            for number, (parameter, slots) in enumerate(value.state.items()):
                if isinstance(parameter, DTensor) and isinstance(slots, dict):
                    for slot, tensor in slots.items():
                        if isinstance(tensor, torch.Tensor) and not isinstance(tensor, DTensor) and tensor.numel() > 1:
                            found.append(f"{label} {number} {slot} {_start_of(tensor)}")
    return found


def _start_of(tensor: torch.Tensor) -> str:
    start = stored_forms.stored(tensor.detach()).reshape(-1)[:COMPARED_BYTES].to("cpu").contiguous()
    return hashlib.blake2b(start.view(torch.uint8).numpy().tobytes(), digest_size=16).hexdigest()
