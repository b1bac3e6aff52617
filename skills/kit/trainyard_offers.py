"""What a pod asked for, and what the nodes that it may go to offer: told beside `node.resource`.

`make kit` copies this file; edit it in skills/kit/ only. Reading nodes is a right of its own: who lacks it is told without.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_finding import Finding
from trainyard_kube import ApiError, Cluster, Object

NODES = 100
"""Looked at: those of one instance type offer the same."""


def with_offers(cluster: Cluster, pods: Iterable[Object], found: list[Finding]) -> list[Finding]:
    """`found`, where its node.resource says how much of it a pod asks for and the nodes have. One request, and only for that."""
    lacking = next((each for each in found if each.id == "node.resource"), None)
    names = re.findall(r"Insufficient ([A-Za-z0-9./-]+)", lacking.summary) if lacking else []
    pod = next((pod for pod in pods if not pod["spec"].get("nodeName") and all(_asked(pod, name) for name in names)), None)
    if lacking is None or pod is None:
        return found
    nodes = _nodes_for(cluster, pod)
    parts = [_part(name, _asked(pod, name), nodes) for name in dict.fromkeys(names)]
    summary = shell.clean(f"{lacking.summary}; a pod asks for {', '.join(parts)}", 600)
    return [replace(each, summary=summary) if each is lacking else each for each in found]


def _part(name: str, asked: str, nodes: list[Object]) -> str:
    offers = [str((kube.status(node).get("allocatable") or {}).get(name, "0")) for node in nodes]
    if not offers:
        return f"{asked} {name}"
    most = max(offers, key=_amount)
    return f"{asked} {name} (the largest node with its labels has {most}" + (
        " in total)" if _amount(most) >= _amount(asked) else ")"
    )


def _asked(pod: Object, name: str) -> str:
    """Of all its containers together; "" where it asks for none."""
    parts = [(each.get("resources") or {}) for each in pod["spec"]["containers"]]
    amounts = [str((part.get("requests") or {}).get(name) or (part.get("limits") or {}).get(name) or "") for part in parts]
    amounts = [each for each in amounts if each]
    if len(amounts) < 2:
        return "".join(amounts)
    return f"{sum(map(_amount, amounts)):g}"


def _amount(quantity: str) -> float:
    from kubernetes.utils.quantity import parse_quantity

    try:
        return float(parse_quantity(quantity))
    except ValueError:
        return 0.0


def _nodes_for(cluster: Cluster, pod: Object) -> list[Object]:
    """[] where nodes may not be read."""
    labels = ",".join(f"{key}={value}" for key, value in (pod["spec"].get("nodeSelector") or {}).items())
    try:
        return list(cluster.get("/api/v1/nodes", limit=NODES, **({"labelSelector": labels} if labels else {}))["items"] or [])
    except ApiError:
        return []
