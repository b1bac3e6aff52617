"""Restore: from files to a model and an optimizer ready for the next step, against torch.load and safetensors, cold and warm."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks import disk
from benchmarks.measuring import Comparison, Contestant, Group, Series, interleave
from benchmarks.ours import Ours
from benchmarks.subject import Subject, release_memory

OURS = "trainyard, verified"
LOAD, MAPPED, SAFETENSORS = "torch.load", "torch.load, mmap", "safetensors load_file"
Loader = Callable[[Subject], float]


def run(subject: Subject, folder: Path, repeats: int) -> Group:
    """The same state from four kinds of file, each with its pages in the page cache and without."""
    expected, files = subject.digest(), _write_all(subject, folder)
    loaders: dict[str, Loader] = {
        OURS: lambda target: _restore(files[OURS], target),
        LOAD: lambda target: _torch_load(files[LOAD], target, mapped=False),
        MAPPED: lambda target: _torch_load(files[MAPPED], target, mapped=True),
        SAFETENSORS: lambda target: _load_file(files[SAFETENSORS], target),
    }
    contestants: dict[str, Contestant] = {}
    for temperature, prepare in (("cold", disk.make_cold), ("warm", disk.make_warm)):
        for name, load in loaders.items():
            contestants[f"{name}: {temperature}"] = _contestant(load, subject, files[name], prepare, expected)
    return _judge(interleave(contestants, repeats))


def _contestant(load: Loader, subject: Subject, path: Path, prepare: Callable[[Path], None], expected: str) -> Contestant:
    def run_once() -> float:
        subject.forget()
        prepare(path)
        seconds = load(subject)
        if subject.digest() != expected:
            raise RuntimeError(f"{path.name}: the state loaded is not the state saved")
        return seconds

    return run_once


def _write_all(subject: Subject, folder: Path) -> dict[str, Path]:
    ours = Ours(folder / "ours", subject)
    ours.save()
    ours.close()
    del ours
    release_memory()
    torch.save(subject.state_dict(), folder / "state.pt")
    save_file({name: tensor.contiguous() for name, tensor in subject.tensors().items()}, folder / "state.safetensors")
    os.sync()
    return {
        OURS: folder / "ours",
        LOAD: folder / "state.pt",
        MAPPED: folder / "state.pt",
        SAFETENSORS: folder / "state.safetensors",
    }


def _restore(path: Path, subject: Subject) -> float:
    ours = Ours(path, subject)
    seconds = ours.restore()
    ours.close()
    return seconds


def _torch_load(path: Path, subject: Subject, *, mapped: bool) -> float:
    started = time.monotonic()
    state = torch.load(path, weights_only=True, mmap=mapped)
    if mapped:  # else the first optimizer steps would read the file, page by page
        state["optimizer"]["state"] = {key: _cloned(slots) for key, slots in state["optimizer"]["state"].items()}
    subject.model.load_state_dict(state["model"])
    subject.optimizer.load_state_dict(state["optimizer"])
    return time.monotonic() - started


def _load_file(path: Path, subject: Subject) -> float:
    started = time.monotonic()
    flat = load_file(path)
    subject.model.load_state_dict({name: flat[f"model.{name}"] for name in subject.model.state_dict()})
    slots: dict[int, dict[str, torch.Tensor]] = {}
    for key, tensor in flat.items():
        kind, index, name = (*key.split(".", 2), "")[:3]
        if kind == "optimizer":
            slots.setdefault(int(index), {})[name] = tensor
    state = subject.optimizer.state_dict()
    state["state"] = {index: _cloned(own) for index, own in slots.items()}  # load_file maps the file, too
    subject.optimizer.load_state_dict(state)
    return time.monotonic() - started


def _cloned(slots: dict[str, Any]) -> dict[str, Any]:
    return {name: value.clone() for name, value in slots.items()}


def _judge(series: dict[str, Series]) -> Group:
    comparisons = [
        Comparison(f"{temperature}, against {peer}", series[f"{OURS}: {temperature}"], series[f"{peer}: {temperature}"])
        for temperature in ("cold", "warm")
        for peer in (LOAD, MAPPED, SAFETENSORS)
    ]
    notes = [
        "trainyard reads and compares every byte with the manifest; the peers verify nothing; torch.load with weights_only=True",
        "every contestant ends with all values in memory of their own, in an existing model and a new optimizer; checked by digest",
        "cold: not in this machine's page cache (posix_fadvise, checked with mincore); a cache below the machine may still hold it",
    ]
    return Group("verified restore", list(series.values()), comparisons, notes)
