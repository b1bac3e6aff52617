"""`run --fresh`: the old run steps aside for a new one, and comes back where the new one cannot start (deploy_settle.py)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import deploy_agree
import deploy_place
import deploy_plan
import deploy_settle
import trainyard_shell as shell
from deploy_place import ABSENT, ENDED
from deploy_plan import place_of
from deployment import Deployment
from run_state import home, store
from run_state.record import Run, StageRecord


def preview(deployment: Deployment) -> tuple[Run, Path | None]:
    """For --dry-run: the run that would begin, and where the old one would go. Raises SkillError where `run --fresh` would refuse it."""
    old = store.load(deployment.run_dir)
    if old is None:
        return deploy_plan.run_or_preview(deployment), None
    _refuse_living(deployment, old)
    deployment.replaces = not _is_copied(deployment, old)
    return deploy_plan.stand_in(deployment), _aside(deployment, old)


@contextmanager
def stepping_aside(deployment: Deployment, yes: bool) -> Iterator[list[str]]:
    """Under the lock: the folder is free inside, and holds the old run again where what is done there starts no job."""
    old = store.load(deployment.run_dir)
    if old is None:
        yield []
        return
    aside = _refuse_or_name(deployment, old, yes)
    deploy_settle.write_note(deployment.run_dir, old)
    try:
        store.set_aside(deployment.run_dir, aside)
        changed = [f"set aside the old run as {aside}{_kept_claim(deployment, old)}"]
        yield changed
        shell.progress(f"the old run is kept in {aside}")
    except BaseException:
        with suppress(shell.SkillError):  # where nobody can tell whether the new job runs, the next call settles it
            deploy_settle.settle(deployment.run_dir)
        raise
    deploy_settle.note_of(deployment.run_dir).unlink(missing_ok=True)


def _refuse_or_name(deployment: Deployment, old: Run, yes: bool) -> Path:
    """Where the old run goes. Raises SkillError while it lives, and where the new one is not possible or not agreed to."""
    place, copied = deploy_place.of(old.target, deployment.run_dir), _is_copied(deployment, old)
    state = _refuse_living(deployment, old)
    if place_of(deployment).asks_yes:  # before anything of the old run goes, the new one has to be possible and agreed to
        deployment.replaces = not copied
        successor = deploy_plan.stand_in(deployment)
        deploy_agree.refuse_problems(deployment, successor)
        deploy_agree.refuse_without_yes(deployment, successor, yes, "run", "--fresh")
    aside = _aside(deployment, old)
    deployment.make_room = lambda: [] if copied else _make_room(place, old, state, aside)
    return aside


def _is_copied(deployment: Deployment, old: Run) -> bool:
    return home.original_of(deployment.run_dir, old) is not None


def _refuse_living(deployment: Deployment, old: Run) -> str:
    """How the old run had ended. Raises SkillError while it lives."""
    place, command = deploy_place.of(old.target, deployment.run_dir), deployment.ref.command
    has_no_job = _is_copied(deployment, old) and not place.keeps_record
    state = ABSENT if has_no_job else str(place.status(old)["state"])
    if state not in (*ENDED, ABSENT, "lost"):
        message = f"{old.name} (run {old.run_id}) is {state}; --fresh does not set a living run aside"
        raise shell.SkillError("conflict", message, hint=f"{command('run')}, or first {command('stop')}")
    return state


def _aside(deployment: Deployment, old: Run) -> Path:
    aside = deployment.run_dir.with_name(f"{deployment.run_dir.name}@{old.run_id}")
    if os.path.lexists(aside):
        raise shell.SkillError("conflict", f"{aside} exists already", hint="move it away")
    return aside


def _make_room(place: deploy_place.Place, old: Run, state: str, aside: Path) -> list[str]:
    """The ended job gives its name away, as late as can be; run.json says how it had ended, for nothing else does then."""
    if not place.keeps_record and state in ENDED and old.stopped is None:
        now = time.time()
        old.stopped = StageRecord(digest="", program="run --fresh", begun=now, ended=now, result={"state": state})
        store.save(aside, old)
    return place.clear(old)


def _kept_claim(deployment: Deployment, old: Run) -> str:
    kept = deploy_place.of(old.target, deployment.run_dir).results(old)
    return f", with its checkpoints on the claim {kept['claim']}" if kept.get("claim") else ""
