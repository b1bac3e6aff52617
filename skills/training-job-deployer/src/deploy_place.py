"""Where a job runs, and what every verb may ask of such a place. There are two: this machine and a Kubernetes cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import trainyard_shell as shell

if TYPE_CHECKING:
    from deploy_plan import Deployment
    from deploy_siblings import Answer, Call
    from run_state.store import Run, StageRecord

ABSENT = "absent"
"""Nothing was ever submitted, or the submission that was begun made nothing."""
ENDED = ("finished", "failed", "stopped", "gone")
"""`gone`: the job's object on the cluster was removed, and not by `stop`."""
UNFINISHED = ("lost", "orphaned")
"""The local supervisor died: the job was not ended by anybody and goes on when it is submitted again."""
RESUMABLE = ("failed", "stopped", "gone")


class Place(Protocol):
    """One object a call. Each method may raise the SkillError of the program that it asks."""

    asks_yes: ClassVar[bool]
    """Whether a run has to be agreed to: it costs money and changes what others share."""

    # before the submission
    def problems(self, deployment: Deployment, run: Run, *, strict: bool) -> list[shell.Check]:
        """What was found beforehand. Makes nothing. `strict`: a program that cannot answer raises, else it is a check."""

    def describe(self, deployment: Deployment, run: Run) -> dict[str, Any]:
        """The plan's part about this place; after `problems` it knows more."""

    def request(self, deployment: Deployment, run: Run, stage: str) -> Call:
        """What a stage's program is asked; no words when there is nothing to do."""

    def do(self, deployment: Deployment, run: Run, stage: str, request: Call) -> dict[str, Any]:
        """Makes that call, and returns what run.json keeps of its answer."""

    def again(self, run: Run, request: Call) -> Call:
        """The call that goes on with a job that ended: `request` is the one that started it."""

    def recall(self, run: Run, record: StageRecord) -> dict[str, Any]:
        """The answer to a submission whose caller was killed before it could read it."""

    # afterwards
    def status(self, run: Run) -> dict[str, Any]:
        """At least `state`; ABSENT when nothing was submitted."""

    def wait(self, run: Run, timeout_s: float) -> dict[str, Any]:
        """The status once the job has ended, or after `timeout_s`."""

    def progress(self, run: Run) -> dict[str, Any]:
        """`line`, `step`, `loss`...; {} when it cannot be told: looking must never end a run."""

    def health(self, run: Run, status: dict[str, Any], stall_factor: float) -> list[shell.Check]:
        """No answer is `unknown`, never healthy."""

    def trouble(self, run: Run, status: dict[str, Any], stall_factor: float) -> list[str]:
        """Lines for the person who waits, when nothing moved."""

    def lessons(self, run: Run, stall_factor: float) -> list[shell.Check]:
        """Warnings beside how the run ended: a restart from step 0, an end without a training step."""

    def results(self, run: Run) -> dict[str, Any]:
        """Where what the run made lies."""

    def log_tail(self, run: Run) -> list[str]:
        """The job's last lines."""

    def logs(self, run: Run, options: dict[str, Any]) -> tuple[tuple[str, str], list[str]]:
        """(program, arguments) that print the job's log."""

    def stop(self, run: Run, *, now: bool, dry_run: bool) -> Answer:
        """Ends the job; keeps its checkpoints."""

    def report(self, run: Run, output: str | None, stall_factor: float, *, dry_run: bool) -> tuple[Answer, list[shell.Check]]:
        """One HTML file, and what could not be had for it."""

    def clear(self, run: Run) -> list[str]:
        """Makes room for another run of the same name, once this one has ended; says what it removed."""


def of(target: str, run_dir: Path) -> Place:
    """The place of a target of the job file."""
    if target == "local":
        from places.local import LocalPlace

        return LocalPlace(run_dir)
    from on_kubernetes.place import ClusterPlace

    return ClusterPlace(run_dir)
