"""The tensors of a checkpoint of any format: whole ones, assembled from the blocks in which they lie."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import shown
from checkpoint_format import ANY_RUN, DamagedError, read_manifest
from checkpoint_formats.file_kinds import Found
from checkpoint_formats.folder_parts import series_of
from tensor_reading.layout import LayoutError, NotReadError, Tensor, UnsafeError, numbers, uncovered
from tensor_reading.safetensors_file import SafetensorsFile, read_header
from torch_reading.file import open_torch_file
from torch_reading.pickle_names import Suspicion
from torch_reading.pickle_values import PickleError, TooLargeError

PLAIN_FILES = ("torch-zip", "torch-legacy", "pickle", "lightning")


@dataclass
class TensorList:
    """What a checkpoint holds."""

    tensors: Collection[Tensor] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    """(name, kind) of what is no tensor."""
    suspicions: list[Suspicion] = field(default_factory=list)


def tensors_of(found: Found, *, located: bool = False) -> TensorList:
    """Every tensor; `located`: with the byte positions of its blocks. Raises LayoutError, PickleError, OSError or SkillError."""
    path = found.path
    if found.kind == "safetensors":
        return TensorList(read_header(path).tensors.values())
    if found.kind in PLAIN_FILES:
        return _torch(path)
    if found.kind == "dcp":
        return _dcp(path, located)
    if found.kind == "trainyard-step":
        manifest = _manifest(path)
        names = sorted(name for name in manifest["files"] if name.endswith(".safetensors"))
        return TensorList(_assembled((read_header(path / name) for name in names), manifest["tensors"]))
    if found.kind == "trainyard-checkpoints":
        return tensors_of(newest_inside(found), located=located)
    if found.kind in ("dcp-safetensors", "huggingface"):
        weights = [part.name for part in found.parts if part.format == "safetensors"]
        return TensorList(_assembled((read_header(path / name) for name in weights), None))
    if found.kind in ("huggingface-bin", "deepspeed", "hf-trainer"):
        return _several(found, located)
    raise shell.SkillError(
        "usage",
        f"{shown(str(path))} is {_what(found)}: there is no one list of tensors",
        hint=f"manage_checkpoints.py inspect {shown(str(path))}",
    )


def _manifest(path: Path) -> dict[str, Any]:
    try:
        return read_manifest(path.resolve(), ANY_RUN)
    except DamagedError as error:
        raise LayoutError(str(error)) from None


def newest_inside(found: Found) -> Found:
    """The newest step of a Trainyard folder; anything else is itself."""
    return max(found.inside, key=lambda each: each.step or 0) if found.kind == "trainyard-checkpoints" else found


def _what(found: Found) -> str:
    if found.inside:
        return (
            f"a folder of {len(found.inside)} checkpoints ({', '.join(shown(each.path.name, 60) for each in found.inside[:5])})"
        )
    return f"of the kind `{found.kind}`"


def _torch(path: Path) -> TensorList:
    file = open_torch_file(path)
    found = file.contents()
    return TensorList(found.tensors, found.others, file.suspicions)


def _dcp(path: Path, with_places: bool) -> TensorList:
    from checkpoint_formats.dcp_folder import located, read_dcp

    folder = read_dcp(path)
    tensors = [located(folder, tensor) if with_places and tensor.blocks else tensor for tensor in folder.tensors.values()]
    return TensorList(tensors, [(name, "bytes") for name in folder.others], folder.suspicions)


def _several(found: Found, located: bool) -> TensorList:
    """Files that do not share names: each one's tensors, with the file's name in front where there are several of weights."""
    together, tensors = TensorList(), list[Tensor]()
    weights = [part for part in found.parts if part.role == "weights"]
    chosen = [part for part in found.parts if part.format in ("torch", "safetensors")] if found.kind == "deepspeed" else weights
    for part in chosen:
        path = found.path / part.name
        one = TensorList(read_header(path).tensors.values()) if part.format == "safetensors" else _torch(path)
        front = f"{part.name}:" if found.kind == "deepspeed" else ""
        tensors += [replace(tensor, name=front + tensor.name) for tensor in one.tensors]
        together.others += [(front + name, kind) for name, kind in one.others]
        together.suspicions += one.suspicions
    for inside in found.inside:
        one = tensors_of(inside, located=located)
        tensors += [replace(tensor, name=f"{inside.path.name}/{tensor.name}") for tensor in one.tensors]
        together.others += [(f"{inside.path.name}/{name}", kind) for name, kind in one.others]
        together.suspicions += one.suspicions
    together.tensors = tensors
    return together


def _assembled(files: Iterable[SafetensorsFile], listed: dict[str, dict[str, object]] | None) -> list[Tensor]:
    """Blocks of one name as one tensor, its shape from `listed` or else from where its blocks end."""
    parts: dict[str, list[Tensor]] = {}
    held_by: dict[str, str] = {}
    for file in files:
        for name, tensor in file.tensors.items():
            if name not in file.offsets and name in held_by:
                _refuse_two(name, held_by[name], file.path.name)
            held_by[name] = file.path.name
            blocks = tuple(replace(block, offsets=file.offsets.get(name, block.offsets)) for block in tensor.blocks)
            parts.setdefault(name, []).append(replace(tensor, blocks=blocks))
    return [_joined(name, found, (listed or {}).get(name)) for name, found in parts.items()]


def _refuse_two(name: str, first: str, second: str) -> None:
    """Raises LayoutError for two shards of one series, SkillError for two files that are not meant to be one."""
    if series_of(first) == series_of(second):
        raise LayoutError(f"{name[:100]} is there twice: in {first} and in {second}")
    what = f"{shown(first)} and {shown(second)} both hold {shown(name)}"
    raise shell.SkillError("usage", what, hint="they are not one checkpoint: give one of the files")


def _joined(name: str, found: list[Tensor], listed: dict[str, Any] | None) -> Tensor:
    if len({(tensor.dtype, len(tensor.shape)) for tensor in found}) > 1:
        raise LayoutError(f"{name[:100]}: its blocks are of several dtypes or ranks")
    if any(not tensor.blocks for tensor in found):
        return found[0]
    blocks = tuple(tensor.blocks[0] for tensor in found)
    ends = [tuple(at + size for at, size in zip(block.offsets, block.shape, strict=True)) for block in blocks]
    shape = numbers(listed["shape"]) if listed else tuple(map(max, *ends)) if len(ends) > 1 else ends[0]
    return Tensor(name, found[0].dtype, shape, blocks)


def readable(found: Found) -> TensorList:
    """Tensors whose values can be read, every one of them whole. SkillError says what is damaged, or that a pickle names code."""
    listed = listed_tensors(found, located=True)
    problem = next((problem for tensor in listed.tensors if tensor.blocks and (problem := uncovered(tensor))), None)
    if problem:
        raise _refused(found, "is damaged", problem)
    return listed


def listed_tensors(found: Found, *, located: bool = False) -> TensorList:
    """tensors_of, with a SkillError for what it raises and for a pickle that names code: nobody should go on with such a file."""
    try:
        listed = tensors_of(found, located=located)
    except (TooLargeError, NotReadError) as error:
        raise _refused(found, "is not read", str(error)) from error
    except UnsafeError as error:
        raise _refused(found, "is not safe to load", str(error)) from error
    except (LayoutError, PickleError, ValueError) as error:
        named = next((each for each in getattr(error, "suspicions", ()) if each.runs_code), None)
        more = f"; its pickle names {named.name}: {named.why}" if named else ""
        raise _refused(found, "is damaged", f"{error}{more}") from error
    except OSError as error:
        name = shown(str(error.filename or found.path))
        if isinstance(error, FileNotFoundError):
            raise _refused(found, "is damaged", f"{name}: missing") from error
        raise shell.SkillError("permission", f"{name}: {error.strerror}", hint="read the files as their owner") from error
    if code := next((each for each in listed.suspicions if each.runs_code), None):
        raise _refused(found, "is not safe to load", f"its pickle names {code.name}: {code.why}; nothing was run")
    return listed


def _refused(found: Found, what: str, problem: str) -> shell.SkillError:
    where = shown(str(found.path))
    text = shell.clean(f"{where} {what}: {problem}", 600)
    return shell.SkillError("usage", text, hint=f"manage_checkpoints.py verify {where}")
