"""Where a job runs, and what every verb may ask of such a place. Each target's is the class `Place` of a file in places/."""

from __future__ import annotations

import functools
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import trainyard_shell as shell
from deploy_siblings import Answer, Call, call, options
from deploy_stage import MONITOR, Stage
from job_file import targets
from job_file.command import Command
from job_file.reading import Finding
from trainyard_job import Job

if TYPE_CHECKING:
    from deployment import Deployment
    from run_state.record import Run, StageRecord

ABSENT = "absent"
"""Nothing was ever submitted, or the submission that was begun made nothing."""
ENDED = ("finished", "failed", "stopped", "gone")
"""`gone`: the job's object on the cluster was removed, and not by `stop`."""
UNFINISHED = ("lost", "orphaned")
"""The local supervisor died: the job was not ended by anybody and goes on when it is submitted again."""
RESUMABLE = ("failed", "stopped", "gone")
LOOK_INTERVAL_S = 10.0
"""Between two looks of whoever watches; the end of the job is noticed at once."""
CHECKPOINTS = ("checkpoint-manager", "manage_checkpoints.py")
ROLL_BACK_S = 3600.0
"""A checkpoint of hundreds of gigabytes is read whole before a run is sent back to it."""
LESSONS = ("restart.point", "run.trained")
"""Checks of the monitor that say what a run was worth, beside how it ended."""


@dataclass(frozen=True)
class Look:
    """How a job is at one moment."""

    status: dict[str, Any]
    progress: dict[str, Any]
    trouble: Callable[[], list[str]] = list
    """Lines for the person who waits, when nothing moved."""
    lessons: list[shell.Check] | None = None
    """Warnings beside how the run is going; None: they have to be asked for."""
    endless: shell.Check | None = None
    """Why nothing will come of waiting for it."""


@dataclass
class Place(ABC):
    """One object a call, without memory. Each method may raise the SkillError of the program that it asks."""

    run_dir: Path
    asks_yes: ClassVar[bool] = False
    """Whether a run has to be agreed to: it costs money and changes what others share."""
    has_volume: ClassVar[bool] = False
    """Whether the checkpoints lie on a volume that a run keeps for its life (checkpoints.storage)."""
    has_other_nodes: ClassVar[bool] = False
    """Whether a restart may come to another node than before."""
    keeps_record: ClassVar[bool] = False
    """Whether the place itself keeps how a run has ended; else run.json has to."""

    # --- before the submission ---

    @staticmethod
    @abstractmethod
    def stages(job: Job) -> tuple[Stage, ...]:
        """In order; one of them has a name in SUBMISSIONS."""

    @staticmethod
    def findings(job: Job, command: Command | None) -> list[Finding]:
        """What of a job file is wrong for this target, by its keys."""
        return []

    @abstractmethod
    def problems(self, deployment: Deployment, run: Run, *, strict: bool) -> list[shell.Check]:
        """What was found beforehand. Makes nothing. `strict`: a program that cannot answer raises, else it is a check."""

    @abstractmethod
    def describe(self, deployment: Deployment, run: Run) -> dict[str, Any]:
        """The plan's part about this place; after `problems` it knows more. With `asks_yes` also `summary`, which ends the sentence
        "this would ...".
        """

    @abstractmethod
    def request(self, deployment: Deployment, run: Run, stage: str) -> Call:
        """What a stage's program is asked; no words when there is nothing to do."""

    @abstractmethod
    def do(self, deployment: Deployment, run: Run, stage: str, request: Call) -> dict[str, Any]:
        """Makes that call, and returns what run.json keeps of its answer."""

    @abstractmethod
    def again(self, run: Run, request: Call) -> Call:
        """The call that goes on with a job that ended: `request` is the one that started it."""

    @abstractmethod
    def recall(self, run: Run, record: StageRecord) -> dict[str, Any]:
        """The answer to a submission whose caller was killed before it could read it."""

    # --- afterwards ---

    @abstractmethod
    def status(self, run: Run) -> dict[str, Any]:
        """At least `state`; ABSENT when nothing was submitted."""

    @abstractmethod
    def wait(self, run: Run, timeout_s: float) -> dict[str, Any]:
        """The status once the job has ended, or after `timeout_s`."""

    @abstractmethod
    def progress(self, run: Run) -> dict[str, Any]:
        """`line`, `step`, `loss`...; {} when it cannot be told: looking must never end a run."""

    @abstractmethod
    def health(self, run: Run, status: dict[str, Any]) -> list[shell.Check]:
        """No answer is `unknown`, never healthy. `status` holds the progress under `progress`."""

    @abstractmethod
    def trouble(self, run: Run, status: dict[str, Any]) -> list[str]:
        """Lines for the person who waits, when nothing moved."""

    def endless(self, status: dict[str, Any]) -> shell.Check | None:
        """Why a job in this state will not go on by itself, as far as the looks so far show."""
        return None

    def looks(self, run: Run, deadline: float) -> Iterator[Look]:
        """One look every LOOK_INTERVAL_S until the job has ended, or until `deadline` (monotonic)."""
        while True:
            status = self.wait(run, min(LOOK_INTERVAL_S, max(0.0, deadline - time.monotonic())))
            yield Look(status, self.progress(run), functools.partial(self.trouble, run, status), endless=self.endless(status))
            if time.monotonic() >= deadline:
                return

    def as_monitored(self, run: Run) -> list[str]:
        """How the monitor is told which run it is."""
        return [str(self.run_dir)]

    def is_gone(self, status: dict[str, Any]) -> bool:
        """Whether nothing but the files in the run folder is left to look at."""
        return False

    def hangs(self, run: Run, look: Look) -> str | None:
        """Why a run that nobody has ended looks as if it hung; None: it does not."""
        return None

    sees_hangs: ClassVar[bool] = False
    """Whether `hangs` is a verdict; else it is a suspicion, which the doctor has to confirm."""

    def checkpoint_list(self, run: Run) -> str:
        """The command that lists the run's checkpoints."""
        return shlex.join(["manage_checkpoints.py", "list", str(self.run_dir)])

    def roll_back(self, run: Run, step: int, *, dry_run: bool) -> Answer:
        """Sets the checkpoints after `step` aside, once the job has ended; they stay on the disk. The program verifies that step first."""
        words = ["rollback", str(self.run_dir), str(step), *options(dry_run=dry_run, yes=not dry_run)]
        return call(CHECKPOINTS, words, timeout_s=ROLL_BACK_S).or_raise()

    def repairs(self, run: Run, node: str | None) -> list[str]:
        """Commands that take a node with a fault out of the way."""
        return []

    def leave_node(self, run: Run, node: str, *, yes: bool, deadline: float) -> tuple[list[shell.Check], bool]:
        """Takes it out of the way, if `yes` and anybody can: what became of that, and whether the next start has to avoid it. Never raises."""
        return [], False

    def ask_monitor(self, run: Run, verb: str, *words: str) -> Answer:
        """About the files in the run folder."""
        factor = f"{run.monitor('stall_factor'):g}"
        return call(MONITOR, [verb, str(self.run_dir), "--stall-factor", factor, *words])

    def lessons(self, run: Run) -> list[shell.Check]:
        """The monitor's warnings beside how the run ended: a restart from step 0, an end without a training step."""
        try:
            return lessons_in(self.ask_monitor(run, "health").checks)
        except shell.SkillError:
            return []

    def kept_progress(self, run: Run) -> dict[str, Any]:
        """How far an ended run came, by its files: a start that finds all steps done prints none, and pods go with their logs."""
        try:
            return self.ask_monitor(run, "status").data if (self.run_dir / "events.jsonl").exists() else {}
        except shell.SkillError:
            return {}

    def restart_point(self, run: Run) -> dict[str, Any] | None:
        """`step` that a restart begins at, None in it where nobody knows; None where only the job itself can see that."""
        return None

    def where_it_begins(self, run: Run) -> str:
        """The restart point in words, after "it"."""
        point = self.restart_point(run)
        if point is None:
            return "goes on from its newest checkpoint"
        if point.get("step"):
            return f"goes on from its newest checkpoint, step {point['step']}"
        if point.get("step") is None:
            return "begins again at step 0, unless the script resumes by itself: no checkpoint of it is known here"
        return "begins again at step 0: nothing that was saved is known here"

    @abstractmethod
    def results(self, run: Run) -> dict[str, Any]:
        """Where what the run made lies."""

    @abstractmethod
    def listed(self, run: Run | None) -> tuple[str, str | None]:
        """State and note in a list of runs, with nobody but this machine asked; None: of a folder whose run.json is damaged."""

    @abstractmethod
    def log_tail(self, run: Run) -> list[str]:
        """The job's last lines."""

    @abstractmethod
    def logs(self, run: Run, wish: dict[str, Any]) -> tuple[tuple[str, str], list[str]]:
        """(program, arguments) that print the job's log; `wish`: the options of `deploy.py logs`."""

    @abstractmethod
    def stop(self, run: Run, *, now: bool, dry_run: bool) -> Answer:
        """Ends the job; keeps its checkpoints."""

    def report(self, run: Run, output: str | None, *, dry_run: bool) -> tuple[Answer, list[shell.Check]]:
        """One HTML file, and what could not be had for it."""
        return self.ask_monitor(run, "report", *options(output=output, dry_run=dry_run)).or_raise(), []

    def clear(self, run: Run) -> list[str]:
        """Makes room for another run of the same name, once this one has ended; says what it removed."""
        return []  # where each run has a folder of its own


def is_hopeless(reason: str | None) -> bool:
    """Whether the runner gave the run up because another attempt would end in the same way."""
    return "a restart cannot help" in (reason or "")


def lessons_in(checks: list[shell.Check]) -> list[shell.Check]:
    return [check for check in checks if check.id in LESSONS and check.status in ("warn", "fail")]


def of(target: str, run_dir: Path) -> Place:
    """The place of a target of the job file. Raises SkillError conflict for one that this version does not know."""
    try:
        place: Place = targets.place_class(target)(run_dir)
    except TypeError as error:  # a method is missing
        raise targets.faulty(target, error) from error
    return place
