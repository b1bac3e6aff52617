"""The checkpoint folder as bytes on disk: names, manifests, digests, tiers. Standard library only.

One file for two users: the runtime (`trainyard.checkpoint_format`) and the checkpoint-manager skill, which has a byte for byte
copy (`make kit`) and sends it into pods. The format is told in shared-docs/checkpoints.md.

Digests: xxh3-128 where the xxhash package is there, else CRC-32 (zlib's polynomial; `isal` computes the same value faster).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

try:
    import xxhash
except ImportError:  # the inspector must run in any image
    xxhash = None  # type: ignore[assignment,unused-ignore]
try:
    from isal.isal_zlib import crc32 as crc32_of
except ImportError:
    from zlib import crc32 as crc32_of

FORMAT = "trainyard-checkpoint"
VERSION = 1
MANIFEST, STATE, TIERS, LATEST, LOCK = "manifest.json", "state.json", "tiers.json", "latest", "lock.json"
READ_BYTES = 4 << 20
MAX_MANIFEST_BYTES = 128 << 20
"""No manifest is larger: a reader must not be made to parse any amount of garbage."""
ROLLING_REASONS = ("rolling", "stop", "final")

_STEP = re.compile(r"step_(\d{8,})", re.ASCII)
_TEMPORARY = re.compile(r"step_\d{8,}\.(e\d+|removed)\.tmp", re.ASCII)
_ASIDE = re.compile(r"(step_\d{8,})\.aside-e\d+(-\d+)?", re.ASCII)
# One plain name: a manifest must not be able to point out of its folder.
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)


class DamagedError(Exception):
    """A checkpoint, or a file of one, is not what its manifest says. The text says which file and how."""


# --- names -------------------------------------------------------------------------------------------------------


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


# --- digests -----------------------------------------------------------------------------------------------------


class _Hash(Protocol):
    def update(self, data: Any, /) -> None: ...
    def hexdigest(self) -> str: ...


class _Crc32:
    def __init__(self) -> None:
        self._value = 0

    def update(self, data: Any, /) -> None:
        self._value = crc32_of(data, self._value)

    def hexdigest(self) -> str:
        return f"{self._value:08x}"


class FileDigest:
    """Size, xxh3-128 and CRC-32 of bytes as they are written: the manifest's entry of one file."""

    def __init__(self) -> None:
        self.size = 0
        self._hashes: dict[str, _Hash] = {"crc32": _Crc32()}
        if xxhash is not None:
            self._hashes["xxh3_128"] = xxhash.xxh3_128()

    def update(self, data: Any) -> None:
        self.size += len(data)
        for each in self._hashes.values():
            each.update(data)

    def entry(self) -> dict[str, Any]:
        return {"size": self.size, **{name: each.hexdigest() for name, each in sorted(self._hashes.items())}}


def digest_of(data: bytes) -> dict[str, Any]:
    """The manifest's entry for a file that holds `data`."""
    digest = FileDigest()
    digest.update(data)
    return digest.entry()


def algorithm_for(entry: dict[str, Any]) -> str | None:
    """The strongest digest of this entry that this Python can compute; None if there is none."""
    if xxhash is not None and "xxh3_128" in entry:
        return "xxh3_128"
    return "crc32" if "crc32" in entry else None


def new_hash(algorithm: str) -> _Hash:
    """An incremental hash by the name it has in a manifest."""
    return xxhash.xxh3_128() if algorithm == "xxh3_128" else _Crc32()


def verify_file(path: Path, entry: dict[str, Any]) -> str:
    """Read the whole file and compare it with its manifest entry; returns the algorithm.

    Raises DamagedError, or OSError when the file cannot be read.
    """
    algorithm = algorithm_for(entry)
    if algorithm is None:
        raise DamagedError(f"{path.name}: the manifest has no digest of it")
    if not stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait for ever
        raise DamagedError(f"{path.name}: not a regular file")
    size, digest, buffer = 0, new_hash(algorithm), memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(buffer):
            size += count
            digest.update(buffer[:count])
    if size != entry["size"]:
        raise DamagedError(f"{path.name}: {size} bytes, the manifest says {entry['size']}")
    if digest.hexdigest() != entry[algorithm]:
        raise DamagedError(f"{path.name}: its {algorithm} differs from the manifest's")
    return algorithm


# --- manifests ---------------------------------------------------------------------------------------------------


def canonical(value: Any) -> bytes:
    """The one text of a JSON value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True).encode()


def seal(manifest: dict[str, Any]) -> bytes:
    """The bytes of manifest.json: canonical, with the SHA-256 of itself without the digest member."""
    body = {key: value for key, value in manifest.items() if key != "digest"}
    sealed = canonical({**body, "digest": hashlib.sha256(canonical(body)).hexdigest()})
    if len(sealed) > MAX_MANIFEST_BYTES:
        raise ValueError(f"a manifest of {len(sealed)} bytes; readers take at most {MAX_MANIFEST_BYTES}")
    return sealed


def _read_bounded(path: Path, limit_bytes: int) -> bytes:
    """The bytes of a regular file. Raises ValueError for anything else, and for more than `limit_bytes`."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise ValueError("not a regular file")
    if status.st_size > limit_bytes:
        raise ValueError(f"{status.st_size} bytes")
    return path.read_bytes()


def read_json(path: Path, limit_bytes: int = MAX_MANIFEST_BYTES) -> Any:
    """The JSON value in a file of unknown origin. Raises ValueError (also for nesting too deep for a parser) or OSError."""
    try:
        return json.loads(_read_bounded(path, limit_bytes))
    except RecursionError:
        raise ValueError("nested too deep") from None


def _shape_problem(manifest: dict[str, Any]) -> str | None:
    """What a reader of this file relies on and a sealed manifest still lacks; None if nothing."""
    files, loss = manifest.get("files"), manifest.get("val_loss")
    if type(manifest.get("step")) is not int or manifest["step"] < 0:
        return "step is no number"
    if not isinstance(files, dict) or not files:
        return "it lists no files"
    for name, entry in files.items():
        if not _FILE.fullmatch(name) or name == MANIFEST:
            return f"{name!r} is no name for a file of a checkpoint"
        if not isinstance(entry, dict) or type(entry.get("size")) is not int or entry["size"] < 0:
            return f"{name} has no size"
    if not isinstance(manifest.get("reasons"), list) or not all(isinstance(reason, str) for reason in manifest["reasons"]):
        return "reasons is no list of words"
    if type(manifest.get("end_of_epoch")) is not bool:
        return "end_of_epoch is neither true nor false"
    if loss is not None and type(loss) not in (int, float):
        return "val_loss is no number"
    return None


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a committed folder.

    Every byte is covered: the text must be the canonical form of what it says, and its digest must match. Raises DamagedError.
    """
    try:
        raw = _read_bounded(folder / MANIFEST, MAX_MANIFEST_BYTES)
        manifest = json.loads(raw)
    except FileNotFoundError:
        raise DamagedError(f"{folder.name}: no {MANIFEST}") from None
    except (ValueError, OSError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise DamagedError(f"{folder.name}: {MANIFEST} cannot be read: {why}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DamagedError(f"{folder.name}: {MANIFEST} is not a {FORMAT}")
    if manifest.get("version") != VERSION:
        raise DamagedError(f"{folder.name}: format version {manifest.get('version')}, this code reads {VERSION}")
    try:
        intact = seal(manifest) == raw
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise DamagedError(f"{folder.name}: the digest of {MANIFEST} does not match its text")
    if problem := _shape_problem(manifest):
        raise DamagedError(f"{folder.name}: {MANIFEST}: {problem}")
    if manifest["step"] != step_inside(folder.name):
        raise DamagedError(f"{folder.name}: the manifest is of step {manifest['step']}")
    return manifest


def check_sizes(folder: Path, manifest: dict[str, Any]) -> None:
    """Every file is there with its size: necessary, never sufficient. Raises DamagedError."""
    for name, entry in sorted(manifest["files"].items()):
        try:
            size = (folder / name).stat().st_size
        except OSError as error:
            raise DamagedError(f"{folder.name}/{name}: {error.strerror}") from error
        if size != entry["size"]:
            raise DamagedError(f"{folder.name}/{name}: {size} bytes, the manifest says {entry['size']}")


def verify_folder(folder: Path) -> dict[str, Any]:
    """Read every byte of a checkpoint and compare; returns its manifest. Raises DamagedError."""
    manifest = read_manifest(folder)
    for name, entry in sorted(manifest["files"].items()):
        try:
            verify_file(folder / name, entry)
        except OSError as error:
            raise DamagedError(f"{folder.name}/{name}: {error.strerror}") from error
    return manifest


# --- the folder --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """One name in the checkpoint folder. `manifest` is None where it is damaged or no checkpoint; `problem` says why."""

    name: str
    kind: str
    """step | temporary | aside | unknown"""
    step: int | None = None
    manifest: dict[str, Any] | None = field(default=None, repr=False)
    problem: str | None = None

    @property
    def size_bytes(self) -> int:
        return sum(entry["size"] for entry in (self.manifest or {"files": {}})["files"].values())


OWN_FILES = {LATEST, TIERS, LOCK}


def _entry(folder: Path) -> Entry:
    step = step_inside(folder.name)
    if folder.is_symlink() or not folder.is_dir():  # whatever its name says: we write folders, and no links
        return Entry(folder.name, "unknown", problem="not written by trainyard")
    if is_temporary(folder.name):
        return Entry(folder.name, "temporary")
    if step is None:
        return Entry(folder.name, "unknown", problem="not written by trainyard")
    kind = "aside" if is_aside(folder.name) else "step"
    try:
        manifest = read_manifest(folder)
        check_sizes(folder, manifest)
    except DamagedError as error:
        return Entry(folder.name, kind, step, problem=str(error))
    return Entry(folder.name, kind, manifest["step"], manifest)


def scan(root: Path) -> list[Entry]:
    """Every name in the folder, oldest step first, without reading shards: digests of manifests and sizes of files only."""
    names = sorted(entry.name for entry in os.scandir(root) if entry.name not in OWN_FILES and not entry.name.startswith("."))
    # A run that lives renames and removes folders while we look: what is gone by now is not damaged, it is gone.
    entries = [entry for entry in map(_entry, (root / name for name in names)) if os.path.lexists(root / entry.name)]
    return sorted(entries, key=lambda entry: (entry.step if entry.step is not None else -1, entry.name))


def committed(entries: Iterable[Entry]) -> list[Entry]:
    """The checkpoints among them: committed steps whose manifest verifies and whose files have their sizes."""
    return [entry for entry in entries if entry.kind == "step" and entry.manifest is not None]


def rebuild_tiers(manifests: Iterable[dict[str, Any]], *, keep_rolling: int, keep_epochs: int) -> dict[str, Any]:
    """The content of tiers.json from the manifests alone: which steps are kept, and why."""
    known = sorted(manifests, key=lambda manifest: manifest["step"])
    rolling = [m["step"] for m in known if set(m["reasons"]) & set(ROLLING_REASONS)]
    epochs = [m["step"] for m in known if m["end_of_epoch"]]
    scored = [m for m in known if m["val_loss"] is not None]
    # Of equal losses the older step stays best: a tie must not replace a checkpoint that is already kept.
    best = min(scored, key=lambda m: (m["val_loss"], m["step"]))["step"] if scored else None
    return {
        "format": 1,
        "latest": known[-1]["step"] if known else None,
        "rolling": rolling[max(0, len(rolling) - keep_rolling) :],
        "epoch": epochs[max(0, len(epochs) - keep_epochs) :],
        "best": best,
    }


def read_tiers(root: Path) -> dict[str, Any] | None:
    """tiers.json, or None where it is missing or no such file; it can be rebuilt."""
    try:
        tiers = read_json(root / TIERS)
    except (OSError, ValueError):
        return None
    if not isinstance(tiers, dict) or tiers.get("format") != 1:
        return None
    lists, singles = [tiers.get("rolling"), tiers.get("epoch")], [tiers.get("latest"), tiers.get("best")]
    if not all(isinstance(steps, list) and all(type(step) is int for step in steps) for steps in lists):
        return None
    return tiers if all(step is None or type(step) is int for step in singles) else None


def named_steps(tiers: dict[str, Any]) -> dict[int, list[str]]:
    """Step -> the tiers that name it."""
    named: dict[int, list[str]] = {}
    for tier in ("latest", "best"):
        if tiers.get(tier) is not None:
            named.setdefault(tiers[tier], []).append(tier)
    for tier in ("rolling", "epoch"):
        for step in tiers.get(tier, []):
            named.setdefault(step, []).append(tier)
    return named
