"""A job file and what is on the disk -> the plan: stages, cost, problems. Makes nothing."""

from __future__ import annotations

import os
import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

import deploy_checks
import deploy_place
import trainyard_shell as shell
from deploy_stage import SUBMISSIONS, Stage
from deployment import Deployment, Ref, digest_of
from job_file import reading, source_files, targets
from run_state import home, record, store
from run_state.record import Run

NO_RUN_ID = "0" * 16
"""Stands for the run id in a preview: the real one is drawn by `run`."""


def load(ref: Ref) -> Deployment:
    """Reads the job file that `ref` names or that its run.json names. Raises SkillError."""
    added = ref.added or _added(ref.run_dir)
    file = reading.read(ref.job_path or _job_path(ref), added=added, name=ref.run_dir.name.partition("@")[0] if added else None)
    values = msgspec.to_builtins(msgspec.structs.asdict(file.job))
    inputs = {key: digest_of(value) for key, value in values.items()}
    inputs["source files"] = source_files.digest(file.source, leave_out=file.path)
    stages = deploy_place.of(file.job.target, ref.run_dir).stages(file.job)
    if not {stage.name for stage in stages} & set(SUBMISSIONS):
        raise targets.faulty(file.job.target, ValueError(f"none of its stages is called {' or '.join(SUBMISSIONS)}"))
    return Deployment(ref, file, stages, inputs, added=added)


def place_of(deployment: Deployment) -> deploy_place.Place:
    """Where the job file says that the job runs."""
    return deploy_place.of(deployment.job.target, deployment.run_dir)


def run_or_preview(deployment: Deployment) -> Run:
    """The run that is there, or one that stands for it in a plan."""
    return store.load(deployment.run_dir) or stand_in(deployment)


def stand_in(deployment: Deployment) -> Run:
    """A run that is not there yet, for what is only shown: each plan of it is the same."""
    run = record.new(deployment.job.name, deployment.job.target, deployment.job_file.path)
    run.run_id = NO_RUN_ID
    return run


def problems(deployment: Deployment, run: Run, *, strict: bool) -> list[shell.Check]:
    """What was found beforehand: a `fail` stops a run before it makes anything."""
    checks = deploy_checks.skills(deployment.stages)
    if any(check.status == "fail" for check in checks) and place_of(deployment).asks_yes:
        return checks  # the other questions go to the very programs that are missing
    return checks + place_of(deployment).problems(deployment, run, strict=strict)


def next_call(deployment: Deployment, checks: list[shell.Check]) -> str:
    """After a plan: `run`, unless something failed, or a program could not answer at all: `run` would end there."""
    again = deployment.ref.command("plan")
    if any(check.status == "fail" for check in checks):
        return f"fix what failed, then {again}"
    stages = {stage.name for stage in deployment.stages}
    if silent := [check.id for check in checks if check.status == "unknown" and check.id in stages]:
        return f"{again} once {silent[0]} can be answered"
    return deployment.ref.command("run", *(["--yes"] if place_of(deployment).asks_yes else []))


def describe(deployment: Deployment, run: Run) -> dict[str, Any]:
    """The plan as data."""
    job, stored = deployment.job, store.load(deployment.run_dir)
    return {
        "name": job.name,
        "target": job.target,
        "run_id": run.run_id if stored and stored.run_id == run.run_id else None,  # one that is not kept is no use to anybody
        "command": shlex.join(deployment.job_file.command.words),
        "source": str(deployment.job_file.source),
        "run_dir": str(deployment.run_dir),
        **place_of(deployment).describe(deployment, run),
        "stages": [_row(deployment, run, stage) for stage in deployment.stages],
    }


def _row(deployment: Deployment, run: Run, stage: Stage) -> dict[str, Any]:
    state = "to do"
    if stage.name in run.stages:
        kept = run.stages[stage.name]
        state = "begun" if kept.ended is None else "done" if kept.digest == deployment.digest(stage.name) else "changed"
    return {"stage": stage.name, "program": stage.program, "writes": stage.writes, "cost": stage.cost, "state": state}


def _added(run_dir: Path) -> tuple[str, ...]:
    """The arguments that make it a separate run. A folder that cannot be read is refused by whoever needs the run."""
    with suppress(shell.SkillError):
        stored = store.load(run_dir)
        return tuple(stored.added) if stored else ()
    return ()


def _job_path(ref: Ref) -> Path:
    run = store.load(ref.run_dir)
    if run is None:
        raise shell.SkillError("not-found", f"no run in {ref.run_dir}", hint="give the job file")
    path = home.job_file(ref.run_dir, run)
    if not os.path.isfile(path):
        raise shell.SkillError("not-found", f"the job file {path} of this run is gone", hint="give the job file's new path")
    return path
