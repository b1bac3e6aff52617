"""What outlives a job's pods: the volume claims that it mounts. Without one a stop is a loss, and says so."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell
from ptjob_find import Job


def claims(job: Job) -> list[str]:
    """Names of the volume claims that the job mounts, wherever in the object they stand."""

    def inside(thing: Any) -> set[str]:
        if isinstance(thing, dict):
            own = {str(thing["claimName"])} if isinstance(thing.get("claimName"), str) else set()
            return own.union(*(inside(value) for value in thing.values()))
        return set().union(*(inside(value) for value in thing)) if isinstance(thing, list) else set()

    return sorted(inside(job.object["spec"]))


def how_it_goes_on(job: Job) -> str:
    """Once its pods have been stopped and are made again."""
    return (
        "from its newest checkpoint" if claims(job) else "from step 0: it has no volume claim, and its files end with its pods"
    )


def losses(job: Job) -> list[shell.Check]:
    """A warning for whoever stops the pods of a job without a volume; [] of one with."""
    if claims(job):
        return []
    summary = f"{job.name} has no volume claim: checkpoints in its pods end with them, and it begins again at step 0"
    return [
        shell.Check(
            "checkpoints", "warn", summary, None, "create it with checkpoints.storage or --claim (checkpoint-manager makes one)"
        )
    ]
