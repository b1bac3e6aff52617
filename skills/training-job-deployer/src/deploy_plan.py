"""A job file and what is on the disk -> the plan: stages, cost, problems. Makes nothing."""

from __future__ import annotations

import hashlib
import json
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import deploy_checks
import deploy_source
import deploy_stages
import deploy_state
import trainyard_shell as shell
from deploy_ref import Ref
from deploy_stages import Stage
from job_file import JobFile


@dataclass
class Deployment:
    """One job file to be run, with everything that its stages need to know."""

    ref: Ref
    job_file: JobFile
    stages: tuple[Stage, ...]
    inputs: dict[str, str] = field(default_factory=dict)
    """Digest of each key of the job file, and of the source."""

    @property
    def run_dir(self) -> Path:
        return self.ref.run_dir

    @property
    def is_local(self) -> bool:
        return self.job_file.job.target == "local"

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def digest(self, name: str) -> str:
        stage = self.stage(name)
        keys = [*stage.keys, *(["source files"] if stage.uses_source else [])]
        return _digest([stage.program, {key: self.inputs[key] for key in keys}])


def load(ref: Ref) -> Deployment:
    """Reads the job file that `ref` names or that its run.json names. Raises SkillError."""
    import msgspec

    import job_file

    file = job_file.read(ref.job_path or _job_path(ref))
    values = msgspec.to_builtins(msgspec.structs.asdict(file.job))
    inputs = {key: _digest(value) for key, value in values.items()}
    inputs["source files"] = deploy_source.digest(file.source, leave_out=file.path)
    return Deployment(ref, file, deploy_stages.for_job(file.job), inputs)


def problems(deployment: Deployment) -> list[shell.Check]:
    """What was found beforehand: a `fail` stops a run before it makes anything."""
    checks = deploy_checks.skills(deployment.stages)
    if deployment.is_local:
        checks += deploy_checks.ignored(deployment.job_file) + deploy_checks.local(deployment.job_file, deployment.run_dir)
    return checks


def describe(deployment: Deployment) -> dict[str, Any]:
    """The plan as data."""
    job = deployment.job_file.job
    run = deploy_state.load(deployment.run_dir)
    described = {
        "name": job.name,
        "target": job.target,
        "run_id": run.run_id if run else None,
        "command": shlex.join(deployment.job_file.command.words),
        "source": str(deployment.job_file.source),
        "run_dir": str(deployment.run_dir),
        "cost_usd": 0 if deployment.is_local else None,
        "stages": [_row(deployment, run, stage) for stage in deployment.stages],
    }
    if deployment.is_local:
        described["python"] = str(deploy_checks.interpreter(deployment.job_file))
        described["processes"] = deployment.job_file.procs
    return described


def _row(deployment: Deployment, run: deploy_state.Run | None, stage: Stage) -> dict[str, Any]:
    state = "to do"
    if run and stage.name in run.stages:
        record = run.stages[stage.name]
        state = "begun" if record.ended is None else "done" if record.digest == deployment.digest(stage.name) else "changed"
    return {"stage": stage.name, "program": stage.program, "writes": stage.writes, "cost": stage.cost, "state": state}


def _job_path(ref: Ref) -> Path:
    run = deploy_state.load(ref.run_dir)
    if run is None:
        raise shell.SkillError("not-found", f"no run in {ref.run_dir}", hint="give the job file")
    if not Path(run.job_file).is_file():
        raise shell.SkillError(
            "not-found", f"the job file {run.job_file} of this run is gone", hint="give the job file's new path"
        )
    return Path(run.job_file)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
