"""What a single file is, by its own marks (safetensors, or one of the forms of torch.save), and what it is to a checkpoint, by its name."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import shown
from checkpoint_formats.other_formats import other_format
from tensor_reading.layout import LayoutError, NotReadError
from torch_reading.file import EMPTY, OTHER, PICKLE, SCRIPT, TAR, ZIP, FileVerdict, TorchFile, form, open_torch_file
from torch_reading.pickle_names import Suspicion
from torch_reading.pickle_values import Pairs, PickleError, TooLargeError

UNKNOWN = "unknown"
NOT_READ = "the tar form of torch before 0.1.10: its pickles are judged by name, its tensors are not read here"
_ROLES = (
    (re.compile(r"zero_pp_rank_\d+_mp_rank_\d+_optim_states\.pt$"), "optimizer"),
    (re.compile(r"_model_states\.pt$"), "weights"),
    (re.compile(r"\.index\.json$"), "index"),
    (re.compile(r"\.safetensors$|^pytorch_model.*\.bin$|^adapter_model.*\.bin$"), "weights"),
    (re.compile(r"^optimizer.*\.(pt|bin)$"), "optimizer"),
    (re.compile(r"^scheduler.*\.(pt|bin)$"), "scheduler"),
    (re.compile(r"^scaler.*\.pt$"), "scaler"),
    (re.compile(r"^rng_state.*\.pth$|^random_states_\d+\.pkl$"), "random state"),
    (re.compile(r"^training_args\.bin$"), "arguments"),
    (re.compile(r"^trainer_state\.json$|^state\.json$"), "state"),
    (re.compile(r"\.distcp$"), "data of one rank"),
    (re.compile(r"^latest$"), "pointer"),
    (re.compile(r"^\.metadata$|^manifest\.json$"), "index"),
    (re.compile(r"\.json$"), "configuration"),
    (re.compile(r"\.(pt|pth|ckpt|bin)$"), "data"),
)
_TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt", ".pkl")


@dataclass(frozen=True)
class Part:
    """One file of a checkpoint."""

    name: str
    role: str
    format: str
    """safetensors | torch | json | dcp | other: how it can be verified."""
    size_bytes: int | None

    @staticmethod
    def of(path: Path, folder: Path) -> Part:
        role = next((role for pattern, role in _ROLES if pattern.search(path.name)), "other")
        size = path.stat().st_size if path.is_file() else None
        return Part(str(path.relative_to(folder)), role, _format(path.name), size)


def _format(name: str) -> str:
    if name.endswith(".safetensors"):
        return "safetensors"
    if name.endswith(_TORCH_SUFFIXES):
        return "torch"
    if name.endswith(".json"):
        return "json"
    return "dcp" if name.endswith(".distcp") or name == ".metadata" else "other"


@dataclass(frozen=True)
class PartVerdict:
    """The answer for one part, named from the path that was asked about."""

    name: str
    role: str
    answer: FileVerdict

    def row(self) -> dict[str, Any]:
        return {
            "part": shell.clean(self.name, 300),
            "role": self.role,
            "status": self.answer.status,
            "compared": self.answer.how,
            "bytes_read": self.answer.bytes_read,
            "problem": shell.clean(self.answer.problem, 400) if self.answer.problem else None,
        }


@dataclass(frozen=True)
class Found:
    """The answer for one path."""

    path: Path
    kind: str
    evidence: tuple[str, ...]
    parts: tuple[Part, ...] = ()
    missing: tuple[str, ...] = ()
    step: int | None = None
    step_from: str | None = None
    named_like: str | None = None
    """For `unknown`: the format that its name or first bytes remind of."""
    problem: str | None = None
    problem_status: str = "fail"
    """fail, or unknown where it is only more than is read here."""
    suspicions: tuple[Suspicion, ...] = ()
    """Names in a single file's pickle that are not known to be harmless."""
    inside: tuple[Found, ...] = field(default=(), repr=False)
    """Checkpoints that lie in this folder."""

    @property
    def size_bytes(self) -> int:
        return sum(part.size_bytes or 0 for part in self.parts) + sum(each.size_bytes for each in self.inside)


def problem_of(error: Exception) -> dict[str, Any]:
    """The members of Found that an error of a reader fills."""
    status = "unknown" if isinstance(error, NotReadError | TooLargeError) else "fail"
    return {"problem": str(error), "problem_status": status}


def recognise_file(path: Path) -> Found:
    part = (Part.of(path, path.parent),)
    if other := other_format(path):
        problem = other.evidence if other.stands_in else None
        named, unread = _named_in_arrays(path) if other.like in ("npy", "npz") else ((), None)
        evidence = (other.evidence, *([f"what its arrays name was not all read: {unread}"] if unread else []))
        return Found(path, UNKNOWN, evidence, part, named_like=other.like, problem=problem, suspicions=named)
    if (path.suffix == ".safetensors" or _may_have_header(path)) and (safetensors := _safetensors(path, part)):
        return safetensors
    found = form(path)
    if found == OTHER:
        return Found(path, UNKNOWN, ("its first bytes are no known format's",), part, named_like=_by_suffix(path))
    if found == EMPTY:
        return Found(path, UNKNOWN, ("an empty file",), part, named_like=_by_suffix(path), problem="an empty file")
    if found == TAR:
        from torch_reading.tar_form import names_in_tar

        evidence = ("a tar archive with storages, tensors and pickle, as torch wrote before 0.1.10",)
        return Found(
            path, "torch-tar", evidence, part, problem=NOT_READ, problem_status="unknown", suspicions=names_in_tar(path)[0]
        )
    return _torch_file(path, found, part)


def _named_in_arrays(path: Path) -> tuple[tuple[Suspicion, ...], str | None]:
    from checkpoint_formats.numpy_files import names_in_arrays

    return names_in_arrays(path)


def _may_have_header(path: Path) -> bool:
    """Could its first eight bytes be the length of a safetensors header? Those of torch's files are larger than any file."""
    with path.open("rb") as file:
        return int.from_bytes(file.read(8), "little") < path.stat().st_size


def _safetensors(path: Path, part: tuple[Part, ...]) -> Found | None:
    from tensor_reading.safetensors_file import read_header

    try:
        header = read_header(path)
    except LayoutError as error:
        if path.suffix != ".safetensors":
            return None
        if isinstance(error, NotReadError):
            return Found(path, "safetensors", ("a safetensors header",), part, **problem_of(error))
        return Found(path, UNKNOWN, (f"named .safetensors, but {error}",), part, named_like="safetensors", problem=str(error))
    return Found(path, "safetensors", (f"a safetensors header that fits the file: {len(header.tensors)} tensors",), part)


def _by_suffix(path: Path) -> str | None:
    return {".pt": "torch", ".pth": "torch", ".bin": "torch", ".ckpt": "torch", ".safetensors": "safetensors"}.get(path.suffix)


def _torch_file(path: Path, found: str, part: tuple[Part, ...]) -> Found:
    try:
        opened = open_torch_file(path)
    except (LayoutError, PickleError) as error:
        if found not in (ZIP, PICKLE) or (found == ZIP and _begins_like_torch(path)):
            marks = ("begins as torch.save begins a file",)
            return Found(path, found, marks, part, suspicions=tuple(error.suspicions), **problem_of(error))
        words = "a zip archive" if found == ZIP else "begins like a pickle"
        like = "torch" if _by_suffix(path) else None
        named = tuple(error.suspicions)
        return Found(path, UNKNOWN, (f"{words}, but {error}",), part, named_like=like, suspicions=named, **problem_of(error))
    if opened.form == SCRIPT:
        return Found(path, SCRIPT, ("a zip archive with code/ and constants.pkl: a program, not saved data",), part)
    found_as = _lightning(path, opened, part) or Found(path, opened.form, (_words(opened),), part)
    found_as = replace(found_as, suspicions=tuple(opened.suspicions))
    try:
        opened.contents()
    except (LayoutError, PickleError) as error:
        return replace(found_as, **problem_of(error))
    return found_as


def _begins_like_torch(path: Path) -> bool:
    from torch_reading.zip_archive import begins_like_torch

    with path.open("rb") as file:
        return begins_like_torch(file.read(512))


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
