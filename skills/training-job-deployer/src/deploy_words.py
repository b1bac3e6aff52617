"""What other programs tell, in the words of whoever reads the job file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deploy_places import Place
    from deploy_state import Run

KEYS = {
    "--namespace": "cluster.namespace",
    "--context": "cluster.context",
    "--node-selector": "cluster.node_selector",
    "--toleration": "cluster.tolerations",
    "--service-account": "cluster.service_account",
    "--image-pull-secret": "cluster.image_pull_secrets",
    "--queue": "cluster.queue",
    "--priority": "cluster.priority",
    "--image": "image.uri",
    "--nodes": "nodes",
    "--procs": "procs_per_node",
    "--gpus": "procs_per_node",
    "--cpu": "resources.cpu",
    "--memory": "resources.memory",
    "--shm": "resources.shm",
    "--efa": "network",
    "--claim": "checkpoints.storage.claim",
    "--storage-class": "checkpoints.storage.class",
    "--size": "checkpoints.storage.size",
    "--secret": "secrets",
    "--env": "env",
    "--grace-s": "monitor.stop_grace_s",
    "--max-restarts": "monitor.max_restarts",
    "--hang": "monitor.hang",
    "--hang-after-s": "monitor.hang_after_s",
}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def in_job_words(text: str) -> str:
    """Clause by clause; a clause that shows a command stays as it is.

    >>> in_job_words("--toleration of the taint; manage_ray.py list --namespace NAME")
    'cluster.tolerations of the taint; manage_ray.py list --namespace NAME'
    """
    return ";".join(clause if _is_command(clause) else OPTION.sub(_key, clause) for clause in text.split(";"))


def is_hopeless(reason: str | None) -> bool:
    """Whether the runner gave the run up because another attempt would end in the same way."""
    return "a restart cannot help" in (reason or "")


def where_it_begins(run: Run, place: Place) -> str:
    """Where a resumed run begins; on a cluster only the job itself can see its volume."""
    point = place.progress(run).get("restart_point") if run.target == "local" else None
    if not isinstance(point, dict):
        return "goes on from its newest checkpoint"
    if point.get("step"):
        return f"goes on from its newest checkpoint, step {point['step']}"
    if point.get("step") is None:
        return "begins again at step 0, unless the script resumes by itself: no checkpoint of it is known here"
    return "begins again at step 0: nothing that was saved is known here"


def _is_command(clause: str) -> bool:
    return ".py " in clause or clause.lstrip().startswith(("kubectl ", "aws ", "docker "))


def _key(option: re.Match[str]) -> str:
    return KEYS.get(option[0], option[0])
