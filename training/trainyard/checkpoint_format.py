"""The checkpoint folder as bytes on disk: names, manifests, digests, tiers. Standard library only.

For two users: the runtime (`trainyard.checkpoint_format`) and the checkpoint-manager skill, which has byte for byte copies of the
checkpoint_*.py files of this folder (`make kit`) and sends them into pods. The format is told in shared-docs/checkpoints.md.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IN_TRAINYARD = bool(__package__)
if IN_TRAINYARD:
    from trainyard import checkpoint_bytes as raw
    from trainyard import checkpoint_manifest as one
    from trainyard import checkpoint_names as called
else:  # a copy beside its siblings, in the checkpoint-manager skill
    import checkpoint_bytes as raw
    import checkpoint_manifest as one
    import checkpoint_names as called

# One module for those who read and write: what the others have is found here too.
DamagedError, NotOursError = raw.DamagedError, raw.NotOursError
FileDigest = raw.FileDigest
digest_of, new_hash, algorithm_for, verify_file, read_json = (
    raw.digest_of,
    raw.new_hash,
    raw.algorithm_for,
    raw.verify_file,
    raw.read_json,
)
step_name, step_of, step_inside, shard_name = called.step_name, called.step_of, called.step_inside, called.shard_name
temporary_name, is_temporary, is_aside = called.temporary_name, called.is_temporary, called.is_aside
FORMAT, VERSION, MANIFEST, STATE, LOCK = one.FORMAT, one.VERSION, one.MANIFEST, one.STATE, one.LOCK
MAX_MANIFEST_BYTES, MAX_STATE_BYTES, MAX_LOCK_BYTES = one.MAX_MANIFEST_BYTES, one.MAX_STATE_BYTES, one.MAX_LOCK_BYTES
MAX_DIMENSIONS, MAX_NUMBER, ITEM_BYTES = one.MAX_DIMENSIONS, one.MAX_NUMBER, one.ITEM_BYTES
canonical, seal, is_count, quoted, manifest_problem = one.canonical, one.seal, one.is_count, one.quoted, one.manifest_problem
read_manifest, check_sizes, verify_folder = one.read_manifest, one.check_sizes, one.verify_folder
Owner = one.Owner
ANY_RUN, owner_of = one.ANY_RUN, one.owner_of

TIERS, LATEST, VERIFIED = "tiers.json", "latest", "verified.json"
ROLLING_REASONS = ("rolling", "stop", "final")
KEEP_FINAL = 2
"""The last steps of so many finished trainings are kept: one that is trained longer leaves the old end where it is."""


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
