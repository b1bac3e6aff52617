"""Which stages a target has, and which sibling skill's program does each. A new target is a new list here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from job_schema import Job

RUNNER = ("local-runner", "run_local.py")
MONITOR = ("monitor", "monitor_training.py")

RUNNABLE = ("local",)
"""Targets whose stages this program can run, not only plan."""


@dataclass(frozen=True)
class Stage:
    """One step of a deployment: a program, and what it leaves behind."""

    name: str
    skill: str
    script: str
    writes: str
    cost: str = "0 USD"
    keys: tuple[str, ...] = ()
    """The keys of the job file that this stage depends on; with the source they make its digest."""
    uses_source: bool = True

    @property
    def program(self) -> str:
        return f"{self.skill}/src/{self.script}"


_JOB_KEYS = ("name", "target", "source", "run", "python", "nodes", "procs_per_node", "env", "secrets", "checkpoints")

LOCAL = (
    Stage("check", *RUNNER, "nothing", keys=(*_JOB_KEYS, "monitor")),
    Stage("submit", *RUNNER, "the run folder, and the job's processes", keys=(*_JOB_KEYS, "monitor")),
    Stage("watch", *RUNNER, "nothing", keys=("name",), uses_source=False),
    Stage("report", *MONITOR, "report.html in the run folder", keys=("name",), uses_source=False),
)

_METERED = "billed by the account"
_BUILD = (
    Stage("build", "image-builder", "build_image.py", "a container image", _METERED, ("image", "source")),
    Stage("test", "image-tester", "test_image.py", "nothing", _METERED, ("image",)),
    Stage("push", "ecr-pusher", "push_image.py", "an image in the registry", _METERED, ("image",)),
)


def for_job(job: Job) -> tuple[Stage, ...]:
    """The stages of this job, in order."""
    return LOCAL if job.target == "local" else _cluster(job)


def _cluster(job: Job) -> tuple[Stage, ...]:
    fit = "hyperpod-manager" if job.target == "hyperpod" else "cluster-manager"
    submit = "ray-manager" if job.engine in ("rayjob", "raycluster") else "pytorchjob-manager"
    keys = (*_JOB_KEYS, "engine", "cluster", "resources", "network", "monitor", "image")
    return (
        *(_BUILD if job.image and job.image.build else ()),
        Stage("fit", fit, "manage_cluster.py", "nothing", keys=("cluster", "resources", "network", "nodes")),
        Stage("volume", "checkpoint-manager", "manage_checkpoints.py", "a volume for checkpoints", _METERED, ("checkpoints",)),
        Stage("submit", submit, "deploy_job.py", "the job's objects in its namespace", _METERED, keys),
        Stage("watch", *MONITOR, "nothing", keys=("name",), uses_source=False),
        Stage("report", *MONITOR, "report.html in the run folder", keys=("name",), uses_source=False),
    )
