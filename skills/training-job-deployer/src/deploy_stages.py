"""Which stages a target has, and which sibling skill's program does each. A new target is a new list here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainyard_job import RAY_ENGINES

if TYPE_CHECKING:
    from trainyard_job import Job

RUNNER = ("local-runner", "run_local.py")
MONITOR = ("monitor", "monitor_training.py")
CLUSTERS = ("cluster-manager", "manage_cluster.py")
VOLUMES = ("checkpoint-manager", "manage_volumes.py")
POD_FILES = ("checkpoint-manager", "pod_checkpoints.py")
PYTORCHJOB = ("pytorchjob-manager", "manage_pytorchjob.py")
RAY = ("ray-manager", "manage_ray.py")


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
_PLACE_KEYS = ("target", "engine", "cluster", "resources", "network", "nodes", "procs_per_node", "checkpoints")
_CLUSTER_KEYS = (*_PLACE_KEYS, "name", "run", "env", "secrets", "monitor", "image")


def for_job(job: Job) -> tuple[Stage, ...]:
    """The stages of this job, in order."""
    return LOCAL if job.target == "local" else _cluster(job)


def submission(target: str) -> str:
    """The stage that starts the job. What the job file says stands from there on."""
    return "submit" if target == "local" else "deploy"


def manager(engine: str | None) -> tuple[str, str]:
    """The program that makes the job's objects."""
    return RAY if engine in RAY_ENGINES else PYTORCHJOB


def _cluster(job: Job) -> tuple[Stage, ...]:
    """What makes nothing comes first, so that a job that cannot run leaves no volume behind."""
    runs = manager(job.engine)
    from_source = job.image is not None and job.image.build is not None
    volume = Stage("storage", *VOLUMES, "a volume for checkpoints", _METERED, _PLACE_KEYS, uses_source=False)
    return (
        *(_BUILD if from_source else ()),
        Stage("fit", *CLUSTERS, "nothing", keys=_PLACE_KEYS, uses_source=False),
        Stage("network", *CLUSTERS, "nothing", keys=_PLACE_KEYS, uses_source=False),
        Stage("check", *runs, "nothing", keys=_CLUSTER_KEYS, uses_source=from_source),
        *((volume,) if job.checkpoints.storage else ()),
        Stage("deploy", *runs, "the job's objects in its namespace", _METERED, _CLUSTER_KEYS, uses_source=from_source),
        Stage("watch", *runs, "nothing", keys=("name",), uses_source=False),
        Stage("report", *MONITOR, "report.html in the run folder", keys=("name",), uses_source=False),
    )
