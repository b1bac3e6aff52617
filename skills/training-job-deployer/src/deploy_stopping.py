"""How a run is stopped: run.json says so from before anything ends, for on a cluster nothing else will."""

from __future__ import annotations

import time
from pathlib import Path

import deploy_siblings
import trainyard_shell as shell
from deploy_place import Place
from run_state import lock, store
from run_state.record import Run, StageRecord

REFUSED = ("usage", "not-found", "conflict", "permission", "credentials", "dependency")
"""A stop that ends with one of these has ended nothing; after any other the job may be ending."""


def ask(run_dir: Path) -> None:
    """From before anything ends: whoever watches with --restart must not take it for a failure."""
    with lock.locked(run_dir):
        current = store.load(run_dir)
        if current is not None:
            current.stop_asked = True
            store.save(run_dir, current)


def stop_and_record(run_dir: Path, run: Run, place: Place, *, now: bool, why: str | None = None) -> deploy_siblings.Answer:
    """Ends the job. Its record says `stopped`, and `why` where it was not its user who ended it."""
    if place.keeps_record:
        return place.stop(run, now=now, dry_run=False)
    state = place.status(run)["state"]
    ended = state if state in ("finished", "failed") else "stopped"  # what had ended by itself stays that
    before, record = run.stopped, StageRecord(digest="", program="stop", begun=time.time(), result={"state": ended})
    if why and ended == "stopped":
        record.result["reason"] = why
    _save(run_dir, run, record)
    try:
        answer = place.stop(run, now=now, dry_run=False)
    except shell.SkillError as error:
        if error.code in REFUSED:  # nothing was ended
            _save(run_dir, run, before)
        raise
    record.ended = time.time()
    _save(run_dir, run, record)
    return answer


def _save(run_dir: Path, run: Run, record: StageRecord | None) -> None:
    with lock.locked(run_dir):
        current = store.load(run_dir)
        if current is not None and current.run_id == run.run_id:
            current.stopped = run.stopped = record
            store.save(run_dir, current)
