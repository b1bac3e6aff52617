"""run.json on the disk: written before anything else is made, and replaced as a whole."""

from __future__ import annotations

from pathlib import Path

import msgspec

import trainyard_shell as shell
from run_state import format1
from run_state.record import FORMAT, Run
from trainyard_files import Unusable, check_nesting, missing, read_regular, remove_empty, replace_file, sync_folder


def load(run_dir: Path) -> Run | None:
    """The run in this folder, None when there is none. Raises SkillError conflict when run.json is not ours."""
    path = run_dir / "run.json"
    try:
        raw = read_regular(path)
        check_nesting(raw)
        run = msgspec.json.decode(raw, type=Run)
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise shell.SkillError("conflict", f"{run_dir} is a file, not a run folder", hint="move it away") from error
    except PermissionError as error:
        raise shell.SkillError("permission", f"{path} may not be read", hint="use the account that submitted it") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, Unusable, OSError) as error:
        hint = f"move {run_dir} away; it is kept as it is"
        raise shell.SkillError("conflict", f"{path} is not readable as a run: {error}", hint=hint) from error
    if run.format == 1:
        format1.upgrade(run)
    if run.format != FORMAT:
        raise shell.SkillError("conflict", f"{path} has format {run.format}; this program knows {FORMAT}")
    return run


def save(run_dir: Path, run: Run) -> None:
    """Replaces run.json: after a kill at any point it holds the old text or the new one."""
    run.run_dir = run.run_dir or str(run_dir)
    made = missing(run_dir)
    try:
        run_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        data = msgspec.json.format(msgspec.json.encode(run), indent=1) + b"\n"
        replace_file(run_dir / "run.json", data, part=run_dir / "run.json.tmp")  # one name: whoever writes holds the lock
        sync_folder(run_dir.parent)
    except OSError as error:
        remove_empty(made)
        raise shell.cannot_write(run_dir, error, "--state-dir puts the run elsewhere") from error


def set_aside(run_dir: Path, aside: Path) -> None:
    """Renames the run folder; nothing is deleted."""
    try:
        run_dir.rename(aside)
        sync_folder(run_dir.parent)
    except OSError as error:
        raise shell.cannot_write(aside, error, "the old run is where it was") from error
