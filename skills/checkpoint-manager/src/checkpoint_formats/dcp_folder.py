"""A folder of torch.distributed.checkpoint: `.metadata` (a pickle, read as data) and `__<rank>_<n>.distcp` files of archives."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from tensor_reading.layout import TORCH_DTYPES, Block, LayoutError, NotReadError, Tensor, UnsafeError, numbers, uncovered
from torch_reading.file import FileVerdict, is_zip, open_torch_file, verify_torch_file
from torch_reading.pickle_names import Suspicion
from torch_reading.pickle_reader import read_pickle
from torch_reading.pickle_values import Call, Global, Pairs, PickleError, TooLargeError

METADATA = ".metadata"
DATA_SUFFIX = ".distcp"
_PLAIN = re.compile(r"[\w.@%+=,-]+(?:/[\w.@%+=,-]+)*")
Place = tuple[str, tuple[int, ...] | None]
"""(name, offsets) of a block; None for what is no tensor."""


@dataclass(frozen=True)
class Entry:
    """Where one item lies: a torch.save archive of `length` bytes, `begin` bytes into a file of the folder."""

    file: str
    begin: int
    length: int
    packed: bool
    """Transformed by an extension (compressed, say): its bytes cannot be judged here."""


@dataclass(frozen=True)
class DcpFolder:
    """`.metadata` as data."""

    path: Path
    tensors: dict[str, Tensor] = field(repr=False)
    """Whole tensors; the blocks name the places without a byte position: see `located`."""
    others: list[str] = field(repr=False)
    entries: dict[Place, Entry] = field(repr=False)
    suspicions: list[Suspicion]

    @cached_property
    def by_file(self) -> dict[str, list[tuple[Place, Entry]]]:
        """Each data file with what lies in it."""
        found: dict[str, list[tuple[Place, Entry]]] = {}
        for place, entry in self.entries.items():
            found.setdefault(entry.file, []).append((place, entry))
        return found


def read_dcp(path: Path) -> DcpFolder:
    """Read `.metadata` without unpickling. Raises LayoutError, PickleError or OSError."""
    with (path / METADATA).open("rb") as file:
        reading = read_pickle(file)
    if (path / METADATA).stat().st_size != reading.size_bytes:
        raise LayoutError(f"bytes follow the end of {METADATA}")
    root = reading.value
    state = root.state if isinstance(root, Call) and root.of("torch.distributed.checkpoint.metadata.Metadata") else None
    listed, storage = (
        (state.get("state_dict_metadata"), state.get("storage_data")) if isinstance(state, Pairs) else (None, None)
    )
    if not isinstance(listed, Pairs) or not isinstance(storage, Pairs):
        raise LayoutError(f"{METADATA} holds no description of a checkpoint")
    tensors, others = dict[str, Tensor](), list[str]()
    seen: set[str] = set()
    for name, entry in listed.items:
        if not isinstance(name, str):
            raise LayoutError(f"{METADATA} has a name that is no text")
        if name in seen:
            raise LayoutError(f"{METADATA} describes {name[:100]} twice")
        seen.add(name)
        tensor = _tensor(path, name, entry)
        if tensor:
            tensors[name] = tensor
        else:
            others.append(name)
    entries = [_entry(*pair) for pair in storage.items]
    if len(dict(entries)) != len(entries):
        raise LayoutError(f"{METADATA} places a block twice")
    return DcpFolder(path, tensors, others, dict(entries), reading.suspicions)


def _field(call: Any, name: str) -> Any:
    return call.state.get(name) if isinstance(call, Call) and isinstance(call.state, Pairs) else None


def _size(value: Any) -> tuple[int, ...]:
    return numbers(value.args[0] if isinstance(value, Call) and value.of("torch.Size") and value.args else value)


def _tensor(path: Path, name: str, entry: Any) -> Tensor | None:
    """The tensor of an entry, None for one that holds bytes."""
    chunks, properties = _field(entry, "chunks"), _field(entry, "properties")
    if not isinstance(chunks, list):
        return None
    state = properties.state if isinstance(properties, Call) else None
    dtype = state[0] if isinstance(state, tuple) and state else _field(properties, "dtype")
    named = TORCH_DTYPES.get(dtype.name) if isinstance(dtype, Global) else None
    blocks = tuple(Block(path, 0, _size(_field(each, "sizes")), _size(_field(each, "offsets"))) for each in chunks)
    shape = _size(_field(entry, "size"))
    note = None if named else "of a type that has no name in safetensors: its values are not read here"
    return Tensor(name, named or "?", shape, blocks if named else (), note)


def _entry(index: Any, info: Any) -> tuple[Place, Entry]:
    name, offset = _field(index, "fqn"), _field(index, "offset")
    file, begin, length = (_field(info, key) for key in ("relative_path", "offset", "length"))
    if not isinstance(name, str) or not isinstance(file, str) or not _PLAIN.fullmatch(file) or ".." in file.split("/"):
        raise LayoutError(f"{METADATA} names a file outside of the folder, or none: {str(file)[:100]!r}")
    begin, length = numbers([begin, length])
    packed = bool(_field(info, "transform_descriptors"))
    return (name, None if offset is None else _size(offset)), Entry(file, begin, length, packed)


def located(folder: DcpFolder, tensor: Tensor) -> Tensor:
    """The tensor with the byte positions of its blocks: opens one archive a block. Raises LayoutError, PickleError, OSError."""
    blocks = []
    for block in tensor.blocks:
        entry = folder.entries.get((tensor.name, block.offsets))
        if entry is None or entry.packed:
            raise LayoutError(f"{tensor.name}: a block of it is {'packed by an extension' if entry else 'nowhere'}")
        (saved,) = _archive_tensors(folder.path / entry.file, entry)
        _same_block(tensor, block, saved)
        blocks.append(replace(saved.blocks[0], offsets=block.offsets))
    return replace(tensor, blocks=tuple(blocks))


def _archive_tensors(path: Path, entry: Entry) -> list[Tensor]:
    if entry.begin + entry.length > path.stat().st_size:
        raise LayoutError(
            f"{path.name}: {path.stat().st_size} bytes, {METADATA} places data up to {entry.begin + entry.length}"
        )
    file = open_torch_file(path, entry.begin, entry.length)
    if code := next((each for each in file.suspicions if each.runs_code), None):
        raise UnsafeError(f"{path.name}: a pickle in it names {code.name}: {code.why}; nothing was run")
    found = file.contents().tensors
    if len(found) != 1 or not found[0].blocks:
        raise LayoutError(f"{path.name}: no tensor at byte {entry.begin}")
    return found


def _same_block(tensor: Tensor, block: Block, saved: Tensor) -> None:
    if (saved.dtype, saved.shape) != (tensor.dtype, block.shape):
        raise LayoutError(
            f"{tensor.name}: the block at {list(block.offsets)} is {saved.dtype}{list(saved.shape)}, "
            f"{METADATA} says {tensor.dtype}{list(block.shape)}"
        )


def verify_file(folder: DcpFolder, name: str) -> FileVerdict:
    """One data file: every item of it inside the file, its CRC-32 right, its tensor the one that `.metadata` describes."""
    path, read, suspicions, packed = folder.path / name, 0, list[Suspicion](), 0
    for (tensor_name, offsets), entry in folder.by_file.get(name, []):
        if entry.packed:
            packed += 1
            continue
        verdict = _verify_entry(folder, path, tensor_name, offsets, entry)
        read += verdict.bytes_read
        suspicions += verdict.suspicions
        if verdict.status != "pass":
            problem = f"{tensor_name[:100]}: {verdict.problem}"
            return FileVerdict(verdict.status, problem, verdict.how, read, tuple(dict.fromkeys(suspicions)))
    if packed:
        return FileVerdict(
            "unknown", f"{packed} items are packed by an extension", "crc32", read, tuple(dict.fromkeys(suspicions))
        )
    return FileVerdict("pass", None, "crc32", read, tuple(dict.fromkeys(suspicions)))


def _verify_entry(folder: DcpFolder, path: Path, name: str, offsets: tuple[int, ...] | None, entry: Entry) -> FileVerdict:
    try:
        if not path.is_file():
            return FileVerdict("fail", "missing")
        size = path.stat().st_size
        if entry.begin + entry.length > size:
            return FileVerdict(
                "fail", f"{METADATA} places it at {entry.begin} to {entry.begin + entry.length}, the file has {size}"
            )
        with path.open("rb") as file:
            file.seek(entry.begin)
            if not is_zip(file.read(4)):
                if name in folder.tensors:
                    return FileVerdict("fail", f"no archive of torch.save at byte {entry.begin}")
                return _not_torchs(path, entry)
        verdict = verify_torch_file(path, entry.begin, entry.length)
        tensor = folder.tensors.get(name)
        if verdict.status == "pass" and tensor is not None and tensor.blocks:
            block = next((each for each in tensor.blocks if each.offsets == offsets), None)
            if block is None:
                return FileVerdict("fail", f"{METADATA} has no block of it at {list(offsets or ())}")
            _same_block(tensor, block, _archive_tensors(path, entry)[0])
        return verdict
    except (TooLargeError, NotReadError) as error:
        return FileVerdict("unknown", str(error))
    except (LayoutError, PickleError) as error:
        return FileVerdict("fail", str(error))
    except FileNotFoundError:
        return FileVerdict("fail", "missing")
    except OSError as error:
        return FileVerdict("unknown", f"cannot be read: {error.strerror}")


def _not_torchs(path: Path, entry: Entry) -> FileVerdict:
    """An item in another form: its bytes cannot be compared, and what it names as a pickle is said."""
    with path.open("rb") as file:
        file.seek(entry.begin)
        try:
            named = tuple(read_pickle(file, limit_bytes=entry.length).suspicions)
        except PickleError as error:
            named = tuple(each for each in error.suspicions if each.runs_code)
    return FileVerdict("unknown", "not written by torch.save: nothing to compare its bytes with", suspicions=named)


def incomplete(folder: DcpFolder) -> list[str]:
    """What `.metadata` itself leaves open: tensors whose blocks do not make them up, blocks that lie nowhere."""
    problems = [problem for tensor in folder.tensors.values() if tensor.blocks and (problem := uncovered(tensor))]
    for tensor in folder.tensors.values():
        nowhere = [block for block in tensor.blocks if (tensor.name, block.offsets) not in folder.entries]
        problems += [f"{tensor.name}: the block at {list(block.offsets)} lies in no file" for block in nowhere]
    return problems
