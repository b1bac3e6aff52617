"""One checkpoint opened for reading: what its manifest says, its tensors, its state, its files. No shard is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.look import CheckpointFolder, look
from checkpoint_folder.rows import row
from checkpoint_folder.verified import read_records, told
from checkpoint_folder.words import shown, size_text
from checkpoint_format import STATE, Entry, named_steps, read_json

SCRIPT = "manage_checkpoints.py"
MAX_STATE_BYTES = 256 << 20
SUMMARY = ("run_id", "incarnation", "reasons", "end_of_epoch", "world_size", "data_fingerprint", "version")


def show(folder: CheckpointFolder, entry: Entry, limit: int) -> dict[str, Any]:
    """`data` of the verb; the tensors are empty where the manifest is damaged."""
    manifest = entry.manifest or {}
    tensors = manifest.get("tensors")
    tensors = tensors if isinstance(tensors, dict) else {}
    state, state_problem = _state(folder.root / entry.name / STATE, limit)
    listed = manifest.get("files", {})
    tiers = named_steps(folder.tiers) if folder.tiers else {}
    return {
        **row(entry, folder.root, tiers, told(folder.root, entry.name, read_records(folder.root))),
        **{key: _bounded(manifest.get(key)) for key in SUMMARY},
        "path": str((folder.root / entry.name).resolve()),
        "total_files": len(listed),
        "total_tensors": len(tensors),
        "state_problem": state_problem,
        "files": [_file(folder.root / entry.name / name, listed[name]) for name in sorted(listed)[:limit]],
        "state": state,
        "tensors": [_tensor(name, tensors[name]) for name in sorted(tensors)[:limit]],
    }


def _file(path: Path, listed: dict[str, Any]) -> dict[str, Any]:
    digests: dict[str, Any] = {key: shown(str(listed[key]), 40) for key in ("crc32", "xxh3_128") if key in listed}
    return {
        "file": path.name,
        "size": size_text(listed["size"]),
        "size_bytes": listed["size"],
        **digests,
        "path": str(path.resolve()),
    }


def _tensor(name: str, listed: Any) -> dict[str, Any]:
    listed = listed if isinstance(listed, dict) else {}
    return {"tensor": shown(name), "dtype": _bounded(listed.get("dtype")), "shape": _bounded(listed.get("shape"))}


def _state(path: Path, limit: int) -> tuple[list[dict[str, Any]], str | None]:
    """(one line a member of state.json, two levels deep; what is wrong with the file)."""
    try:
        state = read_json(path, MAX_STATE_BYTES)
    except FileNotFoundError:
        return [], f"no {STATE}"
    except (OSError, ValueError) as error:
        return [], shell.clean(f"{STATE} cannot be read: {error}", 200)
    if not isinstance(state, dict):
        return [], f"{STATE} holds no members"
    members = []
    for key, value in sorted(state.items()):
        inner = sorted(value.items()) if isinstance(value, dict) else []
        members += [(f"{key}.{name}", item) for name, item in inner] or [(key, value)]
    return [{"member": shown(name), "is": _kind(value), "value": _bounded(value)} for name, value in members[:limit]], None


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{len(value)} {'members' if isinstance(value, dict) else 'items'}"
    return type(value).__name__


def _bounded(value: Any) -> Any:
    """Scalars and short lists as they are, everything else as its first characters."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return shown(value, 80)
    try:
        text = json.dumps(value)
    except (RecursionError, ValueError):
        return "..."
    return value if isinstance(value, list) and len(text) <= 80 else shell.clean(text, 80)


# --- the verb ---


def answer(folder: str, step: int | None, limit: int) -> shell.Result:
    found = look(folder)
    if step is None and not found.committed:
        raise shell.SkillError("not-found", f"no committed checkpoint in {found.root}", hint=f"{SCRIPT} list {folder}")
    entry = found.committed[-1] if step is None else found.entry_of(step)
    data = show(found, entry, limit)
    checks = [shell.Check(f"checkpoint.{entry.name}", "fail", data["problem"])] if data["problem"] else []
    truncated = max(data["total_tensors"], data["total_files"]) > limit
    return shell.Result(data, checks=checks, next=[f"{SCRIPT} verify {folder} --step {entry.step}"], truncated=truncated)
