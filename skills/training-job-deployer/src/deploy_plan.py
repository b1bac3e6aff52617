"""A job file and what is on the disk -> the plan: stages, cost, problems. Makes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deploy_checks
from run_state import home
import deploy_place
from job_file import source_files
import deploy_stages
from run_state import store
import trainyard_shell as shell
from deploy_ref import Ref
from deploy_stages import Stage
from job_file.reading import JobFile

NO_RUN_ID = "0" * 16
"""Stands for the run id in a preview: the real one is drawn by `run`."""


@dataclass
class Deployment:
    """One job file to be run, with everything that its stages need to know."""

    ref: Ref
    job_file: JobFile
    stages: tuple[Stage, ...]
    place: deploy_place.Place
    inputs: dict[str, str] = field(default_factory=dict)
    """Digest of each key of the job file, and of the source."""
    replaces: bool = False
    """--fresh, and a run that has ended still holds the name: nobody can be asked yet whether the name is free."""

    make_room: Callable[[], list[str]] = list
    """--fresh: takes away the ended job that still holds the name, and says what it removed."""

    accepts: bool = False
    """resume --accept-changes: a run that has ended goes on with the job file as it is now."""

    @property
    def run_dir(self) -> Path:
        return self.ref.run_dir

    @property
    def submission(self) -> Stage:
        """The stage that starts the job."""
        return self.stage(deploy_stages.submission(self.job_file.job.target))

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def before_submission(self) -> list[Stage]:
        return list(self.stages[: self.stages.index(self.submission)])

    def digest(self, name: str) -> str:
        stage = self.stage(name)
        return _digest([stage.program, {key: self.inputs[key] for key in _inputs_of(stage)}])

    def done(self, run: store.Run, name: str) -> bool:
        """Whether the stage holds its answer for the inputs as they are now; a stage of another target does not."""
        return any(stage.name == name for stage in self.stages) and run.done(name, self.digest(name))

    def changed_keys(self, run: store.Run) -> list[str]:
        """The inputs of the submission that are no longer those of `run`."""
        return [key for key in _inputs_of(self.submission) if run.inputs.get(key) != self.inputs[key]]


def _inputs_of(stage: Stage) -> list[str]:
    return [*stage.keys, *(["source files"] if stage.uses_source else [])]


def load(ref: Ref) -> Deployment:
    """Reads the job file that `ref` names or that its run.json names. Raises SkillError."""
    import msgspec

    from job_file import reading

    file = reading.read(ref.job_path or _job_path(ref))
    values = msgspec.to_builtins(msgspec.structs.asdict(file.job))
    inputs = {key: _digest(value) for key, value in values.items()}
    inputs["source files"] = source_files.digest(file.source, leave_out=file.path)
    place = deploy_place.of(file.job.target, ref.run_dir)
    return Deployment(ref, file, deploy_stages.for_job(file.job), place, inputs)


def run_or_preview(deployment: Deployment) -> store.Run:
    """The run that is there, or one that stands for it in a plan."""
    run = store.load(deployment.run_dir)
    if run is None:
        job = deployment.job_file.job
        run = store.new(job.name, job.target, deployment.job_file.path)
        run.run_id = NO_RUN_ID
    return run


def problems(deployment: Deployment, run: store.Run, *, strict: bool) -> list[shell.Check]:
    """What was found beforehand: a `fail` stops a run before it makes anything."""
    checks = deploy_checks.skills(deployment.stages, deployment.job_file.job)
    if any(check.status == "fail" for check in checks) and deployment.place.asks_yes:
        return checks  # the other questions go to the very programs that are missing
    return checks + deployment.place.problems(deployment, run, strict=strict)


def next_call(deployment: Deployment, checks: list[shell.Check]) -> str:
    """After a plan: `run`, unless something failed, or a program could not answer at all: `run` would end there."""
    again = deployment.ref.command("plan")
    if any(check.status == "fail" for check in checks):
        return f"fix what failed, then {again}"
    stages = {stage.name for stage in deployment.stages}
    if silent := [check.id for check in checks if check.status == "unknown" and check.id in stages]:
        return f"{again} once {silent[0]} can be answered"
    return deployment.ref.command("run", *(["--yes"] if deployment.place.asks_yes else []))


def describe(deployment: Deployment, run: store.Run) -> dict[str, Any]:
    """The plan as data."""
    job = deployment.job_file.job
    return {
        "name": job.name,
        "target": job.target,
        "run_id": run.run_id if store.load(deployment.run_dir) else None,  # one that is not kept is no use to anybody
        "command": shlex.join(deployment.job_file.command.words),
        "source": str(deployment.job_file.source),
        "run_dir": str(deployment.run_dir),
        **deployment.place.describe(deployment, run),
        "stages": [_row(deployment, run, stage) for stage in deployment.stages],
    }


def _row(deployment: Deployment, run: store.Run, stage: Stage) -> dict[str, Any]:
    state = "to do"
    if stage.name in run.stages:
        record = run.stages[stage.name]
        state = "begun" if record.ended is None else "done" if record.digest == deployment.digest(stage.name) else "changed"
    return {"stage": stage.name, "program": stage.program, "writes": stage.writes, "cost": stage.cost, "state": state}


def _job_path(ref: Ref) -> Path:
    run = store.load(ref.run_dir)
    if run is None:
        raise shell.SkillError("not-found", f"no run in {ref.run_dir}", hint="give the job file")
    path = home.job_file(ref.run_dir, run)
    if not os.path.isfile(path):
        raise shell.SkillError("not-found", f"the job file {path} of this run is gone", hint="give the job file's new path")
    return path


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
