"""Do the accelerators that were asked for exist? Asked from inside Ray, on every node whose pod asks for some.

A node that asks for none (a head kept free, a worker group for CPUs) is no proof and no failure.
"""

from __future__ import annotations

import re
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import Cluster, Object

from ray_groups import Group, accelerators, groups_of, ray_container, start_command
from ray_head import script
from ray_objects import cluster_spec, head_of, pods_of

CORES_A_NEURON_DEVICE = 2
"""Of trn1; trn2 has 8 (4 with logical cores of two), so this is the least that must be there."""
NUM_GPUS = re.compile(r"--num-gpus[= ](\d{1,9})\b")
SHOWN = 10


def verify_gpu_utilization(cluster: Cluster, kind: str, thing: Object, timeout_s: float) -> shell.Result:
    """The request against Ray's count, and against the devices that a task sees on each node; their use where nvidia-smi is there."""
    head = head_of(cluster, kind, thing)
    groups, (pods, _) = groups_of(cluster_spec(cluster, kind, thing)), pods_of(cluster, kind, thing)
    found = script(cluster, head, "ray_nodes.py", str(timeout_s), timeout_s=timeout_s + 60)
    rows = rows_of(groups, pods, found["nodes"])
    judged, missing = [row for row in rows if row["asked"]], missing_nodes(groups, rows)
    data = {
        "head": head.pod,
        "ray_version": found["ray_version"],
        "nodes": {"wanted": sum(group.nodes for group in groups), "alive": len(found["nodes"])},
        "accelerators": totals(groups, judged),
        "judged": len(judged),
        "per_node": rows,
        "cluster_resources": found["resources"],
        "cluster": cluster.identity(),
    }
    return shell.Result(data, [nodes_check(data), count_check(judged, missing), devices_check(judged, missing, groups)])


# --- what each node asked for, and what is there -----------------------------------------------------------------


def rows_of(groups: list[Group], pods: list[Object], nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each pod, with its Ray node, known by its address; then the Ray nodes of no pod."""
    asked = {group.name: group.accelerators for group in groups}
    left = {node["address"]: node for node in nodes}
    rows = []
    for pod in (pod for pod in pods if not kube.is_going(pod)):
        # KubeRay leaves pods as they are when their group is changed: what the group asks for is what should be there
        own = accelerators(ray_container(pod)) | asked.get(group_name(pod), {})
        rows.append(row_of(pod, own, left.pop(address(pod), None)))
    return rows + [row_of(None, {}, node) for node in left.values()]


def row_of(pod: Object | None, asked: dict[str, int], node: dict[str, Any] | None) -> dict[str, Any]:
    resource, seen = next(iter(asked), None), (node or {}).get("seen") or {}
    return {
        "pod": kube.name(pod) if pod else None,
        "group": group_name(pod) if pod else None,
        "host": node["host"] if node else None,
        "asked": asked,
        "told": told_to_ray(pod, asked),
        "alive": node is not None,
        "ray": ray_count(node["resources"], resource) if node else None,
        "devices": seen.get(device_files(resource) or "none"),
        "gpus": seen.get("gpus") or [],
    }


def group_name(pod: Object) -> str:
    return str(kube.label(pod, "ray.io/group"))


def address(pod: Object) -> str:
    return str(kube.status(pod).get("podIP"))


def told_to_ray(pod: Object | None, asked: dict[str, int]) -> int:
    """How many Ray was told of: what was asked for, unless rayStartParams or the group's `resources` say another number."""
    said = NUM_GPUS.search(start_command(ray_container(pod)) or "") if pod else None
    is_gpu = any(ray_name(resource) == "GPU" for resource in asked)
    return int(said[1]) if said and is_gpu else next(iter(asked.values()), 0)


def ray_name(resource: str) -> str | None:
    """Ray's own word for what Kubernetes calls so; None where it has none."""
    last = resource.rpartition("/")[2]
    names = {"neuroncore": "neuron_cores", "tpu": "TPU", "neuron": None, "neurondevice": None}
    return names.get(last, "GPU")


def ray_count(resources: dict[str, float], resource: str | None) -> int | None:
    """What Ray counts on a node; None where Ray has no word for that resource."""
    name = ray_name(resource or "gpu")
    return int(resources.get(name, 0)) if name else None


def device_files(resource: str | None) -> str | None:
    """Which of the device files that ray_nodes.py counts are this resource's; None: of a kind that it does not know."""
    if "neuron" in (resource or ""):
        return "neuron"
    return "nvidia" if resource is None or resource.startswith("nvidia.com/") else None


def least_devices(asked: dict[str, int]) -> int:
    """Slices and shares of one GPU have one device file between them."""
    resource, number = next(iter(asked.items()))
    if resource.endswith("neuroncore"):
        return -(-number // CORES_A_NEURON_DEVICE)
    return 1 if "/mig-" in resource or resource.endswith(".shared") else number


def missing_nodes(groups: list[Group], rows: list[dict[str, Any]]) -> list[str]:
    """Groups that should have accelerators and have fewer pods than they want."""
    found = []
    for group in groups:
        there = sum(row["group"] == group.name for row in rows)
        if group.accelerators and there < group.nodes:
            found.append(f"{shell.clean(group.name, 63)}: {there} of {group.nodes} pods")
    return found


def totals(groups: list[Group], judged: list[dict[str, Any]]) -> dict[str, Any]:
    resources = sorted({resource for group in groups for resource in group.accelerators})
    return {
        "resource": ", ".join(resources) or None,
        "wanted": sum(group.nodes * sum(group.accelerators.values()) for group in groups),
        "ray": sum(row["ray"] or 0 for row in judged),
    }


# --- checks ------------------------------------------------------------------------------------------------------


def nodes_check(data: dict[str, Any]) -> shell.Check:
    wanted, alive = data["nodes"]["wanted"], data["nodes"]["alive"]
    fix = None if alive >= wanted else "manage_ray.py status says which pods are missing"
    return shell.Check("ray.nodes", "pass" if alive >= wanted else "fail", f"{alive} of {wanted} Ray nodes alive", None, fix)


def count_check(judged: list[dict[str, Any]], missing: list[str]) -> shell.Check:
    """Node by node: one that has too many does not stand for one that has too few."""
    if not judged and not missing:
        return shell.Check("ray.accelerators", "skipped", "none was asked for")
    short = [f"{row['pod']}: {row['ray']} of {row['told']}" for row in judged if (row["ray"] or 0) < row["told"]]
    if judged and all(row["alive"] and row["ray"] is None for row in judged):
        return shell.Check("ray.accelerators", "skipped", "Ray has no count of them")
    have, wanted = sum(row["ray"] or 0 for row in judged), sum(row["told"] for row in judged)
    if short or missing:
        evidence, fix = "; ".join([*missing, *short][:SHOWN]), "a node is missing, or rayStartParams hide them"
        told = f"Ray counts {have} of {wanted} on {len(judged)} nodes"
        return shell.Check("ray.accelerators", "fail", told, evidence, fix)
    return shell.Check("ray.accelerators", "pass", f"Ray counts {have} of {wanted}")


def devices_check(judged: list[dict[str, Any]], missing: list[str], groups: list[Group]) -> shell.Check:
    short = [f"{row['pod']}: {row['devices']}" for row in judged if has_too_few(row)]
    silent = [row["pod"] for row in judged if row["devices"] is None]
    if short:
        fix = "the device plugin or driver of those nodes: cluster-manager health"
        return shell.Check("devices", "fail", f"{len(short)} nodes have fewer than asked for", "; ".join(short[:SHOWN]), fix)
    if missing:
        return shell.Check("devices", "fail", "nodes with accelerators are missing", "; ".join(missing[:SHOWN]), "status")
    if silent:
        return shell.Check(
            "devices", "unknown", f"{len(silent)} nodes did not answer", ", ".join(silent[:SHOWN]), "the same call again"
        )
    if not judged:
        later = any(group.accelerators for group in groups)
        told = "no node that asks for accelerators is wanted now" if later else "no node asks for accelerators"
        return shell.Check("devices", "unknown", f"{told}: nothing was verified", None, "--gpus; resources.limits of the pods")
    least = min(least_devices(row["asked"]) for row in judged)
    return shell.Check("devices", "pass", f"{least} or more devices on each of the {len(judged)} nodes that ask for some")


def has_too_few(row: dict[str, Any]) -> bool:
    return row["devices"] is not None and row["devices"] < least_devices(row["asked"])
