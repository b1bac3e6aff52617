"""The files that checkpoint folders are made of: their names, those that an index lists, and those that a series lacks."""

from __future__ import annotations

import errno
import re
import stat
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import shown
from checkpoint_format import read_json
from checkpoint_formats.file_kinds import Part
from checkpoint_formats.other_formats import stands_in
from tensor_reading.layout import LayoutError
from torch_reading.file import open_torch_file
from torch_reading.pickle_values import Pairs, PickleError

MAX_NAMES = 200_000
MAX_INDEX_BYTES = 64 << 20
MAX_POINTER_BYTES = 1024
"""A pointer of git-lfs is three short lines."""
_STEP_IN_NAME = re.compile(r"(?:step[_=-]?|global_step|checkpoint-|iter[_-]?)(\d{1,18})\b")
_OF = re.compile(r"(.+-)(\d{5})-of-(\d{5})(\.[a-z]+)", re.ASCII)
_DEEPSPEED = re.compile(
    r"(?:bf16_|fp16_)?zero_pp_rank_(?P<dp>\d+)_mp_rank_(?P<mp>\d+)_(?P<zero>model|optim)_states\.pt"
    r"|mp_rank_(?P<model>\d+)_model_states\.pt|layer_\d+-model_\d+-model_states\.pt|(?:layer_\d+_)?expert_\d+_mp_rank_\d+_\w+_states\.pt",
    re.ASCII,
)


def names_in(path: Path) -> set[str]:
    names: set[str] = set()
    for entry in path.iterdir():
        names.add(entry.name)
        if len(names) > MAX_NAMES:
            raise shell.SkillError("usage", f"{shown(str(path))} holds more than {MAX_NAMES} names", hint="give one checkpoint")
    return names


def absent_in(folder: Path, names: set[str]) -> dict[str, str]:
    """Names that are there without the file: a link to nothing, a pointer to a file that nobody fetched, a pipe -> why."""
    absent = {}
    for name in names:
        path = folder / name
        try:
            status = path.stat()
            if stat.S_ISREG(status.st_mode) and 0 < status.st_size <= MAX_POINTER_BYTES:
                if why := stands_in(path.read_bytes()):
                    absent[name] = why
            elif not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
                absent[name] = "not a regular file"
        except FileNotFoundError:
            if path.is_symlink():
                absent[name] = "a link to nothing"
        except OSError as error:
            if error.errno == errno.ELOOP:
                absent[name] = "a link to itself"
    return absent


def step_by_name(path: Path) -> dict[str, Any]:
    match = _STEP_IN_NAME.search(path.name)
    return {"step": int(match[1]), "step_from": "the folder's name"} if match else {}


def parts_of(folder: Path, names: list[str]) -> list[Part]:
    return [Part.of(folder / name, folder) for name in names]


def weight_map(index: Path) -> dict[str, str]:
    """Tensor name -> file name, from a Hugging Face index. Raises LayoutError or OSError."""
    try:
        value = read_json(index, MAX_INDEX_BYTES)
        listed: Any = value["weight_map"]
        if not all(isinstance(key, str) and isinstance(name, str) for key, name in listed.items()):
            raise TypeError
    except (ValueError, KeyError, TypeError, AttributeError):
        raise LayoutError("no table weight_map in it") from None
    if outward := next((name for name in listed.values() if "/" in name or "\\" in name or name in ("", ".", "..")), None):
        raise LayoutError(f"it names a file outside of the folder: {outward[:100]!r}")
    return dict(listed)


def series_of(name: str) -> str:
    """What a shard is a shard of: `model-*-of-00003.safetensors`; the name itself where it is no shard."""
    match = _OF.fullmatch(name)
    return f"{match[1]}*-of-{match[3]}{match[4]}" if match else name


def numbered_gaps(names: set[str]) -> list[str]:
    """Missing numbers in series of files: `model-00002-of-00003`, `rng_state_1.pth`."""
    series: dict[tuple[str, str, str], set[int]] = {}
    for name in names:
        if match := _OF.fullmatch(name):
            series.setdefault((match[1], match[3], match[4]), set()).add(int(match[2]))
    missing = [
        f"{prefix}{number:05d}-of-{total}{suffix}"
        for (prefix, total, suffix), numbers in sorted(series.items())
        for number in range(1, int(total) + 1)
        if number not in numbers
    ]
    ranks = {int(match[1]) for name in names if (match := re.fullmatch(r"rng_state_(\d{1,5})\.pth", name))}
    missing += [f"rng_state_{rank}.pth" for rank in range(max(ranks, default=0)) if rank not in ranks]
    return missing[:1000]


# --- DeepSpeed ---------------------------------------------------------------------------------------------------


def is_deepspeed_file(name: str) -> bool:
    return _DEEPSPEED.fullmatch(name) is not None


def deepspeed_missing(folder: Path, files: list[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(files of ranks that should be there and are not, evidence). The world size stands in a model file."""
    matches = {name: match for name in files if (match := _DEEPSPEED.fullmatch(name))}
    told = _told(folder, files)
    model_ranks = {int(match["model"]) for match in matches.values() if match["model"]}
    evidence = [f"{len(files)} files of DeepSpeed's names"]
    expected: set[str] = set()
    for zero in ("optim", "model"):
        ranks = [(name, int(m["dp"]), int(m["mp"])) for name, m in matches.items() if m["zero"] == zero]
        if ranks:
            prefix = ranks[0][0].partition("zero_pp_rank_")[0]
            data_ranks = max(max(dp for _, dp, _ in ranks) + 1, told.get("dp_world_size", 0))
            model_size = max(max(mp for *_, mp in ranks) + 1, told.get("mp_world_size", 0))
            expected |= {
                f"{prefix}zero_pp_rank_{dp}_mp_rank_{mp:02d}_{zero}_states.pt"
                for dp in range(data_ranks)
                for mp in range(model_size)
            }
    if model_ranks or not any(match["zero"] == "model" for match in matches.values()):
        size = max(max(model_ranks, default=0) + 1, told.get("mp_world_size", 0))
        expected |= {f"mp_rank_{rank:02d}_model_states.pt" for rank in range(size)}
    if told:
        evidence.append(", ".join(f"{key} {value}" for key, value in sorted(told.items())) + " in a model file")
    else:
        evidence.append("no model file tells the world size: missing last ranks would not be noticed")
    return tuple(sorted(expected - set(files)))[:1000], tuple(evidence)


def _told(folder: Path, files: list[str]) -> dict[str, int]:
    """dp_world_size and mp_world_size as a model file tells them; {} where none can be read."""
    root = _model_root(folder, files)
    sizes = {key: root.get(key) for key in ("dp_world_size", "mp_world_size")} if root else {}
    return {key: size for key, size in sizes.items() if type(size) is int and 0 < size <= 100_000}


def deepspeed_step(folder: Path, files: list[str]) -> tuple[int | None, str | None]:
    root = _model_root(folder, files)
    step = root.get("global_steps") if root else None
    return (step, "global_steps in a model file") if type(step) is int else (None, None)


def _model_root(folder: Path, files: list[str]) -> Pairs | None:
    for name in files:
        if name.endswith("_model_states.pt") and not name.startswith(("layer_", "expert_")):
            try:
                root = open_torch_file(folder / name).root
            except (LayoutError, PickleError, OSError):
                continue
            if isinstance(root, Pairs):
                return root
    return None
