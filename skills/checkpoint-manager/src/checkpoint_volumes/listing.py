"""The claims of Trainyard's runs, who uses them, and deleting one of them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from checkpoint_volumes.checks import size_of
from checkpoint_volumes.facts import facts_of_claim
from trainyard_storage import title

FINISHED = ("Succeeded", "Failed")


def users_of_claims(cluster: kube.Cluster) -> dict[str, list[str]]:
    """Claim -> names of the pods of the namespace that use it and have not ended."""
    users: dict[str, list[str]] = defaultdict(list)
    for pod in cluster.list(cluster.namespaced("v1", "pods")):
        if kube.status(pod).get("phase") in FINISHED:
            continue
        for volume in pod["spec"].get("volumes") or []:
            if claim := (volume.get("persistentVolumeClaim") or {}).get("claimName"):
                users[claim].append(kube.name(pod))
    return users


def rows(cluster: kube.Cluster, run_id: str | None) -> list[dict[str, Any]]:
    """One row a claim of ours, or of one run."""
    selector = f"{kube.MANAGED}=trainyard" + (f",{kube.RUN_ID}={run_id}" if run_id else "")
    claims = cluster.list(cluster.namespaced("v1", "persistentvolumeclaims"), labelSelector=selector)
    users = users_of_claims(cluster) if claims else {}
    return [_row(claim, users.get(kube.name(claim), [])) for claim in claims]


def _row(claim: kube.Object, users: list[str]) -> dict[str, Any]:
    metadata, spec = claim["metadata"], claim["spec"]
    return {
        "claim": metadata["name"],
        "run": (metadata.get("labels") or {}).get(kube.RUN),
        "run_id": kube.owner(claim),
        "phase": "Deleting" if metadata.get("deletionTimestamp") else kube.status(claim).get("phase"),
        "size": size_of(claim),
        "access_modes": spec.get("accessModes") or [],
        "storage_class": spec.get("storageClassName"),
        "created": metadata.get("creationTimestamp"),
        "pods": len(users),
        "used_by": users[:5],
    }


def delete(cluster: kube.Cluster, name: str, run_id: str, *, yes: bool, dry_run: bool, timeout_s: float) -> shell.Result:
    """Delete the claim of this run and wait until it is gone. What becomes of the data is said before."""
    path = cluster.namespaced("v1", "persistentvolumeclaims", name)
    claim = cluster.find(path)
    if claim is None:
        return shell.Result({"claim": name, "existed": False, "cluster": cluster.identity()})
    _may_delete(cluster, claim, run_id)
    plan = _plan(cluster, claim)
    if dry_run:
        return shell.Result(plan)
    shell.confirm(yes, plan, what=f"delete claim {name} ({plan['size']}): {plan['data']}")
    uid = claim["metadata"]["uid"]
    cluster.delete(path, uid)
    shell.progress(f"waiting for claim {name} to go")

    def gone() -> bool:
        still = cluster.find(path)
        return still is None or still["metadata"]["uid"] != uid

    if not shell.wait_until(gone, timeout_s=timeout_s):
        message = f"claim {name} is still being deleted: a finalizer waits, perhaps for a pod that started just now"
        raise shell.SkillError("timeout", message, hint="the same call again", retryable=True, data=plan)
    return shell.Result(plan, changed=[f"deleted claim {name}"])


def _may_delete(cluster: kube.Cluster, claim: kube.Object, run_id: str) -> None:
    name, owner = kube.name(claim), kube.owner(claim)
    if owner != run_id:
        whose = "not made by Trainyard" if owner is None else f"of run {shell.clean(owner, 40)}"
        raise shell.SkillError("conflict", f"claim {name} is {whose}", hint="manage_volumes.py list-volumes shows whose it is")
    if users := users_of_claims(cluster).get(name):
        more = f" and {len(users) - 3} more" if len(users) > 3 else ""
        message = f"claim {name} is in use by pod {', '.join(users[:3])}{more}"
        raise shell.SkillError("conflict", message, hint="stop the run first; its manager's delete waits for its pods")


def _plan(cluster: kube.Cluster, claim: kube.Object) -> dict[str, Any]:
    facts = facts_of_claim(cluster, claim)
    volume = claim["spec"].get("volumeName")
    fate = {
        "Delete": "its volume and every checkpoint on it are deleted with it",
        "Retain": f"the data stays on {volume}, which nobody can claim until an administrator releases it",
    }
    unknown = "it is not known whether the data is deleted too (the volume's reclaimPolicy cannot be read)"
    return {
        "claim": kube.name(claim),
        "existed": True,
        "volume": volume,
        "size": size_of(claim),
        "storage": title(facts.driver),
        "reclaim_policy": facts.reclaim_policy,
        "data": fate.get(facts.reclaim_policy or "", unknown) if volume else "no volume was made for it",
        "cluster": cluster.identity(),
    }
