"""The note of a `run --fresh` that is not settled, and how whoever comes next after a kill settles it.

The note `.NAME.fresh` beside the run folder says whose turn it is. It is written before anything moves and removed once the new run was
submitted; whoever finds it ends with one of the two runs in place.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path

import deploy_place
import trainyard_shell as shell
from deploy_place import ABSENT
from run_state import lock, store
from run_state.record import Run
from trainyard_files import Unusable, read_object, replace_file


def note_of(run_dir: Path) -> Path:
    return run_dir.with_name(f".{run_dir.name}.fresh")


def write_note(run_dir: Path, old: Run) -> None:
    try:
        replace_file(note_of(run_dir), json.dumps({"old": old.run_id}).encode())
    except OSError as error:
        raise shell.cannot_write(
            run_dir.parent, error, "free space, or --state-dir elsewhere; the old run is as it was"
        ) from error


def settle(run_dir: Path) -> None:
    """Under the lock: after a --fresh that was cut off, the new run stands where its job was started, else the old one does again."""
    try:
        note = read_object(note_of(run_dir), {"old": "text"})
    except (Unusable, OSError):
        note = {}
    if note is None:
        return
    aside = run_dir.with_name(f"{run_dir.name}@{note.get('old')}")
    if os.path.lexists(aside) and not _started(run_dir):
        _bring_back(run_dir, aside)
    note_of(run_dir).unlink(missing_ok=True)


def settle_if_idle(run_dir: Path) -> None:
    """For the verbs that only look; a `run --fresh` that is at work settles it by itself."""
    if os.path.lexists(note_of(run_dir)):
        with suppress(shell.SkillError), lock.locked(run_dir, timeout_s=0):
            settle(run_dir)


def _started(run_dir: Path) -> bool:
    new = store.load(run_dir)
    if new is None or new.submission is None:
        return False
    if new.submission.ended is not None:
        return True
    return bool(deploy_place.of(new.target, run_dir).status(new)["state"] != ABSENT)


def _bring_back(run_dir: Path, aside: Path) -> None:
    """What the new run made beyond its run.json, a volume for example, is kept under its own id."""
    new = store.load(run_dir)
    try:
        if new is not None and (new.stages.keys() & {"storage"} or set(os.listdir(run_dir)) - {"run.json", "run.json.tmp"}):
            kept = run_dir.with_name(f"{run_dir.name}@{new.run_id}")
            run_dir.rename(kept)
            shell.progress(f"what the new run had made is told in {kept}")
        elif os.path.lexists(run_dir):
            for name in ("run.json", "run.json.tmp"):
                (run_dir / name).unlink(missing_ok=True)
            run_dir.rmdir()
        aside.rename(run_dir)
    except OSError as error:
        raise shell.cannot_write(run_dir, error, f"the old run is in {aside}") from error
    shell.progress("the new run was not started; the old one is in its place again")
