"""`rollback`: the steps after a chosen one are set aside, so that every start goes on from that one. No byte is removed.

The names are those that the runtime itself gives to steps it sets aside when it restores an older one (training/trainyard/commit.py).
A kill in the middle leaves whole checkpoints; the same command goes on.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.holder import read_holder
from checkpoint_folder.in_use import refuse_in_use
from checkpoint_folder.look import CheckpointFolder, look
from checkpoint_folder.verdict import verify
from checkpoint_format import LATEST, Entry, NotOursError, owner_of, read_manifest, step_name, step_of
from trainyard_files import replace_file, sync_folder

SCRIPT = "manage_checkpoints.py"


def rollback(folder: str, step: int, holder_gone: bool, dry_run: bool, yes: bool) -> shell.Result:
    """Raises SkillError: not-found (no such step), conflict (in use, damaged, or another run's)."""
    found = look(folder)
    if not dry_run:
        refuse_in_use(found, folder, holder_gone, "rollback")
    entry = found.entry_of(step)
    checks = [_intact(found, entry, folder)]
    newer = _newer(found, step)
    data: dict[str, Any] = {"folder": str(found.root), "step": step, "set_aside": [each.name for each in reversed(newer)]}
    if dry_run or not newer:
        return shell.Result(data, checks=checks, ok=True)
    shell.confirm(yes, data, what=f"set {len(newer)} newer steps aside, so that the run goes on from step {step}")
    changed: list[str] = []
    try:
        for change in _carry_out(found, newer, step):
            shell.progress(change)
            changed.append(change)
    except (shell.SkillError, OSError) as error:
        code = getattr(error, "code", "permission" if isinstance(error, PermissionError) else "unreachable")
        hint = getattr(error, "hint", "the same command goes on where it stopped")
        raise shell.SkillError(code, str(error), hint=hint, data={**data, "changed": changed}) from error
    return shell.Result(data, checks=checks, changed=changed, next=[f"{SCRIPT} latest {folder}"], ok=True)


def _intact(found: CheckpointFolder, entry: Entry, folder: str) -> shell.Check:
    """Read whole: a restore steps down past what does not verify, and past what another run wrote."""
    hint = f"{SCRIPT} list {folder}"
    try:
        read_manifest(found.root / entry.name, owner_of(found.root))
    except NotOursError as error:
        raise shell.SkillError("conflict", f"{entry.name}: {shell.clean(str(error), 300)}", hint=hint) from error
    except (OSError, ValueError):
        pass  # the verdict says it
    verdict = verify(found.root, entry, quick=False, owner=owner_of(found.root))
    if verdict.status != "pass":
        told = (verdict.problems or ("it does not verify",))[0]
        raise shell.SkillError("conflict", f"{entry.name} is not intact: {shell.clean(told, 300)}", hint=hint)
    return verdict.check()


def _newer(found: CheckpointFolder, step: int) -> list[Entry]:
    """Newest last. A damaged one too: its number would stand in the way of the next save."""
    return [each for each in found.steps if (step_of(each.name) or 0) > step]


def _carry_out(found: CheckpointFolder, newer: list[Entry], step: int) -> Iterator[str]:
    """The newest first: until the last one is gone, a start takes one between."""
    generation = found.holder.incarnation or 0
    for entry in reversed(newer):
        if read_holder(found.root) != found.holder:
            message = "a run took the folder meanwhile; stopped there"
            raise shell.SkillError("conflict", message, hint=f"{SCRIPT} list {found.root}")
        name = _free_name(found.root, entry.name, generation)
        (found.root / entry.name).rename(found.root / name)
        yield f"renamed {entry.name} to {name}"
    sync_folder(found.root)
    replace_file(found.root / LATEST, f"{step_name(step)}\n".encode())
    yield f"wrote {LATEST}: {step_name(step)}"


def _free_name(root: Path, name: str, generation: int) -> str:
    first = f"{name}.aside-e{generation}"
    names = (first, *(f"{first}-{number}" for number in range(1, 1000)))
    return next(each for each in names if not os.path.lexists(root / each))
