"""Is this storage right for this run? One check a question; what could not be read is a warning that prints the missing rule.

(Not `unknown`: a claim that was made is an answer, and most users of a team may not read what belongs to the cluster.)
"""

from __future__ import annotations

import json

import trainyard_kube as kube
from checkpoint_volumes.ask import Ask, size_bytes
from checkpoint_volumes.facts import Facts
from trainyard_shell import Check
from trainyard_storage import KINDS, RWO, RWOP, RWX, title


def judge(facts: Facts, ask: Ask, modes: list[str]) -> list[Check]:
    """All checks of the class or volume against what is asked; `modes` are the claim's access modes."""
    checks = [
        _class(facts),
        _driver(facts),
        _access(facts, ask, modes),
        _use(facts, ask),
        _free(facts, ask, modes),
        _zone(facts, ask),
        _reclaim(facts),
    ]
    return [check for check in checks if check is not None] + [_unread(id, error) for id, error in facts.unread.items()]


def _unread(id: str, error: kube.ApiError) -> Check:
    rule = error.rule
    summary = f"not checked: not allowed to {rule['verbs'][0]} {rule['resources'][0]}"
    return Check(id, "warn", summary, error.message, f"this rule in a ClusterRole allows it: {json.dumps(rule)}")


def _class(facts: Facts) -> Check | None:
    if not facts.class_name or facts.binding_mode is None:
        return None
    how = "made beforehand" if facts.static else f"by {title(facts.driver)}"
    return Check("volume.class", "pass", f"{facts.class_name}: volumes {how}, bound {facts.binding_mode}")


def _driver(facts: Facts) -> Check | None:
    if facts.installed is None or not facts.driver:
        return None
    if facts.installed:
        return Check("volume.driver", "pass", f"{facts.driver} is installed")
    kind = KINDS.get(facts.driver)
    summary = f"no CSIDriver {facts.driver}: nothing makes or mounts such volumes"
    if kind:
        fix = f"aws eks create-addon --cluster-name CLUSTER --addon-name {kind.addon}"
        return Check("volume.driver", "fail", summary, None, fix)
    if ".csi." in facts.driver:
        return Check("volume.driver", "fail", summary, None, "install the driver that the storage class names")
    # Provisioners from before CSI have no such object.
    return Check("volume.driver", "warn", f"no CSIDriver {facts.driver}; it may be a provisioner without one")


def _access(facts: Facts, ask: Ask, modes: list[str]) -> Check:
    kind = KINDS.get(facts.driver or "")
    if kind and not kind.shared and ask.nodes > 1:
        summary = f"{title(facts.driver)} attaches to one node; {ask.nodes} nodes need one volume"
        return Check("volume.access", "fail", summary, None, "a class of FSx for Lustre or EFS")
    if ask.nodes > 1 and RWX not in modes:
        summary = f"{'/'.join(modes)} allows one node, the run has {ask.nodes}"
        return Check("volume.access", "fail", summary, None, "storage with ReadWriteMany: FSx for Lustre or EFS")
    if not set(modes) & {RWX, RWO, RWOP}:
        fix = "a claim with ReadWriteMany"
        return Check("volume.access", "fail", f"{'/'.join(modes) or 'no access mode'} cannot be written to", None, fix)
    if ask.nodes > 1 and "volume.class" in facts.unread:
        summary = f"not checked: whether storage class {facts.class_name or '(the default)'} gives {RWX} is not known"
        fix = "ask an administrator: EBS attaches to one node; FSx for Lustre and EFS give it"
        return Check("volume.access", "warn", summary, None, fix)
    return Check("volume.access", "pass", f"{'/'.join(modes)} for {ask.nodes} node{'s' if ask.nodes > 1 else ''}")


def _use(facts: Facts, ask: Ask) -> Check | None:
    kind = KINDS.get(facts.driver or "")
    if not kind or not kind.no_checkpoints:
        return None
    if ask.use == "checkpoints":
        fix = "FSx for Lustre or EFS for checkpoints; --use data if only data sets lie there"
        return Check("volume.use", "fail", f"no checkpoints on {kind.title}: {kind.no_checkpoints}", None, fix)
    return Check("volume.use", "warn", f"for reading data only: {kind.no_checkpoints}")


def _free(facts: Facts, ask: Ask, modes: list[str]) -> Check | None:
    """A class without a provisioner: is there a volume that this claim would get?"""
    if facts.free_volumes is None:
        return None
    wanted = size_bytes(ask.wanted_size(facts.driver, facts.free_sizes))
    fitting = [each for each in facts.free_volumes if set(modes) <= each.modes and size_bytes(each.size) >= wanted]
    if fitting:
        return Check("volume.free", "pass", f"{len(fitting)} free volumes of {facts.class_name} fit")
    there = [f"{each.size} {'/'.join(sorted(each.modes))}" for each in facts.free_volumes[:5]]
    what = f"{ask.wanted_size(facts.driver, facts.free_sizes)} {'/'.join(modes)}"
    summary = f"{facts.class_name} makes no volumes by itself, and none that is free has {what}"
    fix = "make a PersistentVolume of that class (references/cluster.md has examples)"
    return Check("volume.free", "fail", summary, f"free: {', '.join(there) or 'none'}", fix)


def _zone(facts: Facts, ask: Ask) -> Check | None:
    if facts.zones is not None and ask.zone:
        if ask.zone in facts.zones:
            return Check("volume.zone", "pass", f"{ask.zone} reaches it")
        summary = f"the volume can be in {', '.join(sorted(facts.zones))}, the nodes are in {ask.zone}"
        return Check("volume.zone", "fail", summary, None, "nodes in that zone, or a class of the nodes' zone")
    kind = KINDS.get(facts.driver or "")
    if kind and kind.one_zone and facts.zones is None and facts.binding_mode != "WaitForFirstConsumer":
        summary = f"{kind.title} lies in one zone and Kubernetes does not know which"
        return Check(
            "volume.zone", "warn", summary, None, "keep the run's nodes in the zone of its subnet: reads across zones cost"
        )
    return None


def _reclaim(facts: Facts) -> Check | None:
    if facts.reclaim_policy is None:
        return None
    if facts.reclaim_policy == "Delete":
        summary = "reclaimPolicy Delete: deleting the claim or its namespace deletes the checkpoints"
        fix = 'keep the claim, or kubectl patch pv NAME -p \'{"spec": {"persistentVolumeReclaimPolicy": "Retain"}}\''
        return Check("volume.reclaim", "warn", summary, None, fix)
    return Check("volume.reclaim", "pass", f"reclaimPolicy {facts.reclaim_policy}: the data outlives the claim")


def size_check(claim: kube.Object, ask: Ask) -> Check | None:
    """An existing claim against the size that is asked for; None where no size is asked for."""
    if not ask.size:
        return None
    capacity = size_of(claim)
    if size_bytes(capacity) >= size_bytes(ask.size):
        return Check("volume.size", "pass", f"{capacity}, {ask.size} wanted")
    return Check("volume.size", "fail", f"{capacity}, {ask.size} wanted", None, "another claim; this one is not changed")


def size_of(claim: kube.Object) -> str:
    """What the claim has, or while it is not bound what it asks for."""
    capacity = kube.status(claim).get("capacity") or {}
    return str(capacity.get("storage") or claim["spec"]["resources"]["requests"]["storage"])
