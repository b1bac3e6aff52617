"""The tensors of a checkpoint of any format: whole ones, assembled from the blocks in which they lie."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import trainyard_shell as shell
from checkpoint_folder.words import shown
from checkpoint_format import read_json
from checkpoint_formats.file_kinds import Found
from tensor_reading.layout import LayoutError, Tensor, numbers, uncovered
from tensor_reading.safetensors_file import SafetensorsFile, read_header
from torch_reading.file import open_torch_file
from torch_reading.pickle_values import PickleError, Suspicion

PLAIN_FILES = ("torch-zip", "torch-legacy", "pickle", "lightning")


@dataclass
class TensorList:
    """What a checkpoint holds."""

    tensors: list[Tensor] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    """(name, kind) of what is no tensor."""
    suspicions: list[Suspicion] = field(default_factory=list)


def tensors_of(found: Found, *, located: bool = False) -> TensorList:
    """Every tensor; `located`: with the byte positions of its blocks. Raises LayoutError, PickleError, OSError or SkillError."""
    path = found.path
    if found.kind == "safetensors":
        return TensorList(list(read_header(path).tensors.values()))
    if found.kind in PLAIN_FILES:
        return _torch(path)
    if found.kind == "dcp":
        return _dcp(path, located)
    if found.kind == "trainyard-step":
        manifest = read_json(path / "manifest.json")
        names = sorted(name for name in manifest["files"] if name.endswith(".safetensors"))
        return TensorList(_assembled([read_header(path / name) for name in names], manifest["tensors"]))
    if found.kind == "trainyard-checkpoints":
        return tensors_of(newest_inside(found), located=located)
    if found.kind in ("dcp-safetensors", "huggingface"):
        weights = [part.name for part in found.parts if part.format == "safetensors"]
        return TensorList(_assembled([read_header(path / name) for name in weights], None))
    if found.kind in ("huggingface-bin", "deepspeed", "hf-trainer"):
        return _several(found, located)
    raise shell.SkillError(
        "usage",
        f"{shown(str(path))} is {_what(found)}: there is no one list of tensors",
        hint=f"manage_checkpoints.py inspect {shown(str(path))}",
    )


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
    together = TensorList()
    weights = [part for part in found.parts if part.role == "weights"]
    chosen = [part for part in found.parts if part.format in ("torch", "safetensors")] if found.kind == "deepspeed" else weights
    for part in chosen:
        path = found.path / part.name
        one = TensorList(list(read_header(path).tensors.values())) if part.format == "safetensors" else _torch(path)
        front = f"{part.name}:" if found.kind == "deepspeed" else ""
        together.tensors += [replace(tensor, name=front + tensor.name) for tensor in one.tensors]
        together.others += [(front + name, kind) for name, kind in one.others]
        together.suspicions += one.suspicions
    for inside in found.inside:
        one = tensors_of(inside, located=located)
        together.tensors += [replace(tensor, name=f"{inside.path.name}/{tensor.name}") for tensor in one.tensors]
        together.others += [(f"{inside.path.name}/{name}", kind) for name, kind in one.others]
    return together


def _assembled(files: list[SafetensorsFile], listed: dict[str, dict[str, object]] | None) -> list[Tensor]:
    """Blocks of one name as one tensor, its shape from `listed` or else from where its blocks end."""
    parts: dict[str, list[Tensor]] = {}
    for file in files:
        for name, tensor in file.tensors.items():
            block = tensor.blocks[0]
            parts.setdefault(name, []).append(
                replace(tensor, blocks=(replace(block, offsets=file.offsets.get(name, block.offsets)),))
            )
    tensors = []
    for name, found in parts.items():
        blocks = tuple(tensor.blocks[0] for tensor in found)
        if len({(tensor.dtype, len(tensor.shape)) for tensor in found}) > 1:
            raise LayoutError(f"{name[:100]}: its blocks are of several dtypes or ranks")
        ends = [tuple(at + size for at, size in zip(block.offsets, block.shape, strict=True)) for block in blocks]
        shape = (
            numbers(listed[name]["shape"])
            if listed and name in listed
            else tuple(map(max, *ends))
            if len(ends) > 1
            else ends[0]
        )
        tensors.append(Tensor(name, found[0].dtype, shape, blocks))
    return tensors


def readable(found: Found) -> TensorList:
    """Tensors whose values can be read, every one of them whole. SkillError says what is damaged."""
    try:
        listed = tensors_of(found, located=True)
        problem = next((problem for tensor in listed.tensors if tensor.blocks and (problem := uncovered(tensor))), None)
        if problem is None:
            return listed
    except (LayoutError, PickleError) as error:
        problem = str(error)
    except OSError as error:
        problem = f"{shown(str(error.filename))}: {error.strerror}"
    where = shown(str(found.path))
    raise shell.SkillError("usage", f"{where} is damaged: {problem}", hint=f"manage_checkpoints.py verify {where}")
