"""What this call is about: a run as the user named it, and one job file to be run with everything that its stages need to know."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deploy_siblings import OURSELVES, Answer
from deploy_stage import SUBMISSIONS, Stage
from job_file.reading import JobFile
from run_state.record import Run
from trainyard_job import Job


@dataclass(frozen=True)
class Ref:
    """A run, as the user named it and as it lies on the disk."""

    given: str
    run_dir: Path
    job_path: Path | None
    """The job file, when the user named it."""
    state_dir: str | None = None
    added: tuple[str, ...] = ()
    """Arguments after --: this run is the job with these after its command."""
    name: str = ""
    """With `added`: what the user calls this run, as `given` is the job file."""

    def command(self, verb: str, *more: str) -> str:
        """The line that does `verb` on this run, as the user could type it here."""
        script = min((os.path.relpath(OURSELVES), str(OURSELVES)), key=len)
        options = ["--state-dir", self.state_dir] if self.state_dir else []
        if self.added and verb in ("plan", "run"):
            more = (*more, "--", *self.added)
        elif self.added:
            return shlex.join(["python", script, verb, self.name, *options, *more])
        return shlex.join(["python", script, verb, self.given, *options, *more])


@dataclass
class Deployment:
    """One job file to be run, with everything that its stages need to know."""

    ref: Ref
    job_file: JobFile
    stages: tuple[Stage, ...]
    inputs: dict[str, str] = field(default_factory=dict)
    """Digest of each key of the job file, and of the source."""
    replaces: bool = False
    """--fresh, and a run that has ended still holds the name: nobody can be asked yet whether the name is free."""

    make_room: Callable[[], list[str]] = list
    """--fresh: takes away the ended job that still holds the name, and says what it removed."""

    added: tuple[str, ...] = ()
    """Arguments that this run has after the command of its job file."""

    answers: dict[str, Answer] = field(default_factory=dict)
    """What the stages' programs answered to this call of ours: a stage takes the answer that its plan was made with."""

    accepts: bool = False
    """resume --accept-changes: a run that has ended goes on with the job file as it is now."""

    @property
    def job(self) -> Job:
        return self.job_file.job

    @property
    def run_dir(self) -> Path:
        return self.ref.run_dir

    @property
    def submission(self) -> Stage:
        """The stage that starts the job."""
        return next(stage for stage in self.stages if stage.name in SUBMISSIONS)

    def stage(self, name: str) -> Stage:
        return next(stage for stage in self.stages if stage.name == name)

    def before_submission(self) -> list[Stage]:
        return list(self.stages[: self.stages.index(self.submission)])

    def digest(self, name: str) -> str:
        stage = self.stage(name)
        return digest_of([stage.program, {key: self.inputs[key] for key in stage.inputs}])

    def done(self, run: Run, name: str) -> bool:
        """Whether the stage holds its answer for the inputs as they are now; a stage of another target does not."""
        return any(stage.name == name and stage.is_cached for stage in self.stages) and run.done(name, self.digest(name))

    def changed_keys(self, run: Run) -> list[str]:
        """The inputs of the submission that are no longer those of `run`."""
        return [key for key in self.submission.inputs if run.inputs.get(key) != self.inputs[key]]


def digest_of(value: Any) -> str:
    """16 hex digits of a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
