"""The names in a checkpoint folder as the lines that `list` prints."""

from __future__ import annotations

import datetime
import os
import time
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.look import CheckpointFolder
from checkpoint_folder.verified import NOT_VERIFIED, read_records, told
from checkpoint_folder.words import age_text, shown, size_text
from checkpoint_format import Entry, named_steps


def row(
    entry: Entry, root: Path, tiers: dict[int, list[str]], verified: tuple[str, str | None] = (NOT_VERIFIED, None)
) -> dict[str, Any]:
    """One line of `list`; `verified` as verified.told says it."""
    problem = entry.problem or verified[1]
    manifest = entry.manifest or {}
    saved = manifest.get("time")
    size = entry.size_bytes if entry.manifest else _bytes_in(root / entry.name)
    return {
        "step": entry.step,
        "kind": entry.kind,
        "size": size_text(size),
        "age": age_text(time.time() - saved) if isinstance(saved, int | float) else None,
        "epoch": manifest.get("epoch"),
        "val_loss": manifest.get("val_loss"),
        "tiers": tiers.get(entry.step, []) if entry.kind == "step" and entry.step is not None else [],
        "verified": verified[0] if entry.kind in ("step", "aside") else None,
        "problem": shell.clean(problem) if problem else None,
        "name": shown(entry.name),
        "size_bytes": size,
        "saved": _utc(saved),
    }


def _utc(saved: Any) -> str | None:
    try:
        return datetime.datetime.fromtimestamp(saved, datetime.UTC).isoformat(timespec="seconds")
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def rows(folder: CheckpointFolder) -> list[dict[str, Any]]:
    """Every name in the folder, newest step first."""
    tiers = named_steps(folder.tiers) if folder.tiers else {}
    records = read_records(folder.root)
    return [row(each, folder.root, tiers, told(folder.root, each.name, records)) for each in reversed(folder.entries)]


def _bytes_in(path: Path) -> int | None:
    """Bytes of the files in a folder that has no manifest to say so; None for anything else."""
    try:
        if path.is_symlink():
            return None
        return sum(entry.stat(follow_symlinks=False).st_size for entry in os.scandir(path))
    except OSError:
        return None
