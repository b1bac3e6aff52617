"""Carry out a prune plan so that a kill at any point leaves whole checkpoints and folders that everybody ignores."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import trainyard_shell as shell
from checkpoint_folder.holder import read_holder
from checkpoint_folder.look import CheckpointFolder
from checkpoint_folder.removal_plan import Plan
from trainyard_files import replace_file, sync_folder
from checkpoint_format import LATEST, TIERS, Entry, canonical, committed, is_temporary, scan, step_inside, step_name


def carry_out(folder: CheckpointFolder, plan: Plan) -> Iterator[str]:
    """Remove what the plan says, oldest first, then write tiers.json; yields each change once it is done.

    Raises SkillError `conflict` as soon as somebody took the folder's lock.
    """
    for entry, _ in plan.remove:
        _still_ours(folder)
        if remove(folder.root, entry):
            yield f"removed {entry.name}"
    _still_ours(folder)
    if plan.tiers != folder.tiers:
        replace_file(folder.root / TIERS, canonical(plan.tiers))
        yield f"wrote {TIERS}"
    steps = [entry.step for entry in committed(scan(folder.root)) if entry.step is not None]
    if steps and folder.pointer in {entry.name for entry, _ in plan.remove}:
        replace_file(folder.root / LATEST, f"{step_name(max(steps))}\n".encode())
        yield f"wrote {LATEST}: {step_name(max(steps))}"


def _still_ours(folder: CheckpointFolder) -> None:
    """A run that started meanwhile decides from now on."""
    now = read_holder(folder.root)
    if now != folder.holder:
        raise shell.SkillError(
            "conflict",
            f"run {now.run_id} took the folder while it was pruned (incarnation {now.incarnation}); stopped there",
            hint=f"manage_checkpoints.py list {folder.root}",
        )


def remove(root: Path, entry: Entry) -> bool:
    """Rename to a name that no reader looks at, then delete. False when it was gone already."""
    path = root / entry.name
    step = step_inside(entry.name)
    if not is_temporary(entry.name) and step is not None:
        doomed = root / f"{step_name(step)}.removed.tmp"
        if doomed.is_dir() and not doomed.is_symlink():
            shutil.rmtree(doomed)  # a removal that was killed
        try:
            path.rename(doomed)
        except FileNotFoundError:
            return False
        sync_folder(root)
        path = doomed
    if not os.path.lexists(path):
        return False
    shutil.rmtree(path)  # refuses a symbolic link, and follows none inside
    return True
