"""Status: two requests for a healthy RayJob of any size, events only when something is wrong."""

from __future__ import annotations

from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import ApiError, Cluster, Object, noted, owner

from trainyard_pods import pod_row, statuses_of

from ray_findings import find_causes, find_deletion, find_held, find_suspended
from ray_groups import Group, groups_of, ray_container
from ray_manifest import CONTAINER
from ray_objects import cluster_name, cluster_spec, find, head_of, is_ready, pod_selector, pods_of, same_again
from ray_state import object_state
from ray_submit import id_to_tell_of, submission


def get_ray_status(
    cluster: Cluster,
    name: str,
    *,
    kind: str | None = None,
    run_id: str | None = None,
    submission_id: str | None = None,
    job: bool = True,
    limit: int = 100,
) -> shell.Result:
    """State, pods and findings of a RayJob or RayCluster; `job` False: of a cluster whatever job runs on it.

    With a submission id the state is that job's and no other's: `pending` where Ray does not know it yet.
    Raises SkillError not-found, permission, conflict.
    """
    kind, thing = find(cluster, name, kind, run_id)
    groups, nodes, submitters, checks = read_cluster(cluster, kind, thing)
    data = described(cluster, kind, thing, groups, nodes, submitters)
    if kind == "rayjob" and data["state"] == "running" and not checks and data["nodes"]["ready"] < data["nodes"]["wanted"]:
        data["state"] = "restarting"
    if kind == "raycluster" and job and (job_id := id_to_tell_of(thing, submission_id)):
        checks += add_submission(cluster, thing, job_id, data)
    whole = data["nodes"]["ready"] >= data["nodes"]["wanted"]
    healthy = data["state"] == "finished" or (data["state"] == "running" and whole)
    names = {name, data["ray_cluster"] or name}
    found = find_deletion(thing) + find_causes(cluster, thing, nodes + submitters, names, healthy=healthy)
    found += find_held(kind, thing, nodes, data) + find_suspended(groups)
    data["findings"] = [vars(each) for each in found]
    truncated = len(data["pods"]) > limit
    return shell.Result(
        {**data, "pods": data["pods"][:limit]}, checks, next=next_calls(data, submission_id), truncated=truncated
    )


def read_cluster(
    cluster: Cluster, kind: str, thing: Object
) -> tuple[list[Group], list[Object], list[Object], list[shell.Check]]:
    """(groups, pods of Ray nodes, submitters, checks): what may not be read is empty, with an unknown check."""
    groups: list[Group] = []
    nodes: list[Object] = []
    submitters: list[Object] = []
    checks: list[shell.Check] = []
    with noted("raycluster", checks):
        groups = groups_of(cluster_spec(cluster, kind, thing))
    with noted("pods", checks):
        nodes, submitters = pods_of(cluster, kind, thing)
    return groups, nodes, submitters, checks


def described(
    cluster: Cluster, kind: str, thing: Object, groups: list[Group], nodes: list[Object], submitters: list[Object]
) -> dict[str, Any]:
    """What the object and its pods say by themselves."""
    state, reason = object_state(kind, thing)
    rows = [row(rank, pod) for rank, pod in enumerate(nodes)]
    wanted, ready = sum(group.nodes for group in groups), sum(is_ready(pod) for pod in nodes)
    return {
        "name": kube.name(thing),
        "kind": kind,
        "state": state,
        "reason": reason and shell.clean(reason),
        "findings": [],  # a table shows them before the pods
        "nodes": {"wanted": wanted, "running": phases(nodes, "Running"), "ready": ready},
        "restarts": restarts(thing, rows, submitters),
        "pods": rows,
        "conditions": conditions(kind, thing),
        "ray_cluster": cluster_name(kind, thing),
        "pod_selector": pod_selector(kind, thing),
        "container": ray_container(nodes[0])["name"] if nodes else groups[0].container if groups else CONTAINER,
        "run_id": owner(thing),
        "cluster": cluster.identity(),
    }


def add_submission(cluster: Cluster, thing: Object, job_id: str, data: dict[str, Any]) -> list[shell.Check]:
    """The state of a RayCluster that has a job is the job's. Returns a check where it could not be asked."""
    data["submission_id"] = job_id
    checks: list[shell.Check] = []
    if data["state"] in ("suspended", "deleting"):
        return checks
    with noted("submission", checks):
        try:
            head = head_of(cluster, "raycluster", thing)
            data["state"], data["reason"], data["submission"] = submission(cluster, thing, head, job_id)
        except shell.SkillError as error:
            if isinstance(error, ApiError) or error.code not in ("timeout", "unreachable"):
                raise
            data["state"] = "restarting" if data["state"] == "running" else data["state"]
            data["reason"] = str(error)
    return checks


def next_calls(data: dict[str, Any], submission_id: str | None) -> list[str]:
    again = same_again(data, submission_id)
    if data["state"] in ("failed", "running", "restarting", "finished"):
        return [f"manage_ray.py logs {again}"]
    return [f"manage_ray.py wait {again} --timeout 600"] if data["state"] == "pending" else []


# --- what pods and objects say, as rows and numbers --------------------------------------------------------------


def row(rank: int, pod: Object) -> Object:
    status = kube.status(pod)
    held = [each.get("state") or {} for each in [*(status.get("initContainerStatuses") or []), *statuses_of(pod)]]
    reasons = [
        reason for each in held if (reason := (each.get("waiting") or {}).get("reason")) not in (None, "PodInitializing")
    ]
    return pod_row(pod, kube.label(pod, "ray.io/node-type"), rank, status.get("reason") or next(iter(reasons), None))


def restarts(thing: Object, rows: list[dict[str, Any]], submitters: list[Object]) -> int:
    """Containers that came back, drivers that were submitted again, whole clusters that were made again."""
    status = kube.status(thing)
    ended = status.get("jobDeploymentStatus") == "Failed"  # then the last failure was no restart
    clusters = int(status.get("failed") or 0) - ended
    containers: int = sum(each["restarts"] for each in rows)
    return max(0, clusters) + containers + phases(submitters, "Failed")


def phases(pods: list[Object], phase: str) -> int:
    return sum(kube.status(pod).get("phase") == phase for pod in pods)


def conditions(kind: str, thing: Object) -> list[dict[str, Any]]:
    """KubeRay's own words."""
    status = kube.status(thing)
    listed = (status.get("rayClusterStatus") or {} if kind == "rayjob" else status).get("conditions") or []
    rows = [{"type": each["type"], "status": each["status"], "reason": each.get("reason")} for each in listed]
    names = ("jobDeploymentStatus", "jobStatus") if kind == "rayjob" else ()
    return [{"type": name, "status": status.get(name), "reason": status.get("reason")} for name in names] + rows
