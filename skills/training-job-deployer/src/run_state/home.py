"""Where a run was made, held against where its folder lies now: at home, moved with its project, or a copy."""

from __future__ import annotations

import os
from pathlib import Path

import trainyard_shell as shell
from run_state import store
from run_state.record import Run

PATH_KEYS = ("source", "python")
"""Of a request for this machine."""


def original_of(run_dir: Path, run: Run) -> Path | None:
    """The folder that `run_dir` is a copy of. None at home, and where the run was moved: then its old place is gone."""
    home = Path(run.run_dir)
    if (
        not run.run_dir
        or not os.path.lexists(home / "run.json")
        or (os.path.exists(run_dir) and os.path.samefile(home, run_dir))
    ):
        return None
    try:
        other = store.load(home)
    except shell.SkillError:  # something is there that nobody can read: it may well be the run
        return home
    return home if other is not None and other.run_id == run.run_id else None


def copy_check(run_dir: Path, run: Run) -> list[shell.Check]:
    """A warning in a copy."""
    original = original_of(run_dir, run)
    if original is None:
        return []
    summary = f"this folder is a copy: run {run.run_id} is in {original}, and the job belongs to that folder"
    return [shell.Check("run.copy", "warn", summary, fix=_way_out(original))]


def refuse_copy(run_dir: Path, run: Run) -> None:
    """Raises SkillError conflict: what changes the job is done where the run is."""
    original = original_of(run_dir, run)
    if original is not None:
        message = f"{run_dir} is a copy of run {run.run_id}, which is in {original}; two runs of one id would fight"
        raise shell.SkillError("conflict", message, hint=_way_out(original))


def _way_out(original: Path) -> str:
    return f"do it in {original}; `run --fresh` makes the copy a run of its own; if the run is to go on here, remove {original} first"


def bring_home(run_dir: Path, run: Run) -> None:
    """A run that was moved: the calls that are repeated word for word have the paths that hold here. Nothing is written."""
    if not run.run_dir or run.run_dir == str(run_dir):
        return
    old, new = _roots(Path(run.run_dir), run_dir)
    for record in run.stages.values():
        record.request = [_moved(word, old, new) for word in record.request]
        if record.document is not None and "submit" in run.stages:
            paths = {key: _moved(str(record.document[key]), old, new) for key in PATH_KEYS if key in record.document}
            record.document |= paths
    run.run_dir = str(run_dir)


def job_file(run_dir: Path, run: Run) -> Path:
    """The job file of the run, also where it was moved together with the run."""
    if os.path.isfile(run.job_file) or not run.run_dir:
        return Path(run.job_file)
    return Path(_moved(run.job_file, *_roots(Path(run.run_dir), run_dir)))


def _moved(text: str, old: str, new: str) -> str:
    return new + text[len(old) :] if text == old or text.startswith(old + os.sep) else text


def _roots(home: Path, here: Path) -> tuple[str, str]:
    """The folder that was moved as a whole, before and after: what is left when the common end of both paths is taken off."""
    while home.name == here.name and home.name:
        home, here = home.parent, here.parent
    return str(home), str(here)
