"""What other programs tell about their options, in the words of the job file: its reader has that file, and not their command line."""

from __future__ import annotations

import re

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


def _is_command(clause: str) -> bool:
    return ".py " in clause or clause.lstrip().startswith(("kubectl ", "aws ", "docker "))


def _key(option: re.Match[str]) -> str:
    return KEYS.get(option[0], option[0])
