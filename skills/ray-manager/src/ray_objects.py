"""Finding what belongs to a name: the RayJob or RayCluster, its pods, its head, and whose it is."""

from __future__ import annotations

from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import RUN, RUN_ID, ApiError, Cluster, Object, owner

from ray_manifest import ROLE
from ray_spec import KINDS, PLURALS

VERSION = "ray.io/v1"
CONTAINER = "ray"


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


def same_again(data: dict[str, Any], submission_id: str | None = None) -> str:
    """NAME and the options that lead another call to the very thing that `data` tells of."""
    options = {"--run-id": data.get("run_id"), "--submission-id": submission_id}
    return " ".join([data["name"], *(f"{option} {value}" for option, value in options.items() if value)])


def cluster_name(kind: str, thing: Object) -> str | None:
    """The RayCluster behind it; a RayJob has none before it starts and names it after it has gone."""
    return kube.name(thing) if kind == "raycluster" else kube.status(thing).get("rayClusterName")


def all_selector(kind: str, thing: Object) -> str:
    """Selects the pods of this object, the submitter's included where the object is ours, and no other run's."""
    run_id = owner(thing)
    if run_id:
        return f"{RUN}={kube.name(thing)},{RUN_ID}={run_id}"
    return f"ray.io/cluster={cluster_name(kind, thing) or 'none-yet'}"


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


def head_of(cluster: Cluster, kind: str, thing: Object) -> str:
    """Name of the running head pod, found by label. Raises SkillError: timeout while it starts, not-found after it has gone."""
    name = kube.name(thing)
    heads = cluster.pods(pod_selector(kind, thing) + ",ray.io/node-type=head")
    ready = [kube.name(pod) for pod in heads if is_ready(pod)]
    if not ready:
        phase = heads[0]["status"].get("phase") if heads else "absent"
        message = f"the head of {name} is not ready (pod: {phase})"
        raise shell.SkillError("timeout", message, hint=f"manage_ray.py status {name} says why", retryable=True)
    return str(ready[0])


def is_ready(pod: Object) -> bool:
    return kube.holds(pod, "Ready") and not kube.is_going(pod)


def wanted_nodes(kind: str, thing: Object) -> int:
    """The Ray nodes that the object asks for."""
    spec = (thing.get("spec") or {}).get("rayClusterSpec") or {} if kind == "rayjob" else thing["spec"]
    groups = spec.get("workerGroupSpecs") or []
    return 1 + sum((group.get("replicas") or 0) * (group.get("numOfHosts") or 1) for group in groups) if spec else 0
