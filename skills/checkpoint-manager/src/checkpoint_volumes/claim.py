"""The claim of a run: made once, found again by the same call, never changed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from checkpoint_volumes.ask import Ask
from checkpoint_volumes.checks import judge, size_check, size_of
from checkpoint_volumes.facts import Facts, facts_of_claim, facts_of_class
from checkpoint_volumes.pending import finding

TEMPLATE = Path(__file__).resolve().parents[2] / "assets" / "checkpoint-claim.yaml"
DIGEST = "trainyard.dev/spec-digest"
SCRIPT = "manage_volumes.py"


def claim_manifest(ask: Ask, facts: Facts) -> kube.Object:
    """What is sent to the API server."""
    import yaml

    claim: kube.Object = yaml.safe_load(TEMPLATE.read_text(encoding="utf-8"))
    claim["metadata"]["name"] = ask.claim_name
    claim["metadata"]["labels"] = kube.labels(ask.name, ask.run_id)
    claim["metadata"]["annotations"] = {DIGEST: ask.digest}
    offered = frozenset(mode for volume in facts.free_volumes or () for mode in volume.modes)
    claim["spec"]["accessModes"] = [ask.mode(facts.driver, offered)]
    claim["spec"]["resources"]["requests"]["storage"] = ask.wanted_size(facts.driver, facts.free_sizes)
    if ask.storage_class:  # without one the API server fills in the default class
        claim["spec"]["storageClassName"] = ask.storage_class
    return claim


def ensure(cluster: kube.Cluster, ask: Ask, *, dry_run: bool, timeout_s: float) -> shell.Result:
    """The claim of this run: made if it is missing. Nothing is made where a check fails."""
    path = cluster.namespaced("v1", "persistentvolumeclaims", ask.claim_name)
    there = cluster.find(path)
    if there is not None:
        _ours_and_same(there, ask)
        return _answer(cluster, ask, _settled(cluster, there, Facts(), timeout_s), created=False)
    facts = facts_of_class(cluster, ask.storage_class)
    manifest = claim_manifest(ask, facts)
    checks = judge(facts, ask, manifest["spec"]["accessModes"])
    if any(check.status == "fail" for check in checks):
        return shell.Result(_data(cluster, manifest, facts, created=False), checks=checks, ok=False)
    try:
        claim = create_checkpoint_pvc(cluster, manifest, dry_run=dry_run)
    except kube.ApiError as error:
        if not is_quota(error):
            raise
        data = _data(cluster, manifest, facts, created=False)
        return shell.Result(data, checks=[*checks, _quota_check(cluster, error)], ok=False)
    if dry_run:
        return shell.Result({**_data(cluster, claim, facts, created=False), "manifest": manifest}, checks=checks)
    return _answer(cluster, ask, _settled(cluster, claim, facts, timeout_s), created=True)


def create_checkpoint_pvc(cluster: kube.Cluster, manifest: kube.Object, *, dry_run: bool = False) -> kube.Object:
    """Send the claim; ApiError 409 where somebody made one of that name at this moment."""
    return cluster.create(cluster.namespaced("v1", "persistentvolumeclaims"), manifest, dry_run=dry_run)


def use_existing(cluster: kube.Cluster, ask: Ask) -> shell.Result:
    """--claim: is this claim right for the run? It is read, never changed."""
    claim = cluster.find(cluster.namespaced("v1", "persistentvolumeclaims", ask.claim_name))
    if claim is None:
        hint = f"kubectl get pvc -n {cluster.namespace}; or without checkpoints.storage.claim (--claim), and one is made"
        raise shell.SkillError("not-found", f"no claim {ask.claim_name} in {cluster.namespace}", hint=hint)
    return _answer(cluster, ask, claim, created=False)


def is_quota(error: kube.ApiError) -> bool:
    return error.cause == "quota"


def _quota_check(cluster: kube.Cluster, error: kube.ApiError) -> shell.Check:
    fix = f"a smaller checkpoints.storage.size (--size), or kubectl describe resourcequota -n {cluster.namespace}"
    return shell.Check("volume.quota", "fail", "the namespace's quota does not allow this claim", error.message, fix)


def _ours_and_same(claim: kube.Object, ask: Ask) -> None:
    """SkillError `conflict` unless it is this run's claim, asked for in the same way, and stays."""
    name, owner = kube.name(claim), kube.owner(claim)
    if owner != ask.run_id:
        whose = "not made by Trainyard" if owner is None else f"of run {shell.clean(owner, 40)}"
        hint = f"checkpoints.storage.claim (--claim) {name} uses it as it is; another --run-id makes another one"
        raise shell.SkillError("conflict", f"claim {name} is there and {whose}", hint=hint)
    if claim["metadata"].get("deletionTimestamp"):
        raise shell.SkillError(
            "conflict", f"claim {name} is being deleted", hint="the same call when it is gone", retryable=True
        )
    if kube.notes(claim).get(DIGEST) != ask.digest:
        hint = f"the call that made it, or checkpoints.storage.claim (--claim) {name} to use it as it is"
        raise shell.SkillError("conflict", f"claim {name} already exists and was requested with other settings", hint=hint)


def _settled(cluster: kube.Cluster, claim: kube.Object, facts: Facts, timeout_s: float) -> kube.Object:
    """The claim once it is bound, or known to wait or to fail, or as it is after `timeout_s`."""
    path = cluster.namespaced("v1", "persistentvolumeclaims", kube.name(claim))

    def settled() -> kube.Object | None:
        nonlocal claim
        claim = cluster.get(path)
        waits = finding(cluster, claim, facts).status in ("pass", "fail")
        return claim if waits else None

    if kube.status(claim).get("phase") != "Bound":
        shell.wait_until(settled, timeout_s=timeout_s, interval_s=1.0)
    return claim


def _answer(cluster: kube.Cluster, ask: Ask, claim: kube.Object, *, created: bool) -> shell.Result:
    facts = facts_of_claim(cluster, claim)
    checks = judge(facts, ask, claim["spec"].get("accessModes") or [])
    # The free volumes of its class no longer matter to a claim that is there.
    checks = [check for check in checks if check.id != "volume.free"]
    checks += [check for check in (size_check(claim, ask), finding(cluster, claim, facts)) if check is not None]
    if claim["metadata"].get("deletionTimestamp"):
        checks.append(shell.Check("volume.stays", "fail", "the claim is being deleted", None, "another claim"))
    name = kube.name(claim)
    return shell.Result(
        _data(cluster, claim, facts, created=created),
        checks=checks,
        changed=[f"made claim {name}"] if created else [],
        next=[f"kubectl describe pvc {name} -n {cluster.namespace}"] if any(c.status == "fail" for c in checks) else [],
    )


def _data(cluster: kube.Cluster, claim: kube.Object, facts: Facts, *, created: bool) -> dict[str, Any]:
    modes = claim["spec"].get("accessModes") or []
    return {
        "claim": kube.name(claim),
        "created": created,
        "uid": claim["metadata"].get("uid"),
        "access_mode": modes[0] if modes else None,
        "size": size_of(claim),
        "storage_class": claim["spec"].get("storageClassName") or facts.class_name,
        "driver": facts.driver,
        "phase": kube.status(claim).get("phase"),
        "volume": claim["spec"].get("volumeName"),
        "reclaim_policy": facts.reclaim_policy,
        "zone": next(iter(facts.zones)) if facts.zones and len(facts.zones) == 1 else None,
        "cluster": cluster.identity(),
    }
