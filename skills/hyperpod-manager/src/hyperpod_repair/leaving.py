"""Before a node goes: no new pod comes to it, and the pods of our runs are asked to stop, with their grace period, so that they save.

The order matters. An evicted pod is made anew at once, and on a node that is not cordoned it would land where it was.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell

from hyperpod_repair.occupants import Pod
from hyperpod_repair.survival import grace_s

MARGIN_S = 30.0
"""After the grace period the kubelet kills; that and its last report take a while."""
POLL_S = 0.3
AGREED = 143
BLOCKED = 429
"""A PodDisruptionBudget stands against the eviction at the moment."""


def cordon(kubernetes: kube.Cluster, node: dict[str, Any], *, dry_run: bool = False) -> bool:
    """Whether it was done; no: it was cordoned already. Raises ApiError, SkillError conflict."""
    if node["spec"].get("unschedulable"):
        return False
    change = [{"op": "add", "path": "/spec/unschedulable", "value": True}]
    kubernetes.amend(f"/api/v1/nodes/{kube.name(node)}", node["metadata"]["uid"], change, dry_run=dry_run)
    return True


def uncordon(kubernetes: kube.Cluster, name: str) -> bool:
    """Whether it was done. A node that has gone needs none. Raises ApiError."""
    node = kubernetes.find(f"/api/v1/nodes/{name}")
    if node is None or not node["spec"].get("unschedulable"):
        return False
    kubernetes.amend(f"/api/v1/nodes/{name}", node["metadata"]["uid"], [{"op": "remove", "path": "/spec/unschedulable"}])
    return True


@dataclass
class Stop:
    """One pod that was asked to stop."""

    pod: Pod
    node_answers: bool
    evicted: bool = False
    gone: bool = False
    exit_codes: set[int] = field(default_factory=set)
    refusal: str | None = None

    @property
    def name(self) -> str:
        return kube.name(self.pod)

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.pod['metadata']['namespace']}/pods/{self.name}"

    def told(self) -> dict[str, Any]:
        return {"pod": self.name, "namespace": self.pod["metadata"]["namespace"], "agreed": self.agreed, "lost": self.lost}

    @property
    def agreed(self) -> bool:
        return self.gone and self.exit_codes <= {0, AGREED}

    @property
    def lost(self) -> str:
        if self.agreed:
            return (
                "nothing: it stopped by agreement and saved its step"
                if self.exit_codes
                else "nothing known: it was gone within its grace period"
            )
        return "the steps since its newest checkpoint"


def ask_to_stop(kubernetes: kube.Cluster, pods: list[Pod], ready: set[str]) -> list[Stop]:
    """Evicts each, and waits until it is gone or its grace period is over. `ready`: nodes whose kubelet answers; on others nobody
    hears the request, and there is nothing to wait for. Raises ApiError where evicting is not allowed at all."""
    stops = [Stop(pod, pod["spec"]["nodeName"] in ready) for pod in pods]
    deadline = time.monotonic() + max((grace_s(each.pod) for each in stops if each.node_answers), default=0.0) + MARGIN_S
    while time.monotonic() < deadline:
        for each in stops:
            if not each.evicted:
                _evict(kubernetes, each)
            if not each.gone:
                _look(kubernetes, each)
        if all(each.gone or (each.evicted and not each.node_answers) for each in stops):
            break
        time.sleep(POLL_S)
    return stops


def _evict(kubernetes: kube.Cluster, stop: Stop) -> None:
    body = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": stop.name, "namespace": stop.pod["metadata"]["namespace"]},
        "deleteOptions": {"preconditions": {"uid": stop.pod["metadata"]["uid"]}},
    }
    try:
        kubernetes.create(stop.path + "/eviction", body)
    except kube.ApiError as error:
        if error.status == BLOCKED:
            stop.refusal = shell.clean(error.message, 200)
            return
        if error.status not in (404, 409):  # gone already, or another pod of that name
            raise
    stop.evicted, stop.refusal = True, None
    shell.progress(f"{stop.name}: asked to stop, {grace_s(stop.pod):.0f} s to save")


def _look(kubernetes: kube.Cluster, stop: Stop) -> None:
    now = kubernetes.find(stop.path)
    if now is None or now["metadata"]["uid"] != stop.pod["metadata"]["uid"]:
        stop.gone = True
        return
    for each in kube.status(now).get("containerStatuses") or []:
        ended = (each.get("state") or {}).get("terminated")
        if ended:
            stop.exit_codes.add(int(ended["exitCode"]))
    if kube.status(now).get("phase") in ("Succeeded", "Failed"):
        stop.gone = True


def checks(stops: list[Stop]) -> list[shell.Check]:
    found = []
    for each in stops:
        id = f"stop.{each.name}"
        if each.agreed and each.exit_codes:
            found.append(shell.Check(id, "pass", f"{each.name} stopped; lost: {each.lost}"))
            continue
        if each.agreed:
            told = f"{each.name} was gone within its grace period; its exit code was not seen, so it may not have saved"
            found.append(shell.Check(id, "warn", told, None, "the newest checkpoint of its run says what was saved"))
            continue
        why = each.refusal or (
            "its node does not answer"
            if not each.node_answers
            else f"exit codes {sorted(each.exit_codes)}"
            if each.exit_codes
            else "it was not gone in its grace period"
        )
        found.append(
            shell.Check(id, "warn", f"{each.name} did not stop by agreement; lost: {each.lost}", shell.clean(why, 300))
        )
    return found
