"""Finding what belongs to a name: the RayJob or RayCluster, its pods, its head, and whose it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import RUN, RUN_ID, ApiError, Cluster, Object, owner

from ray_groups import ray_container
from ray_manifest import ROLE
from ray_spec import KINDS, PLURALS
from ray_state import deleting

VERSION = "ray.io/v1"
MAX_LABEL_CHARS = 63
"""Of a label's value: an object with a longer name has no pods, for KubeRay refuses it."""


@dataclass(frozen=True)
class Head:
    """Where things are run: a pod, and the container in it that is the Ray node."""

    pod: str
    container: str


def path(cluster: Cluster, kind: str, name: str = "") -> str:
    return cluster.namespaced(VERSION, PLURALS[kind], name)


def look(cluster: Cluster, name: str, kind: str | None = None, run_id: str | None = None) -> tuple[str, Object] | None:
    """(kind, object) of the RayJob, else the RayCluster of that name; with a run id that run's goes before the other kind's.

    None where neither is there. Raises SkillError permission where the one that is meant may be of a kind that may not be read.
    """
    kube.name_or_raise(KINDS.get(kind or "", "RayCluster or RayJob"), name)  # KubeRay's limits are for what is made
    found: tuple[str, Object] | None = None
    refused: ApiError | None = None
    for each in [kind] if kind else list(KINDS):
        try:
            thing = cluster.find(path(cluster, each, name))
        except ApiError as error:
            if error.status != 403 or run_id is None:
                raise
            refused = refused or error
            continue
        if thing and run_id in (None, owner(thing)):
            return each, thing
        found = found or ((each, thing) if thing else None)
    if refused:
        raise refused
    return found


def find(cluster: Cluster, name: str, kind: str | None = None, run_id: str | None = None) -> tuple[str, Object]:
    """As `look`; raises SkillError not-found, or conflict where it is not of that run."""
    found = look(cluster, name, kind, run_id)
    if not found:
        words = KINDS[kind] if kind else "RayJob or RayCluster"
        message = f"no {words} {name} in namespace {cluster.namespace} of {cluster.context or cluster.server}"
        raise shell.SkillError(
            "not-found",
            message,
            hint="manage_ray.py list shows what is there; cluster.namespace, cluster.context (--namespace, --context)?",
        )
    if run_id:
        of_run_or_raise(found[1], run_id)
    return found


def of_run_or_raise(thing: Object, run_id: str) -> None:
    """Nothing of somebody else is changed: not of another run, not of another program."""
    if owner(thing) != run_id:
        whose = f"belongs to run {owner(thing)}, not to" if owner(thing) else "was not made by trainyard, so it is not of"
        message = f"{thing['kind']} {kube.name(thing)} {whose} run {run_id}"
        raise shell.SkillError("conflict", message, hint="another name, or the run id that made it (manage_ray.py list)")


def alive_or_raise(thing: Object) -> None:
    """Nothing is run on what is being deleted: its pods go at any moment. Raises SkillError conflict."""
    if kube.is_going(thing):
        message = f"{thing['kind']} {kube.name(thing)} is {deleting(thing)}"
        raise shell.SkillError("conflict", message, hint="another one, or the same name when it is gone")


def same_again(data: dict[str, Any], submission_id: str | None = None) -> str:
    """NAME and the options that lead another call to the very thing that `data` tells of."""
    options = {"--run-id": data.get("run_id"), "--submission-id": submission_id}
    return " ".join([data["name"], *(f"{option} {value}" for option, value in options.items() if value)])


def cluster_name(kind: str, thing: Object) -> str | None:
    """The RayCluster behind it; a RayJob has none before it starts and names it after it has gone."""
    return kube.name(thing) if kind == "raycluster" else kube.status(thing).get("rayClusterName")


def cluster_spec(cluster: Cluster, kind: str, thing: Object) -> Object:
    """What the RayCluster behind it asks for; {} where that is not known yet.

    A RayJob's own copy stands still where Ray's autoscaler or a deletion rule changes the cluster's, and there is none beside a
    clusterSelector: only then the cluster is read.
    """
    if kind == "raycluster":
        return dict(thing["spec"])
    own: Object = thing["spec"].get("rayClusterSpec") or {}
    name, moves = cluster_name(kind, thing), own.get("enableInTreeAutoscaling") or thing["spec"].get("deletionStrategy")
    found = cluster.find(path(cluster, "raycluster", name)) if name and (moves or not own) else None
    return found["spec"] if found else own


def all_selector(kind: str, thing: Object) -> str:
    """Selects the pods of this object, the submitter's included where the object is ours, and no other run's."""
    run_id = owner(thing)
    if run_id:
        return f"{RUN}={kube.name(thing)},{RUN_ID}={run_id}"
    name = cluster_name(kind, thing) or ""
    return f"ray.io/cluster={name if 0 < len(name) <= MAX_LABEL_CHARS else 'none-yet'}"


def pod_selector(kind: str, thing: Object) -> str:
    """Selects its Ray nodes alone."""
    return all_selector(kind, thing) + ",ray.io/is-ray-node=yes"


def pods_of(cluster: Cluster, kind: str, thing: Object) -> tuple[list[Object], list[Object]]:
    """(pods of the Ray nodes, rank 0 first; the submitters of a RayJob). One request for 1,000 pods."""
    found = cluster.pods(all_selector(kind, thing))
    nodes = [pod for pod in found if kube.label(pod, "ray.io/is-ray-node") == "yes"]
    return sorted(nodes, key=rank_key), [pod for pod in found if kube.label(pod, ROLE) == "submitter"]


def rank_key(pod: Object) -> tuple[bool, int, str]:
    """The head, then the workers by index where KubeRay gives one, else by name."""
    index = kube.label(pod, "ray.io/worker-group-replica-index") or "0"
    return kube.label(pod, "ray.io/node-type") != "head", int(index) if index.isdigit() else 0, kube.name(pod)


def head_of(cluster: Cluster, kind: str, thing: Object) -> Head:
    """The running head, found by label. Raises SkillError: timeout while it starts, also where it has gone."""
    name = kube.name(thing)
    heads = cluster.pods(pod_selector(kind, thing) + ",ray.io/node-type=head")
    ready = [pod for pod in heads if is_ready(pod)]
    if not ready:
        phase = heads[0]["status"].get("phase") if heads else "absent"
        message = f"the head of {name} is not ready (pod: {phase})"
        raise shell.SkillError("timeout", message, hint=f"manage_ray.py status {name} says why", retryable=True)
    return Head(kube.name(ready[0]), ray_container(ready[0])["name"])


def is_ready(pod: Object) -> bool:
    return kube.holds(pod, "Ready") and not kube.is_going(pod)
