"""manifest.json of one checkpoint: what it must say, whose step it is, and whether its files are those. Standard library only."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

IN_TRAINYARD = bool(__package__)
if IN_TRAINYARD:
    from trainyard import checkpoint_bytes as raw
    from trainyard.checkpoint_names import shard_name, step_inside
else:  # a copy beside its siblings, in the checkpoint-manager skill
    import checkpoint_bytes as raw
    from checkpoint_names import shard_name, step_inside

DamagedError, NotOursError = raw.DamagedError, raw.NotOursError

FORMAT = "trainyard-checkpoint"
VERSION = 1
MANIFEST, STATE, LOCK = "manifest.json", "state.json", "lock.json"
MAX_MANIFEST_BYTES, MAX_STATE_BYTES = 128 << 20, 512 << 20
"""No manifest.json or state.json is larger: a reader must not be made to parse any amount of garbage."""
MAX_LOCK_BYTES, MAX_DIMENSIONS, MAX_NUMBER = 1 << 20, 64, 2**63 - 1
ITEM_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"), 1),
}
"""dtype of safetensors -> bytes of an element."""

# One plain name: a manifest must not be able to point out of its folder.
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)
_SHARD = re.compile(r"shard-\d{5,}-model-00001-of-00001\.safetensors", re.ASCII)
_DIGESTS = {"crc32": re.compile(r"[0-9a-f]{8}", re.ASCII), "xxh3_128": re.compile(r"[0-9a-f]{32}", re.ASCII)}


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


def is_count(value: Any, least: int = 0) -> bool:
    """A whole number that fits into 64 bits; True and 1.0 are none."""
    return type(value) is int and least <= value <= MAX_NUMBER


def quoted(text: Any) -> str:
    """A name from a file of unknown origin, bounded and in ASCII: it will stand in messages."""
    return ascii(text)[:100]


def manifest_problem(manifest: dict[str, Any]) -> str | None:
    """What every reader of a manifest relies on and this one lacks; None if nothing. A writer asks before it seals.

    Members that are not listed here are ignored: a later writer may add some.
    """
    reasons, loss, fingerprint = manifest.get("reasons"), manifest.get("val_loss"), manifest.get("data_fingerprint")
    checks = {
        "step is not a number": is_count(manifest.get("step")),
        "epoch is not a number": is_count(manifest.get("epoch"), -MAX_NUMBER),
        "incarnation is not a number": is_count(manifest.get("incarnation")),
        "world_size is not a number of ranks": is_count(manifest.get("world_size"), 1),
        "run_id is not a text": isinstance(manifest.get("run_id"), str) and bool(manifest["run_id"]),
        "time is not a number": _is_number(manifest.get("time")),
        "val_loss is not a number": loss is None or _is_number(loss),
        "data_fingerprint is not a text": fingerprint is None or isinstance(fingerprint, str),
        "end_of_epoch is neither true nor false": type(manifest.get("end_of_epoch")) is bool,
        "reasons is not a list of words": isinstance(reasons, list) and all(isinstance(reason, str) for reason in reasons),
    }
    wrong = [words for words, right in checks.items() if not right]
    return wrong[0] if wrong else _files_problem(manifest) or _tensors_problem(manifest.get("tensors"))


def _is_number(value: Any) -> bool:
    return type(value) is float or is_count(value, -MAX_NUMBER)


def _files_problem(manifest: dict[str, Any]) -> str | None:
    files = manifest.get("files")
    if not isinstance(files, dict) or not files:
        return "it lists no files"
    for name, entry in files.items():
        if not _FILE.fullmatch(name) or name == MANIFEST:
            return f"{quoted(name)} is not a valid name for a file of a checkpoint"
        if not isinstance(entry, dict) or not is_count(entry.get("size")):
            return f"{name} has no size"
        for algorithm, pattern in _DIGESTS.items():
            if algorithm in entry and not (isinstance(entry[algorithm], str) and pattern.fullmatch(entry[algorithm])):
                return f"{name} has an invalid {algorithm}"
    shards = sum(_SHARD.fullmatch(name) is not None for name in files)
    if shards != manifest["world_size"] or shard_name(shards - 1, shards) not in files:
        return f"it lists {shards} shards of {manifest['world_size']} ranks"
    return None if STATE in files else f"it lists no {STATE}"


def _tensors_problem(tensors: Any) -> str | None:
    if not isinstance(tensors, dict):
        return "it lists no tensors"
    for name, entry in tensors.items():
        dtype, shape = (entry.get("dtype"), entry.get("shape")) if isinstance(entry, dict) else (None, None)
        if not isinstance(dtype, str) or dtype not in ITEM_BYTES:
            return f"tensor {quoted(name)} has no dtype of this format"
        if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(map(is_count, shape)):
            return f"tensor {quoted(name)} has no shape"
        if math.prod(shape) * ITEM_BYTES[dtype] > MAX_NUMBER:
            return f"tensor {quoted(name)} is larger than any disk"
    return None


def read_manifest(folder: Path, owner: Owner | None = None) -> dict[str, Any]:
    """The manifest of a committed folder, whose steps are those of `owner` (None: as lock.json beside it says).

    Every byte is covered: the text must be the canonical form of what it says, and its digest must match. Raises DamagedError
    (NotOursError), or OSError when it cannot be read.
    """
    try:
        text = raw.read_own(folder / MANIFEST, MAX_MANIFEST_BYTES)
        manifest = raw.parse_json(text)
    except raw.MissingError:
        raise raw.NoManifestError(f"{folder.name}: no {MANIFEST}") from None
    except ValueError as error:
        raise DamagedError(f"{folder.name}: {MANIFEST} cannot be parsed: {str(error)[:100]}") from error
    except DamagedError as error:
        raise DamagedError(f"{folder.name}: {error}") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise NotOursError(f"{folder.name}: {MANIFEST} is not a {FORMAT}")
    if type(manifest.get("version")) is not int or manifest["version"] != VERSION:
        raise NotOursError(f"{folder.name}: format version {quoted(manifest.get('version'))}, this code reads {VERSION}")
    try:
        intact = seal(manifest) == text
    except (ValueError, RecursionError):
        intact = False
    if not intact:
        raise DamagedError(f"{folder.name}: the digest of {MANIFEST} does not match its text")
    if problem := manifest_problem(manifest):
        raise DamagedError(f"{folder.name}: {MANIFEST}: {problem}")
    if manifest["step"] != step_inside(folder.name):
        raise DamagedError(f"{folder.name}: the manifest is of step {manifest['step']}")
    (owner_of(folder.parent) if owner is None else owner).check(folder.name, manifest)
    return manifest


def check_sizes(folder: Path, manifest: dict[str, Any]) -> None:
    """Every file is there, regular, with its size: necessary, never sufficient. Raises DamagedError or OSError."""
    for name, entry in sorted(manifest["files"].items()):
        try:
            status = os.lstat(folder / name)
        except (FileNotFoundError, NotADirectoryError):
            raise raw.MissingError(f"{folder.name}/{name}: missing") from None
        if not stat.S_ISREG(status.st_mode):
            raise DamagedError(f"{folder.name}/{name}: not a regular file")
        if status.st_size != entry["size"]:
            raise DamagedError(f"{folder.name}/{name}: {status.st_size} bytes, the manifest says {entry['size']}")


def verify_folder(folder: Path) -> dict[str, Any]:
    """Compare every byte of a checkpoint with its manifest, which is returned. Raises DamagedError or OSError.

    What the bytes mean is not looked at: checkpoint_judgement does both.
    """
    manifest = read_manifest(folder)
    for name, entry in sorted(manifest["files"].items()):
        raw.verify_file(folder / name, entry)
    return manifest


@dataclass(frozen=True)
class Owner:
    """Whose steps a folder holds. A whole step of another run that was copied in is not this run's newest checkpoint."""

    run_id: str | None = None
    """None: nothing says whose, and every step counts."""
    began_with: int | None = None
    """The step that this run was told to begin with, whoever wrote it."""

    def check(self, name: str, manifest: dict[str, Any]) -> None:
        """Raises NotOursError for a step of another run."""
        if self.run_id in (None, manifest["run_id"]) or manifest["step"] == self.began_with:
            return
        raise NotOursError(
            f"{name}: a step of run {quoted(manifest['run_id'])}, and this folder is of run {quoted(self.run_id)}; "
            f"only restore('step:{manifest['step']}') takes it"
        )


ANY_RUN = Owner()


def owner_of(root: Path) -> Owner:
    """The owner that lock.json names; ANY_RUN where there is none that does."""
    try:
        lock = raw.read_json(root / LOCK, MAX_LOCK_BYTES)
    except (OSError, ValueError):
        return ANY_RUN
    if not isinstance(lock, dict) or not isinstance(lock.get("run_id"), str):
        return ANY_RUN
    origin = lock.get("origin")
    step = origin.get("step") if isinstance(origin, dict) else None
    return Owner(lock["run_id"], step if is_count(step) else None)
