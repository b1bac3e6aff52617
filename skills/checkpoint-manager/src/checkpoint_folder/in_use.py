"""Nothing in a checkpoint folder is changed while somebody may be writing into it."""

from __future__ import annotations

from pathlib import Path

import trainyard_shell as shell
from checkpoint_folder.look import CheckpointFolder

SCRIPT = "manage_checkpoints.py"


def refuse_in_use(found: CheckpointFolder, folder: str, holder_gone: bool, verb: str) -> None:
    """SkillError `conflict` unless nobody can be writing into the folder."""
    holder = found.holder
    dry = f"{SCRIPT} {verb} --dry-run shows the plan"
    if Path(folder).is_symlink() or found.root.is_symlink():
        raise shell.SkillError(
            "conflict", f"{folder} is a symbolic link", hint=f"name the folder itself: {found.root.resolve()}"
        )
    if holder.state == "alive":
        raise shell.SkillError(
            "conflict", f"process {holder.pid} of run {holder.run_id} lives and uses this folder", hint=f"stop it; {dry}"
        )
    if holder.state == "unreadable":
        raise shell.SkillError("conflict", "lock.json cannot be read, so it is not known which run uses this folder", hint=dry)
    if holder.state == "elsewhere" and not holder_gone:
        why = f"process {holder.pid} on {holder.host} holds the lock; this host cannot see whether it is still running"
        raise shell.SkillError(
            "conflict", why, hint=f"{verb} on that host, or make sure it has ended and add --holder-gone; {dry}"
        )
