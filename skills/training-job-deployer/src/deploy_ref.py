"""Which run the user means: a job file, a run's name (also one set aside), or a run folder."""

from __future__ import annotations

import os
import re
from pathlib import Path

import deploy_settle
import trainyard_shell as shell
from deployment import Ref
from job_file import reading
from run_state import store

RUN_NAME = re.compile(r"[a-z][-a-z0-9]{0,39}(@[0-9a-f]{16})?")


def resolve(given: str, state_dir: str | None) -> Ref:
    """Raises SkillError: not-found, usage (the job file has no usable name)."""
    path = Path(given)
    if os.path.exists(path / "run.json"):
        return Ref(given, path.absolute(), None)
    if os.path.isfile(path) or path.suffix in (".yaml", ".yml") or "/" in given or not RUN_NAME.fullmatch(given):
        return of_job_file(given, state_dir)
    return _of_name(given, state_dir)


def of_job_file(given: str, state_dir: str | None) -> Ref:
    path = Path(given).absolute()
    folder = Path(state_dir).absolute() if state_dir else path.parent / ".trainyard"
    try:
        name = reading.read_name(Path(given))
    except shell.SkillError:
        reading.read(Path(given))  # says everything that is wrong, not only the name
        raise
    deploy_settle.settle_if_idle(folder / "runs" / name)
    return Ref(given, folder / "runs" / name, path, state_dir)


def _of_name(name: str, state_dir: str | None) -> Ref:
    places = (
        [Path(state_dir).absolute()] if state_dir else [place / ".trainyard" for place in (Path.cwd(), *Path.cwd().parents)]
    )
    for place in places:
        deploy_settle.settle_if_idle(place / "runs" / name)
        if (place / "runs" / name / "run.json").exists():
            return Ref(name, place / "runs" / name, None, state_dir)
    there = sorted({path.parent.name for place in places for path in place.glob("runs/*/run.json")})
    known = f"; there are: {', '.join(there[:10])}" if there else ""
    hint = "give the job file, or --state-dir: runs lie in .trainyard/runs beside their job file"
    raise shell.SkillError("not-found", f"no run {name} in {places[0]}{' or above' if not state_dir else ''}{known}", hint=hint)


def newest(state_dir: str | None) -> Ref:
    """The run here, or above, that was started last. Raises SkillError not-found."""
    runs = runs_folder(None, state_dir)
    found = [path.parent for path in runs.glob("*/run.json") if "@" not in path.parent.name]
    if not found:
        hint = "give a job file or a run: runs lie in .trainyard/runs beside their job file"
        raise shell.SkillError("not-found", f"no run in {runs.parent} or above", hint=hint)
    last = max(found, key=_begun)
    shell.progress(f"{last.name}: the run that was started last of {len(found)} here")
    return _of_name(last.name, state_dir)


def _begun(run_dir: Path) -> float:
    try:
        run = store.load(run_dir)
    except shell.SkillError:
        return 0.0
    return run.submission.begun if run is not None and run.submission else run.created if run else 0.0


def runs_folder(given: str | None, state_dir: str | None) -> Path:
    """Where `list` looks: --state-dir, beside a job file, a folder's .trainyard, or .trainyard here or above."""
    if state_dir:
        return Path(state_dir).absolute() / "runs"
    if given:
        path = Path(given).absolute()
        if not os.path.exists(path):
            raise shell.SkillError("not-found", f"no job file or folder {given}", hint="list JOB_FILE, or list --state-dir DIR")
        return (path if os.path.isdir(path) else path.parent) / ".trainyard" / "runs"
    places = [place / ".trainyard" / "runs" for place in (Path.cwd(), *Path.cwd().parents)]
    return next((place for place in places if place.is_dir()), places[0])
