"""Delete what a run made, and list what there is."""

from __future__ import annotations

import time
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import MANAGED, RUN, RUN_ID, Cluster, Object, noted, owner

from ray_objects import look, of_run_or_raise, path
from ray_spec import KINDS
from trainyard_podjob import run_id_or_raise
from trainyard_podjob_manifest import claims
from ray_state import object_state
from ray_submit import stop_jobs


def plan(cluster: Cluster, name: str, kind: str | None, run_id: str) -> dict[str, Any]:
    """What `delete` would remove; `uid` None where it is gone already. Raises SkillError conflict where it is not this run's."""
    found = look(cluster, name, kind, run_id)
    if found:
        of_run_or_raise(found[1], run_id)
    pods = [kube.name(pod) for pod in pods_of_run(cluster, name, run_id)]
    return {
        "name": name,
        "kind": found[0] if found else kind,
        "uid": found[1]["metadata"]["uid"] if found else None,
        "run_id": run_id,
        "pods": pods[:100],
        "keeps": claims(found[1]) if found else [],
        "cluster": cluster.identity(),
    }


def delete(cluster: Cluster, wanted: dict[str, Any], timeout_s: float) -> tuple[list[str], list[shell.Check]]:
    """Remove the object that was planned and wait until its pods are gone: (what it changed, warnings). Raises SkillError timeout.

    Its jobs are asked to save and end first.
    """
    name, run_id, changed = wanted["name"], wanted["run_id"], []
    deadline = time.monotonic() + timeout_s
    found = look(cluster, name, wanted["kind"], run_id) if wanted["uid"] else None
    is_there = found is not None and found[1]["metadata"]["uid"] == wanted["uid"]  # it may have gone by itself since
    checks = stop_jobs(cluster, *found, timeout_s) if found and is_there else []
    if wanted["uid"] and cluster.delete(path(cluster, wanted["kind"], name), wanted["uid"]):
        changed = [f"{KINDS[wanted['kind']]} {name} deleted"]
    left_s = max(1.0, deadline - time.monotonic())
    if not shell.wait_until(lambda: gone(cluster, wanted), timeout_s=left_s, interval_s=1.0):
        left = [kube.name(pod) for pod in pods_of_run(cluster, name, run_id)]
        message = f"{name} is being deleted; {len(left)} pods are left after {timeout_s:.0f} s: {', '.join(left[:5])}"
        raise shell.SkillError(
            "timeout", message, hint="the same call; pods may take their grace period", retryable=True, checks=checks
        )
    return changed, checks


def gone(cluster: Cluster, wanted: dict[str, Any]) -> bool:
    if pods_of_run(cluster, wanted["name"], wanted["run_id"]):
        return False
    if not wanted["uid"]:
        return True
    left = cluster.find(path(cluster, wanted["kind"], wanted["name"]))
    return left is None or left["metadata"]["uid"] != wanted["uid"]


def pods_of_run(cluster: Cluster, name: str, run_id: str) -> list[Object]:
    run_id_or_raise(run_id)
    return cluster.pods(f"{MANAGED}=trainyard,{RUN}={name},{RUN_ID}={run_id}")


def list_all(cluster: Cluster, *, all_owners: bool, limit: int) -> shell.Result:
    """RayJobs and the RayClusters that are no RayJob's; what is left out is counted."""
    rows: list[Object] = []
    others = 0
    parts: list[str] = []
    checks: list[shell.Check] = []
    for kind in KINDS:
        with noted(kind, checks):
            found = cluster.list(path(cluster, kind))
            parts += [kube.name(thing) for thing in found if made_by_rayjob(thing)]
            shown = [thing for thing in found if not made_by_rayjob(thing) and (all_owners or is_ours(thing))]
            others += sum(not made_by_rayjob(thing) for thing in found) - len(shown)
            rows += [listed(kind, thing) for thing in shown]
    rows.sort(key=lambda row: row["created"], reverse=True)
    hidden = {"made_by_others": others, "clusters_of_rayjobs": len(parts), "beyond_limit": max(0, len(rows) - limit)}
    data = {"total": len(rows), "hidden": hidden, "jobs": rows[:limit], "cluster": cluster.identity()}
    more = ["manage_ray.py list --all"] if others else []
    more += [f"manage_ray.py list {'--all ' if all_owners else ''}--limit {min(len(rows), 1000)}"] if len(rows) > limit else []
    return shell.Result(data, checks, next=more, truncated=len(rows) > limit)


def made_by_rayjob(thing: Object) -> bool:
    return any(each["kind"] == "RayJob" for each in thing["metadata"].get("ownerReferences") or [])


def is_ours(thing: Object) -> bool:
    return kube.label(thing, MANAGED) == "trainyard"


def listed(kind: str, thing: Object) -> dict[str, Any]:
    meta, (state, reason) = thing["metadata"], object_state(kind, thing)
    short = reason and shell.clean(reason, 120)
    return {
        "name": meta["name"],
        "kind": kind,
        "state": state,
        "reason": short,
        "run_id": owner(thing),
        "created": meta["creationTimestamp"],
    }
