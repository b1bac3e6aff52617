"""Where a job's volume lets its pods run: the claim's volume, or what the storage class allows, as terms over node labels.

VolumeBinding and VolumeZone of kube-scheduler: a bound volume by its nodeAffinity and zone labels; a claim that waits for its
first pod by the volumes it could take or the zones where its class makes one; a claim that must be bound first and is not: nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_amounts import amount
from trainyard_instances import ZONE_LABEL
from job_fit.rules import Term
from trainyard_job import Storage
from trainyard_storage import CLASSES, RWO, RWX, STATIC, attaches_to_one_node, default_class

REGION_LABEL = "topology.kubernetes.io/region"
NOTHING: tuple[Term, ...] = ()
"""A group without terms: no node matches."""


@dataclass
class Places:
    groups: list[tuple[Term, ...]] = field(default_factory=list)
    """For PodWants.places."""
    missing: list[str] = field(default_factory=list)
    check: shell.Check = field(default_factory=lambda: shell.Check("fit.volume", "skipped", "the job names no volume"))


def volume_places(cluster: kube.Cluster, claim: str | None, storage: Storage | None, nodes: int) -> Places:
    """Reads the claim, else the storage class that the job file names. What may not be read makes the check unknown."""
    places, refused = Places(), list[shell.Check]()
    with kube.noted("fit.volume", refused):
        if claim:
            places = _of_claim(cluster, claim, nodes)
        elif storage and storage != Storage():
            places = _of_storage(cluster, storage, nodes)
    return Places(check=refused[0]) if refused else places


def _of_claim(cluster: kube.Cluster, name: str, nodes: int) -> Places:
    found = cluster.find(cluster.namespaced("v1", "persistentvolumeclaims", kube.name_or_raise("claim", name)))
    if found is None:
        return _nowhere(f"claim {name} in namespace {cluster.namespace}", "ensure-volume makes one; kubectl get pvc lists them")
    if kube.is_going(found):
        # A pod that uses it holds it: it goes when that pod has ended, and no new one gets it.
        fix = f"kubectl describe pvc {name} says who uses it; another claim, or wait until it is gone and make it anew"
        return _nowhere(f"claim {name} is being deleted since {found['metadata']['deletionTimestamp']}", fix)
    spec, status = found["spec"], kube.status(found)
    if nodes > 1 and RWX not in set(spec.get("accessModes") or []):
        modes = ", ".join(spec.get("accessModes") or [])
        return _nowhere(f"claim {name} is {modes}: {nodes} nodes need ReadWriteMany", "a claim on FSx for Lustre or EFS")
    if status.get("phase") == "Bound":
        volume = cluster.get(f"/api/v1/persistentvolumes/{spec['volumeName']}")
        return _found(f"claim {name} is bound to {spec['volumeName']}", volume_groups(volume))
    if status.get("phase") == "Lost":
        return _nowhere(f"claim {name} has lost its volume", f"kubectl describe pvc {name}")
    class_ = _class(cluster, spec.get("storageClassName"))
    if class_ is None or class_.get("volumeBindingMode") != "WaitForFirstConsumer":
        return _nowhere(f"claim {name} is not bound: its pods would wait", f"kubectl describe pvc {name} says why")
    return _found(f"claim {name} waits for its first pod", [_could_be(cluster, class_, spec)])


def _of_storage(cluster: kube.Cluster, storage: Storage, nodes: int) -> Places:
    name = storage.storage_class
    class_ = _class(cluster, name)
    if class_ is None:
        what = f"storage class {name}" if name else "a default storage class (checkpoints.storage.class is not given)"
        return _nowhere(what, "kubectl get storageclass lists what there is")
    name = kube.name(class_)
    if nodes > 1 and attaches_to_one_node(class_["provisioner"]):
        return _nowhere(f"storage class {name} makes volumes for one node, not {nodes}", "a class of FSx for Lustre or EFS")
    spec = {"accessModes": [RWX if nodes > 1 else RWO], "storageClassName": name}
    size = {"resources": {"requests": {"storage": str(storage.size or "1Gi")}}}
    if class_.get("volumeBindingMode") == "WaitForFirstConsumer":
        return _found(f"storage class {name}", [_could_be(cluster, class_, {**spec, **size})])
    return _found(f"storage class {name}", [_topologies(class_)] if class_.get("allowedTopologies") else [])


def _class(cluster: kube.Cluster, name: str | None) -> kube.Object | None:
    if name:
        return cluster.find(f"{CLASSES}/{kube.name_or_raise('storage class', name)}")
    return default_class(cluster.list(CLASSES))


def _found(summary: str, groups: list[tuple[Term, ...]]) -> Places:
    evidence = "; ".join(told(group) for group in groups) or "reachable from every node"
    return Places(groups, check=shell.Check("fit.volume", "pass", summary, evidence))


def _nowhere(what: str, fix: str) -> Places:
    return Places([NOTHING], [what], shell.Check("fit.volume", "fail", what, None, fix))


def told(group: tuple[Term, ...]) -> str:
    """A group of terms in words: `zone in a, b`."""
    expressions = [each for term in group for each in term.get("matchExpressions") or []]
    words = [f"{each['key']} {each['operator']} {', '.join(each.get('values') or [])}".rstrip() for each in expressions]
    return " or ".join(words) or "no node"


# --- terms -------------------------------------------------------------------------------------------------------


def volume_groups(volume: kube.Object) -> list[tuple[Term, ...]]:
    """The groups of one persistent volume: its nodeAffinity, and the zone labels of older provisioners."""
    required = (volume["spec"].get("nodeAffinity") or {}).get("required")
    groups = [tuple(required.get("nodeSelectorTerms") or [])] if required else []
    # VolumeZone lets nodes through that name neither zone nor region.
    elsewhere: Term = {"matchExpressions": [{"key": key, "operator": "DoesNotExist"} for key in (ZONE_LABEL, REGION_LABEL)]}
    for key in (ZONE_LABEL, REGION_LABEL):
        if (value := kube.label(volume, key)) is not None:
            groups.append((_in(key, value.split("__")), elsewhere))
    return groups


def _could_be(cluster: kube.Cluster, class_: kube.Object, spec: kube.Object) -> tuple[Term, ...]:
    """One group for a claim that waits for its first pod: a free volume that fits it, or where the class makes one."""
    terms: list[Term] = []
    for volume in cluster.list("/api/v1/persistentvolumes"):
        if volume["spec"].get("storageClassName") == kube.name(class_) and _suits(volume, spec):
            groups = volume_groups(volume)
            terms += groups[0] if groups else [ANYWHERE]
    if class_["provisioner"] != STATIC:
        terms += _topologies(class_)
    return tuple(terms)


ANYWHERE: Term = {"matchExpressions": [{"key": "trainyard.dev/no-such-label", "operator": "DoesNotExist"}]}


def _topologies(class_: kube.Object) -> tuple[Term, ...]:
    allowed = class_.get("allowedTopologies") or []
    terms = [
        {"matchExpressions": [_expression(each["key"], each["values"]) for each in one.get("matchLabelExpressions") or []]}
        for one in allowed
    ]
    return tuple(terms) if allowed else (ANYWHERE,)


def _in(key: str, values: list[str]) -> Term:
    return {"matchExpressions": [_expression(key, values)]}


def _expression(key: str, values: list[str]) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": values}


def _suits(volume: kube.Object, claim: kube.Object) -> bool:
    """Whether the volume is free for the claim: unbound, its modes, large enough."""
    spec, wanted = volume["spec"], claim["resources"]["requests"]["storage"]
    free = kube.status(volume).get("phase") == "Available" and not spec.get("claimRef")
    modes = set(claim.get("accessModes") or []) <= set(spec.get("accessModes") or [])
    large = amount("storage", spec["capacity"]["storage"]) >= amount("storage", wanted)
    return free and modes and large
