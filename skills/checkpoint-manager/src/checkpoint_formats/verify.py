"""`verify` of what is no Trainyard checkpoint folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_format import LOCK, TIERS, step_of

SCRIPT = "manage_checkpoints.py"


def verify_other(path: str, options: dict[str, Any], limit: int) -> shell.Result | None:
    """The answer of `verify` for what is no Trainyard checkpoint folder; None where it is one, or nothing."""
    from checkpoint_formats.kinds import recognise
    from checkpoint_formats.part_verdicts import checks, verify_found

    if not os.path.exists(path) or _is_trainyard_folder(Path(path)):
        return None
    found = recognise(Path(path))
    if found.kind == "unknown" and found.path.is_dir() and not found.parts:
        return None
    if used := next((name for name, value in options.items() if value), None):
        raise shell.SkillError("usage", f"--{used} is for a Trainyard checkpoint folder", hint=f"{SCRIPT} verify {path}")
    whole = verify_found(found)
    order = ("fail", "unknown", "pass", "skipped")
    shown_first = sorted(whole.parts, key=lambda part: order.index(part.answer.status))
    data: dict[str, Any] = {
        "path": path,
        "kind": found.kind,
        "verdict": whole.verdict,
        "step": found.step,
        "total": len(whole.parts),
        **{status: sum(part.answer.status == status for part in whole.parts) for status in order},
        "parts": [part.row() for part in shown_first[:limit]],
    }
    next_ = [f"{SCRIPT} inspect {path}"] if whole.verdict == "damaged" else []
    return shell.Result(data, checks=checks(found, whole, limit), next=next_, truncated=len(whole.parts) > limit)


def _is_trainyard_folder(path: Path) -> bool:
    """Is it, or would `list` say more about it? A run folder, a folder of steps, or an empty one."""
    try:
        names = set(os.listdir(path))
    except OSError:
        return path.is_dir()
    if not names or {TIERS, LOCK} & names or any(step_of(name.partition(".")[0]) is not None for name in names):
        return True
    return bool({"runner.json", "run.json", "runner-spec.json", "steps.jsonl"} & names)
