"""The checkpoint folder as bytes on disk: names, manifests, digests, tiers. Standard library only.

For two users: the runtime (`trainyard.checkpoint_format`) and the checkpoint-manager skill, which has byte for byte copies of the
checkpoint_*.py files of this folder (`make kit`) and sends them into pods. The format is told in shared-docs/checkpoints.md.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IN_TRAINYARD = bool(__package__)
if IN_TRAINYARD:
    from trainyard import checkpoint_bytes as raw
else:  # a copy beside its siblings, in the checkpoint-manager skill
    import checkpoint_bytes as raw

DamagedError, NotOursError = raw.DamagedError, raw.NotOursError
FileDigest, digest_of, new_hash, algorithm_for = raw.FileDigest, raw.digest_of, raw.new_hash, raw.algorithm_for
verify_file, read_json = raw.verify_file, raw.read_json

FORMAT = "trainyard-checkpoint"
VERSION = 1
MANIFEST, STATE, TIERS, LATEST, LOCK = "manifest.json", "state.json", "tiers.json", "latest", "lock.json"
VERIFIED = "verified.json"
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
ROLLING_REASONS = ("rolling", "stop", "final")
KEEP_FINAL = 2
"""The last steps of so many finished trainings are kept: one that is trained longer leaves the old end where it is."""

_STEP = re.compile(r"step_(\d{8,})", re.ASCII)
_TEMPORARY = re.compile(r"step_\d{8,}\.(e\d+|removed)\.tmp", re.ASCII)
_ASIDE = re.compile(r"(step_\d{8,})\.aside-e\d+(-\d+)?", re.ASCII)
# One plain name: a manifest must not be able to point out of its folder.
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)
_SHARD = re.compile(r"shard-\d{5,}-model-00001-of-00001\.safetensors", re.ASCII)
_DIGESTS = {"crc32": re.compile(r"[0-9a-f]{8}", re.ASCII), "xxh3_128": re.compile(r"[0-9a-f]{32}", re.ASCII)}


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
                return f"the {algorithm} of {name} is not one"
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
        verify_file(folder / name, entry)
    return manifest


# --- whose steps -------------------------------------------------------------------------------------------------


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
        lock = read_json(root / LOCK, MAX_LOCK_BYTES)
    except (OSError, ValueError):
        return ANY_RUN
    if not isinstance(lock, dict) or not isinstance(lock.get("run_id"), str):
        return ANY_RUN
    origin = lock.get("origin")
    step = origin.get("step") if isinstance(origin, dict) else None
    return Owner(lock["run_id"], step if is_count(step) else None)


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


OWN_FILES = {LATEST, TIERS, LOCK, VERIFIED}


def _entry(folder: Path, owner: Owner) -> Entry:
    step = step_inside(folder.name)
    if not _may_be_folder(folder):  # whatever its name says: we write folders, and no links
        return Entry(folder.name, "unknown", problem="not written by trainyard")
    if is_temporary(folder.name):
        return Entry(folder.name, "temporary")
    if step is None:
        return Entry(folder.name, "unknown", problem="not written by trainyard")
    kind = "aside" if is_aside(folder.name) else "step"
    try:
        manifest = read_manifest(folder, owner)
        check_sizes(folder, manifest)
    except DamagedError as error:
        return Entry(folder.name, kind, step, problem=str(error))
    except OSError as error:
        return Entry(folder.name, kind, step, problem=f"{folder.name}: cannot be read: {error.strerror}")
    return Entry(folder.name, kind, manifest["step"], manifest)


def _may_be_folder(path: Path) -> bool:
    """A folder and no link to one; also where the disk does not say, so that a step is not overlooked."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return True


def _is_gone(path: Path) -> bool:
    """Known not to be there; where the disk does not say, it is not known."""
    try:
        os.lstat(path)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def scan(root: Path, owner: Owner | None = None) -> list[Entry]:
    """Every name in the folder, oldest step first, without reading shards: digests of manifests and sizes of files only.

    Steps of another run than `owner` (None: as lock.json says) are problems.
    """
    owner = owner_of(root) if owner is None else owner
    names = sorted(entry.name for entry in os.scandir(root) if entry.name not in OWN_FILES and not entry.name.startswith("."))
    # A run that lives renames and removes folders while we look: what is gone by now is not damaged, it is gone.
    entries = [entry for name in names if (entry := _entry(root / name, owner)) and not _is_gone(root / name)]
    return sorted(entries, key=lambda entry: (entry.step if entry.step is not None else -1, entry.name))


def committed(entries: Iterable[Entry]) -> list[Entry]:
    """The checkpoints among them: committed steps whose manifest verifies and whose files have their sizes."""
    return [entry for entry in entries if entry.kind == "step" and entry.manifest is not None]


def rebuild_tiers(
    manifests: Iterable[dict[str, Any]], *, keep_rolling: int, keep_epochs: int, finals: Collection[int] = ()
) -> dict[str, Any]:
    """The content of tiers.json from the manifests alone: which steps are kept, and why.

    `finals` are steps that turned out to be the last of a training after they were saved, as an older tiers.json says.
    """
    known = sorted(manifests, key=lambda manifest: manifest["step"])
    rolling = [m["step"] for m in known if set(m["reasons"]) & set(ROLLING_REASONS)]
    epochs = [m["step"] for m in known if m["end_of_epoch"]]
    final = [m["step"] for m in known if "final" in m["reasons"] or m["step"] in finals]
    scored = [m for m in known if m["val_loss"] is not None]
    # Of equal losses the older step stays best: a tie must not replace a checkpoint that is already kept.
    best = min(scored, key=lambda m: (m["val_loss"], m["step"]))["step"] if scored else None
    return {
        "format": 1,
        "latest": known[-1]["step"] if known else None,
        "rolling": rolling[max(0, len(rolling) - keep_rolling) :],
        "epoch": epochs[max(0, len(epochs) - keep_epochs) :],
        "best": best,
        **({"final": final[-KEEP_FINAL:]} if final else {}),
    }


def read_tiers(root: Path) -> dict[str, Any] | None:
    """tiers.json, or None where it is missing or no such file; it can be rebuilt. Raises OSError when it cannot be read."""
    try:
        tiers = read_json(root / TIERS)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    if not isinstance(tiers, dict) or tiers.get("format") != 1:
        return None
    lists, singles = (
        [tiers.get("rolling"), tiers.get("epoch"), tiers.get("final", [])],
        [tiers.get("latest"), tiers.get("best")],
    )
    if not all(isinstance(steps, list) and all(type(step) is int for step in steps) for steps in lists):
        return None
    return tiers if all(step is None or type(step) is int for step in singles) else None


def named_steps(tiers: dict[str, Any]) -> dict[int, list[str]]:
    """Step -> the tiers that name it."""
    named: dict[int, list[str]] = {}
    for tier in ("latest", "best"):
        if tiers.get(tier) is not None:
            named.setdefault(tiers[tier], []).append(tier)
    for tier in ("rolling", "epoch", "final"):
        for step in tiers.get(tier, []):
            named.setdefault(step, []).append(tier)
    return named
