"""Whether the namespace's ResourceQuotas leave room for what a job makes: it is refused when made, before any scheduling.

The evaluators of kube-apiserver 1.36: of pods by scope, of other objects by number. A quota on CPU or memory also wants that every
container names it, which a LimitRange may do in its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import trainyard_kube as kube
from cluster_amounts import Amounts, amount, written

from job_fit.made import MadePod

REQUESTS, LIMITS, COUNT = "requests.", "limits.", "count/"
PODS = ("pods", "count/pods")
STORAGE, OF_CLASS = "requests.storage", ".storageclass.storage.k8s.io/"
BOTH = ("cpu", "memory", "ephemeral-storage")
"""Without a prefix these stand for requests; of these a quota may hold the limits too."""
NAMED_BY_EACH = ("cpu", "memory")
"""Every container must name these where a quota holds them."""
OF_PODS = ("NotTerminating", "NotBestEffort")
"""Scopes of a job's pods: they have no deadline, and ask for something."""


@dataclass(frozen=True)
class Making:
    """What is to be made, as quotas count it."""

    pods: Sequence[MadePod]
    objects: Amounts
    priority: str | None
    """Name of the pods' PriorityClass."""
    storage: int = 0
    """Bytes of the claim that is to be made."""
    storage_class: str | None = None


def lacking(quotas: Sequence[kube.Object], making: Making) -> list[str]:
    """Each line a quota, what is needed of it and what is left."""
    return [line for quota in quotas for line in _of_quota(quota, making)]


def _of_quota(quota: kube.Object, making: Making) -> Iterator[str]:
    status, name = kube.status(quota), kube.name(quota)
    hard = status.get("hard") or quota["spec"].get("hard") or {}
    pods = making.pods if counts(quota, making.priority) else []
    for key, text in hard.items():
        if missing := _unnamed(key, pods):
            yield f"quota {name}: {key}, and container {missing[0]} has no {missing[1]}"
            continue
        unit, needed = _unit(key), _needed(key, pods, making)
        left = amount(unit, text) - amount(unit, (status.get("used") or {}).get(key, "0"))
        if needed and needed > left:
            yield f"quota {name}: {written(unit, needed)} {key}, {written(unit, max(left, 0))} of {text} left"


def _unit(key: str) -> str:
    return "memory" if key.endswith(STORAGE) else key.removeprefix(REQUESTS).removeprefix(LIMITS)


def _needed(key: str, pods: Sequence[MadePod], making: Making) -> int:
    if key in PODS:
        return sum(pod.count for pod in pods)
    if key in BOTH or (key.startswith((REQUESTS, LIMITS, "hugepages-")) and key != STORAGE):
        asked = [pod.limits() if key.startswith(LIMITS) else pod.requests() for pod in pods]
        return sum(pod.count * each.get(_unit(key), 0) for pod, each in zip(pods, asked, strict=True))
    class_, of_class, what = key.rpartition(OF_CLASS)
    if of_class and class_ != making.storage_class:
        return 0
    return making.storage if what == STORAGE else making.objects.get(what.removeprefix(COUNT), 0)


def _unnamed(key: str, pods: Sequence[MadePod]) -> tuple[str, str] | None:
    """(container, what it does not name) where that alone has the pod refused."""
    resource = key.removeprefix(REQUESTS).removeprefix(LIMITS)
    if resource not in NAMED_BY_EACH:
        return None
    limits = key.startswith(LIMITS)
    containers = [each for pod in pods for each in pod.containers]
    found = next((each.name for each in containers if resource not in (each.limits if limits else each.requests)), None)
    return (found, f"{resource} {'limit' if limits else 'request'}") if found else None


# --- scopes ------------------------------------------------------------------------------------------------------


def counts(quota: kube.Object, priority: str | None) -> bool:
    """Whether a quota's scopes take in the pods of a job: without a deadline, with requests, of `priority`."""
    return all(_in_scope(rule, priority) for rule in _rules(quota))


def _rules(quota: kube.Object) -> list[dict[str, Any]]:
    spec = quota["spec"]
    rules = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or []]
    return rules + ((spec.get("scopeSelector") or {}).get("matchExpressions") or [])


def _in_scope(rule: dict[str, Any], priority: str | None) -> bool:
    if rule["scopeName"] != "PriorityClass":
        return rule["scopeName"] in OF_PODS
    values, operator = rule.get("values") or [], rule["operator"]
    return {
        "Exists": priority is not None,
        "DoesNotExist": priority is None,
        "In": priority in values,
        # A label that is absent is not in any list.
        "NotIn": priority not in values,
    }[operator]
