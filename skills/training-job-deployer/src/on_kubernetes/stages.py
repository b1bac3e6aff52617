"""The stages of a job on a cluster, and the sibling skill's program that does each."""

from __future__ import annotations

from deploy_stage import METERED, MONITOR, Stage
from on_kubernetes import images
from trainyard_job import RAY_ENGINES, Job

CLUSTERS = ("cluster-manager", "manage_cluster.py")
VOLUMES = ("checkpoint-manager", "manage_volumes.py")
POD_FILES = ("checkpoint-manager", "pod_checkpoints.py")
PYTORCHJOB = ("pytorchjob-manager", "manage_pytorchjob.py")
RAY = ("ray-manager", "manage_ray.py")
PLACE_KEYS = ("target", "engine", "cluster", "resources", "network", "nodes", "procs_per_node", "checkpoints")
JOB_KEYS = (*PLACE_KEYS, "name", "run", "env", "secrets", "monitor", "image")


def manager(engine: str | None) -> tuple[str, str]:
    """The program that makes the job's objects."""
    return RAY if engine in RAY_ENGINES else PYTORCHJOB


def stages(job: Job) -> tuple[Stage, ...]:
    """What makes nothing comes first, so that a job that cannot run leaves no volume behind."""
    runs = manager(job.engine)
    from_source = images.is_built(job)
    volume = Stage("storage", *VOLUMES, "a volume for checkpoints", METERED, PLACE_KEYS, uses_source=False)
    return (
        *images.stages(job),
        Stage("fit", *CLUSTERS, "nothing", keys=PLACE_KEYS, uses_source=False),
        Stage("network", *CLUSTERS, "nothing", keys=PLACE_KEYS, uses_source=False),
        Stage("check", *runs, "nothing", keys=JOB_KEYS, uses_source=from_source),
        *((volume,) if job.checkpoints.storage else ()),
        Stage("deploy", *runs, "the job's objects in its namespace", METERED, JOB_KEYS, uses_source=from_source),
        Stage("watch", *runs, "nothing", keys=("name",), uses_source=False),
        Stage("report", *MONITOR, "report.html in the run folder", keys=("name",), uses_source=False),
    )
