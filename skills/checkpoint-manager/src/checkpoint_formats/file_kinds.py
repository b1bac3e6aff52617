"""What a single file is, by its own marks: safetensors, or one of the forms of torch.save."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from checkpoint_folder.words import shown
from checkpoint_formats.folder_parts import Part
from checkpoint_formats.found import UNKNOWN, Found
from tensor_reading.layout import LayoutError
from tensor_reading.safetensors_file import read_header
from torch_reading.file import EMPTY, OTHER, PICKLE, SCRIPT, TAR, ZIP, TorchFile, form, open_torch_file
from torch_reading.pickle_values import Pairs, PickleError
from torch_reading.zip_archive import begins_like_torch


def recognise_file(path: Path) -> Found:
    part = (Part.of(path, path.parent),)
    try:
        header = read_header(path)
        evidence = (f"a safetensors header that fits the file: {len(header.tensors)} tensors",)
        return Found(path, "safetensors", evidence, part)
    except LayoutError as error:
        if path.suffix == ".safetensors":
            return Found(
                path, UNKNOWN, (f"named .safetensors, but {error}",), part, named_like="safetensors", problem=str(error)
            )
    found = form(path)
    if found == OTHER:
        return Found(path, UNKNOWN, ("its first bytes are no known format's",), part, named_like=_by_suffix(path))
    if found == EMPTY:
        return Found(path, UNKNOWN, ("an empty file",), part, named_like=_by_suffix(path), problem="an empty file")
    if found == TAR:
        return Found(path, "torch-tar", ("a tar archive, as torch wrote before 0.1.10",), part)
    return _torch_file(path, found, part)


def _by_suffix(path: Path) -> str | None:
    return {".pt": "torch", ".pth": "torch", ".bin": "torch", ".ckpt": "torch", ".safetensors": "safetensors"}.get(path.suffix)


def _torch_file(path: Path, found: str, part: tuple[Part, ...]) -> Found:
    try:
        opened = open_torch_file(path)
    except (LayoutError, PickleError) as error:
        with path.open("rb") as file:
            torchs_own = found not in (ZIP, PICKLE) or begins_like_torch(file.read(512))
        if torchs_own:
            marks = ("begins as torch.save begins a file",)
            return Found(path, found, marks, part, problem=str(error), suspicions=tuple(error.suspicions))
        words = "a zip archive" if found == ZIP else "begins like a pickle"
        like = "torch" if _by_suffix(path) else None
        named = tuple(error.suspicions)
        return Found(path, UNKNOWN, (f"{words}, but {error}",), part, named_like=like, problem=str(error), suspicions=named)
    if opened.form == SCRIPT:
        return Found(path, SCRIPT, ("a zip archive with code/ and constants.pkl: a program, not saved data",), part)
    found_as = _lightning(path, opened, part) or Found(path, opened.form, (_words(opened),), part)
    return replace(found_as, suspicions=tuple(opened.suspicions))


def _words(opened: TorchFile) -> str:
    root = opened.root
    keys = f", top level: {', '.join(shown(key, 40) for key in sorted(root.keys())[:8])}" if isinstance(root, Pairs) else ""
    storage = {
        "torch-zip": "a zip archive with data.pkl",
        "torch-legacy": "torch's magic number",
        PICKLE: "one pickle, no tensors",
    }
    return storage.get(opened.form, opened.form) + keys


def _lightning(path: Path, opened: TorchFile, part: tuple[Part, ...]) -> Found | None:
    root = opened.root
    version = root.get("pytorch-lightning_version") if isinstance(root, Pairs) else None
    if not isinstance(root, Pairs) or not isinstance(version, str):
        return None
    step = root.get("global_step")
    missing = tuple(f"key {key!r}" for key in ("epoch", "global_step", "state_dict") if root.get(key) is None)
    evidence = (f"pytorch-lightning_version {shown(version, 40)} in its pickle", f"keys: {', '.join(sorted(root.keys())[:12])}")
    told = type(step) is int
    return Found(
        path, "lightning", evidence, part, missing, step if told else None, "global_step in the file" if told else None
    )
