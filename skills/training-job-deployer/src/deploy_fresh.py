"""`run --fresh`: the old run steps aside for a new one, and comes back where the new one cannot start.

The note `.NAME.fresh` beside the run folder says whose turn is not settled. It is written before anything moves and removed once the new
run was submitted; whoever comes next after a kill finds it and ends with one of the two runs in place.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import deploy_agree
from run_state import home
import deploy_place
from run_state import store
import trainyard_shell as shell
from deploy_place import ABSENT, ENDED
from deploy_plan import Deployment
from run_state.store import Run, StageRecord
from trainyard_files import Unusable, read_object


@contextmanager
def stepping_aside(deployment: Deployment, yes: bool) -> Iterator[list[str]]:
    """Under the lock: the folder is free inside, and holds the old run again where what is done there starts no job."""
    old = store.load(deployment.run_dir)
    if old is None:
        yield []
        return
    aside = _refuse_or_name(deployment, old, yes)
    _write_note(deployment.run_dir, old)
    try:
        store.set_aside(deployment.run_dir, aside)
        changed = [f"set aside the old run as {aside}{_kept_claim(deployment, old)}"]
        yield changed
        shell.progress(f"the old run is kept in {aside}")
    except BaseException:
        with suppress(shell.SkillError):  # where nobody can tell whether the new job runs, the next call settles it
            settle(deployment.run_dir)
        raise
    _note(deployment.run_dir).unlink(missing_ok=True)


def _refuse_or_name(deployment: Deployment, old: Run, yes: bool) -> Path:
    """Where the old run goes. Raises SkillError while it lives, and where the new one is not possible or not agreed to."""
    place, command = deploy_place.of(old.target, deployment.run_dir), deployment.ref.command
    copied = home.original_of(deployment.run_dir, old) is not None
    state = ABSENT if copied and old.target != "local" else place.status(old)["state"]  # a copy has no job of its own
    if state not in (*ENDED, ABSENT, "lost"):
        message = f"{old.name} (run {old.run_id}) is {state}; --fresh does not set a living run aside"
        raise shell.SkillError("conflict", message, hint=f"{command('run')}, or first {command('stop')}")
    if deployment.place.asks_yes:  # before anything of the old run goes, the new one has to be possible and agreed to
        deployment.replaces = not copied
        successor = store.new(old.name, deployment.job_file.job.target, deployment.job_file.path)
        deploy_agree.refuse_problems(deployment, successor)
        deploy_agree.refuse_without_yes(deployment, successor, yes, "run", "--fresh")
    aside = deployment.run_dir.with_name(f"{deployment.run_dir.name}@{old.run_id}")
    if os.path.lexists(aside):
        raise shell.SkillError("conflict", f"{aside} exists already", hint="move it away")
    deployment.make_room = lambda: [] if copied else _make_room(place, old, state, aside)
    return aside


def _make_room(place: deploy_place.Place, old: Run, state: str, aside: Path) -> list[str]:
    """The ended job gives its name away, as late as can be; run.json says how it had ended, for nothing else does then."""
    if old.target != "local" and state in ENDED and old.stopped is None:
        now = time.time()
        old.stopped = StageRecord(digest="", program="run --fresh", begun=now, ended=now, result={"state": state})
        store.save(aside, old)
    return place.clear(old)


def _kept_claim(deployment: Deployment, old: Run) -> str:
    kept = deploy_place.of(old.target, deployment.run_dir).results(old)
    return f", with its checkpoints on the claim {kept['claim']}" if kept.get("claim") else ""


# --- the note ------------------------------------------------------------------------------------------------------


def _note(run_dir: Path) -> Path:
    return run_dir.with_name(f".{run_dir.name}.fresh")


def _write_note(run_dir: Path, old: Run) -> None:
    try:
        with _note(run_dir).open("w", encoding="utf-8") as file:
            file.write(json.dumps({"old": old.run_id}))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            _note(run_dir).unlink()
        raise shell.cannot_write(
            run_dir.parent, error, "free space, or --state-dir elsewhere; the old run is as it was"
        ) from error


def settle(run_dir: Path) -> None:
    """Under the lock: after a --fresh that was cut off, the new run stands where its job was started, else the old one does again."""
    try:
        note = read_object(_note(run_dir), {"old": "text"})
    except (Unusable, OSError):
        note = {}
    if note is None:
        return
    aside = run_dir.with_name(f"{run_dir.name}@{note.get('old')}")
    if os.path.lexists(aside) and not _started(run_dir):
        _bring_back(run_dir, aside)
    _note(run_dir).unlink(missing_ok=True)


def settle_if_idle(run_dir: Path) -> None:
    """For the verbs that only look; a `run --fresh` that is at work settles it by itself."""
    if os.path.lexists(_note(run_dir)):
        with suppress(shell.SkillError), store.locked(run_dir, timeout_s=0):
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
