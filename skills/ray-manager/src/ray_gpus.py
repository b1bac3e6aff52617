"""Do the accelerators that were asked for exist? Asked from inside Ray, on every node."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell
from trainyard_kube import Cluster, Object

from ray_head import script
from ray_objects import head_of, wanted_nodes

RAY_NAMES = {"gpu": "GPU", "neuroncore": "neuron_cores", "tpu": "TPU"}
"""Last part of a Kubernetes resource name -> Ray's."""
CORES_A_NEURON_DEVICE = 2
"""Of trn1; trn2 has 8 (4 with logical cores of two), so this is the least that must be there."""


def verify_gpu_utilization(cluster: Cluster, kind: str, thing: Object, timeout_s: float) -> shell.Result:
    """The request against Ray's count, and against the devices that a task sees on each node; their use where nvidia-smi is there."""
    head = head_of(cluster, kind, thing)
    found = script(cluster, head, "ray_nodes.py", str(timeout_s), timeout_s=timeout_s + 60)
    resource, a_node = asked(kind, thing)
    nodes = wanted_nodes(kind, thing)
    rows = [seen_row(each, resource) for each in found["nodes"]]
    data = {
        "head": head,
        "ray_version": found["ray_version"],
        "nodes": {"wanted": nodes, "alive": len(rows)},
        "accelerators": {"resource": resource, "wanted": nodes * a_node, "ray": ray_count(found["resources"], resource)},
        "per_node": rows,
        "cluster_resources": found["resources"],
        "cluster": cluster.identity(),
    }
    return shell.Result(data, [nodes_check(data), count_check(data, a_node), devices_check(rows, resource, a_node)])


def asked(kind: str, thing: Object) -> tuple[str | None, int]:
    """(resource, how many of it each node asks for), from the head: all nodes of ours are alike."""
    spec = thing["spec"]["rayClusterSpec"] if kind == "rayjob" else thing["spec"]
    limits = spec["headGroupSpec"]["template"]["spec"]["containers"][0].get("resources", {}).get("limits") or {}
    for name, amount in limits.items():
        if name.rpartition("/")[2] in ("gpu", "neuron", "neuroncore", "neurondevice", "tpu"):
            return name, int(amount)
    return None, 0


def ray_count(resources: dict[str, float], resource: str | None) -> int | None:
    """What Ray counts; None where Ray has no word for that resource."""
    name = RAY_NAMES.get((resource or "gpu").rpartition("/")[2])
    return int(resources.get(name, 0)) if name else None


def seen_row(node: dict[str, Any], resource: str | None) -> dict[str, Any]:
    seen = node["seen"] or {}
    devices = seen.get("neuron" if "neuron" in (resource or "") else "nvidia")
    return {
        "host": node["host"],
        "ray": ray_count(node["resources"], resource),
        "devices": devices,
        "gpus": seen.get("gpus") or [],
    }


def nodes_check(data: dict[str, Any]) -> shell.Check:
    wanted, alive = data["nodes"]["wanted"], data["nodes"]["alive"]
    fix = None if alive >= wanted else "manage_ray.py status says which pods are missing"
    return shell.Check("ray.nodes", "pass" if alive >= wanted else "fail", f"{alive} of {wanted} Ray nodes alive", None, fix)


def count_check(data: dict[str, Any], a_node: int) -> shell.Check:
    wanted, have = data["accelerators"]["wanted"], data["accelerators"]["ray"]
    if not a_node:
        return shell.Check("ray.accelerators", "skipped", "none was asked for", f"Ray counts {have}")
    if have is None:
        return shell.Check("ray.accelerators", "skipped", f"Ray has no count of {data['accelerators']['resource']}")
    fix = None if have >= wanted else "a worker is missing, or rayStartParams hide them"
    return shell.Check("ray.accelerators", "pass" if have >= wanted else "fail", f"Ray counts {have} of {wanted}", None, fix)


def devices_check(rows: list[dict[str, Any]], resource: str | None, a_node: int) -> shell.Check:
    if not a_node:
        return shell.Check("devices", "skipped", "none was asked for")
    least = -(-a_node // CORES_A_NEURON_DEVICE) if (resource or "").endswith("neuroncore") else a_node
    silent = [row["host"] for row in rows if row["devices"] is None]
    short = [f"{row['host']}: {row['devices']}" for row in rows if row["devices"] is not None and row["devices"] < least]
    if short:
        fix = "the device plugin or driver of those nodes: cluster-manager health"
        return shell.Check("devices", "fail", f"{len(short)} nodes have fewer than {least} devices", "; ".join(short[:10]), fix)
    if silent:
        return shell.Check(
            "devices", "unknown", f"{len(silent)} nodes did not answer", ", ".join(silent[:10]), "the same call again"
        )
    return shell.Check("devices", "pass", f"{least} or more devices on each of {len(rows)} nodes")
