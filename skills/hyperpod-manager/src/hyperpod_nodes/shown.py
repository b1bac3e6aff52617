"""`nodes`: every instance of a cluster with its Kubernetes node."""

from __future__ import annotations

from typing import Any

import trainyard_faults as faults
import trainyard_kube as kube
import trainyard_nodehealth as nodehealth
import trainyard_shell as shell

from hyperpod_api import cluster
from hyperpod_api.calls import SageMaker
from hyperpod_health.judged import Judged, conditions_of, judge
from hyperpod_nodes.both_sides import BothSides, read
from hyperpod_nodes.joined import HyperPodNode
from hyperpod_nodes.mismatch import mismatches
from hyperpod_nodes.tenants import OnNode

ZONE = "topology.kubernetes.io/zone"
MAX_TENANTS = 20


def get_hyperpod_nodes(
    sagemaker: SageMaker,
    name: str | None,
    where: kube.Where | None,
    *,
    group: str | None = None,
    unhealthy: bool = False,
    limit: int = 1000,
) -> shell.Result:
    """`where` None: without Kubernetes. Raises AwsError; SkillError conflict where the context is another EKS cluster."""
    found = cluster.find(sagemaker, name)
    sides = read(sagemaker, found, where, group)
    judged = [judge(each, sides) for each in sides.nodes]
    chosen = [each for each in judged if not unhealthy or each.verdict != faults.HEALTHY or each.holds]
    data = {
        "cluster": found.name,
        "orchestrator": found.orchestrator,
        "continuous_provisioning": found.is_continuous,
        "autoscaling": (found.described.get("AutoScaling") or {}).get("AutoScalerType"),
        "total": len(chosen),
        "nodes": [_row(each, sides) for each in chosen[:limit]],
    }
    checks = sides.checks + mismatches(sides) + _details(judged)
    next = [f"manage_hyperpod.py health {found.name} --region {sagemaker.region}"] if found.orchestrator == "eks" else []
    return shell.Result(data, checks, next=next, truncated=len(chosen) > limit)


def _row(judged: Judged, sides: BothSides) -> dict[str, Any]:
    return {**_of_instance(judged.node), **_of_node(judged.node, sides), "health": judged.verdict}


def _of_instance(node: HyperPodNode) -> dict[str, Any]:
    instance = node.instance
    if instance is None:
        return {"instance_id": node.id, "logical_id": None, "group": None, "type": None, "status": None, "message": None}
    listed = instance.listed
    more = {
        "ultra_server": listed.get("UltraServerInfo"),
        "private_dns": listed.get("PrivateDnsHostname"),
        "image": listed.get("CurrentImageReleaseVersion"),
        "image_status": listed.get("ImageVersionStatus"),
        "launched": listed["LaunchTime"].isoformat() if listed.get("LaunchTime") else None,
    }
    return {
        "instance_id": instance.id,
        "logical_id": instance.logical_id,
        "group": instance.group,
        "type": instance.type,
        "status": instance.status,
        "message": shell.clean(instance.message, 500) or None,
        **{key: value for key, value in more.items() if value is not None},
    }


def _of_node(node: HyperPodNode, sides: BothSides) -> dict[str, Any]:
    if node.node is None:
        return {"node": None}
    labels = node.node["metadata"].get("labels") or {}
    spec = node.node.get("spec") or {}
    on = sides.on.get(kube.name(node.node), OnNode())
    return {
        "node": node.node_name,
        "zone": labels.get(ZONE),
        "ready": kube.holds(node.node, "Ready"),
        "cordoned": bool(spec.get("unschedulable")),
        "labels": {
            key.removeprefix(nodehealth.PREFIX): value for key, value in labels.items() if key.startswith(nodehealth.PREFIX)
        },
        "fault_details": nodehealth.details_of(kube.notes(node.node)),
        "taints": [f"{each['key']}={each.get('value', '')}:{each['effect']}" for each in spec.get("taints") or []],
        "conditions": [f"{each.type} {each.status} ({each.reason})" for each in conditions_of(node.node)],
        **{key: labels[label] for key, label in KARPENTER.items() if label in labels},
        "runs": [each.as_json() for each in on.tenants[:MAX_TENANTS]] if sides.pods_known else None,
    }


KARPENTER = {"node_pool": "karpenter.sh/nodepool", "capacity": "karpenter.sh/capacity-type"}


def _details(judged: list[Judged]) -> list[shell.Check]:
    broken = [str(each.node.node_name) for each in judged if any(finding.id == "fault-details" for finding in each.findings)]
    if not broken:
        return []
    what = f"the annotation fault-details of {len(broken)} nodes cannot be read"
    return [
        shell.Check("nodes.fault-details", "unknown", what, ", ".join(broken[:10]), "kubectl describe node shows it as it is")
    ]
