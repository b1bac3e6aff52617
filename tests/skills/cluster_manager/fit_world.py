"""Situations on a real API server: made, settled, tried with the real scheduler, removed."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from cm_api import Api, until
from fit_situations import Manifest, Situation, pod_manifest, priority_classes, situation

ROUND = "trainyard-test/round"
ZONE = "topology.kubernetes.io/zone"
SRC = Path(__file__).resolve().parents[3] / "skills" / "cluster-manager" / "src"


@dataclass(frozen=True)
class Tried:
    """What became of the pods of one situation in one round."""

    nodes: list[str | None]
    """In rank order; None: the scheduler found no node."""
    refused: str | None
    """The API server did not take a pod: quota, LimitRange, Pod Security."""

    @property
    def all_scheduled(self) -> bool:
        return self.refused is None and None not in self.nodes


@contextmanager
def world(api: Api, prefix: str, seeds: Sequence[int]) -> Iterator[list[Situation]]:
    """The situations of these seeds, settled; everything is removed behind them."""
    busy = f"{prefix}-busy"
    made = [situation(seed, prefix, busy) for seed in seeds]
    labels = {busy: {}, prefix: {}} | {each.namespace: each.labels for each in made}
    spaces = [_namespace(name, labels[name]) for name in sorted(labels)]
    things = priority_classes(prefix) + _flat(made, lambda each: each.storage + each.rules)
    pods = _flat(made, lambda each: each.pods)
    nodes = _flat(made, lambda each: each.nodes)
    try:
        api.create_all(spaces + nodes + things)
        _until_service_accounts(api, {space["metadata"]["name"] for space in spaces})
        api.create_all(pods)
        _until_settled(api, prefix, made, pods)
        yield made
    finally:
        api.delete_all(pods)
        api.delete_all(spaces + nodes + [thing for thing in things if "namespace" not in thing["metadata"]])


def _flat(made: list[Situation], part: Callable[[Situation], list[Manifest]]) -> list[Manifest]:
    return [thing for each in made for thing in part(each)]


def _namespace(name: str, labels: dict[str, str]) -> Manifest:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _until_service_accounts(api: Api, spaces: set[str]) -> None:
    def there() -> bool:
        accounts = api.list("/api/v1/serviceaccounts", fieldSelector="metadata.name=default")
        return spaces <= {account["metadata"]["namespace"] for account in accounts}

    until(there, "the namespaces' service accounts")


def _until_settled(api: Api, prefix: str, made: list[Situation], pods: list[Manifest]) -> None:
    """Nodes Ready, pods in their final phase, claims bound, quotas counted: or what is asked is still moving."""
    ready = {node["metadata"]["name"] for each in made for node in each.nodes if node["metadata"]["annotations"]}
    until(lambda: ready <= _ready_nodes(api), "nodes to be Ready")
    finished = {pod["metadata"]["name"] for pod in pods if "finished" in pod["metadata"]["labels"]}
    path = f"/api/v1/namespaces/{prefix}-busy/pods"
    until(lambda: {each["metadata"]["name"] for each in api.list(path) if _is_finished(each)} == finished, "finished pods")
    bound = {each.claim for each in made if each.claim and not each.moves and _has_volume(each)}
    until(
        lambda: bound <= {each["metadata"]["name"] for each in api.list("/api/v1/persistentvolumeclaims") if _is_bound(each)},
        "claims",
    )
    quotas = {rule["metadata"]["namespace"] for each in made for rule in each.rules if rule["kind"] == "ResourceQuota"}
    until(
        lambda: quotas <= {each["metadata"]["namespace"] for each in api.list("/api/v1/resourcequotas") if _counted(each)},
        "quotas",
    )


def _ready_nodes(api: Api) -> set[str]:
    """Ready, and rid of the taint that every node begins with."""
    return {
        node["metadata"]["name"]
        for node in api.list("/api/v1/nodes")
        if any(each["type"] == "Ready" and each["status"] == "True" for each in node["status"].get("conditions") or [])
        and not any(taint["key"] == "node.kubernetes.io/not-ready" for taint in node["spec"].get("taints") or [])
    }


def _has_volume(each: Situation) -> bool:
    return any(thing["kind"] == "PersistentVolume" for thing in each.storage)


def _is_finished(pod: Manifest) -> bool:
    return pod["status"].get("phase") in ("Succeeded", "Failed")


def _is_bound(claim: Manifest) -> bool:
    return claim["status"].get("phase") == "Bound"


def _counted(quota: Manifest) -> bool:
    return set((quota.get("status") or {}).get("hard") or {}) == set(quota["spec"]["hard"])


# --- asking both -------------------------------------------------------------------------------------------------


def verdicts(kubeconfig: Path, made: Sequence[Situation], folder: Path) -> list[dict[str, Any]]:
    """What `fit` says of each situation."""
    calls = []
    for each in made:
        path = folder / f"{each.name}.yaml"
        path.write_text(yaml.safe_dump(each.job))
        calls.append(json.dumps([str(path), each.namespace, each.claim]))
    command = [sys.executable, str(Path(__file__).with_name("fit_each.py")), str(SRC)]
    env = {"KUBECONFIG": str(kubeconfig), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, input="\n".join(calls), capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def job_pods(each: Situation, verdict: dict[str, Any], round_: str, zone: str | None, pinned: bool) -> list[Manifest]:
    """The pods as a manager would make them of the verdict; `pinned`: each to the node that the verdict names for its rank."""
    data = verdict["data"]
    pod, devices = data["pod"], {}
    if pod["gpu_resource"]:
        devices = {pod["gpu_resource"]: str(pod["gpus"])}
    if pod["efa"]:
        devices["vpc.amazonaws.com/efa"] = str(pod["efa"])
    amounts = {"cpu": pod["cpu"], "memory": pod["memory"], **devices}
    asked = each.job["resources"].get("limits") or {}
    limits = {**{key: value for key, value in amounts.items() if key != "cpu"}, **asked}  # as pytorchjob-manager makes them
    selector = {key: value for key, value in data["node_selector"].items() if key != ZONE} | ({ZONE: zone} if zone else {})
    main = {"name": "main", "image": "local.test/pause:1", "resources": {"requests": amounts, "limits": limits}}
    spec: Manifest = {
        "containers": [{**main, "securityContext": HARDENED}],
        "securityContext": _whose(each.job["cluster"].get("security") or {}),
        "nodeSelector": selector,
        "tolerations": each.job["cluster"]["tolerations"],
    }
    if each.claim:
        spec["volumes"] = [{"name": "data", "persistentVolumeClaim": {"claimName": each.claim}}]
    if priority := each.job["cluster"].get("priority"):
        spec["priorityClassName"] = priority
    pods = []
    for rank in range(each.job["nodes"]):
        own = copy.deepcopy(spec)
        if pinned:
            own["nodeSelector"]["kubernetes.io/hostname"] = data["nodes"][rank]
        if rank:
            own["initContainers"] = [INIT_PYTORCH]
        pods.append(pod_manifest(f"{each.name}-{round_}-{rank}", each.namespace, own, {ROUND: round_}))
    return pods


HARDENED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
INIT_PYTORCH = {
    "name": "init-pytorch",
    "image": "local.test/pause:1",
    "resources": {"requests": {"cpu": "50m", "memory": "10Mi"}, "limits": {"cpu": "100m", "memory": "20Mi"}},
    "securityContext": HARDENED,
}
"""What the training operator puts into workers: pkg/controller.v1/pytorch/initcontainer.go; hardened as infrastructure/kubernetes/restricted."""


def _whose(security: Manifest) -> Manifest:
    """Of a pod, as pytorchjob-manager makes it."""
    user = {"runAsUser": security["run_as_user"]} if "run_as_user" in security else {}
    return {**user, "seccompProfile": {"type": "RuntimeDefault"}, **({"runAsNonRoot": True} if any(user.values()) else {})}


def try_pods(
    api: Api, sets: dict[int, list[Manifest]], round_: str, *, expected: bool, settle_s: float = 0.0
) -> dict[int, Tried]:
    """Make the pods of many situations, let the scheduler decide, remove them.

    Its first no may be for the moment (the claim is just being bound to another pod's node): where yes is `expected` it gets time
    to try again, else `settle_s` after its first word on every pod.
    """
    everything = [pod for pods in sets.values() for pod in pods]
    answers = dict(zip([pod["metadata"]["name"] for pod in everything], api.each(api.create, everything), strict=True))
    # 422: a LimitRange's default limit is less than what the pod asks for
    refused = {name: answer["message"] for name, (status, answer) in answers.items() if status in (403, 422)}
    unexpected = {name: answer for name, (status, answer) in answers.items() if status not in (201, 403, 422)}
    assert not unexpected, unexpected
    decided: dict[str, str | None] = {}
    try:
        deadline, settled = time.monotonic() + 40, None
        while time.monotonic() < deadline and (settled is None or time.monotonic() < settled):
            decided = _decisions(api, round_)
            known = [node for node in decided.values() if node is not None]
            if len(known) == len(everything) - len(refused) and (all(known) or not expected):
                settled = settled or time.monotonic() + settle_s
            time.sleep(0.1)
        assert None not in decided.values(), f"the scheduler has not looked at all pods: {decided}"
    finally:
        api.delete_all(everything)
    names = {key: [pod["metadata"]["name"] for pod in pods] for key, pods in sets.items()}
    return {
        key: Tried(
            [decided.get(name) or None for name in each], next((refused[name] for name in each if name in refused), None)
        )
        for key, each in names.items()
    }


def put_back(api: Api, made: Sequence[Situation]) -> None:
    """The pods that others were put out for."""
    wanted = {pod["metadata"]["name"]: pod for each in made for pod in each.pods}
    path = next((f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods" for pod in wanted.values()), None)
    if path is None:
        return
    until(
        lambda: not any("deletionTimestamp" in pod["metadata"] for pod in api.list(path)), "those that were put out to be gone"
    )
    there = {pod["metadata"]["name"] for pod in api.list(path)}
    api.create_all(pod for name, pod in wanted.items() if name not in there)


def _decisions(api: Api, round_: str) -> dict[str, str | None]:
    pods = api.list("/api/v1/pods", labelSelector=f"{ROUND}={round_}")
    return {pod["metadata"]["name"]: _decision(pod) for pod in pods}


def _decision(pod: Manifest) -> str | None:
    """The node's name; empty: the scheduler found none; None: it has not tried yet."""
    if name := pod["spec"].get("nodeName"):
        return str(name)
    conditions = (pod.get("status") or {}).get("conditions") or []
    tried = any(each["type"] == "PodScheduled" and each["status"] == "False" for each in conditions)
    return "" if tried else None
