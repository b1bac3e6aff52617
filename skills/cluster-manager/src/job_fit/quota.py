"""Whether the namespace's ResourceQuotas leave room for the pods of a job: they are refused when made, before any scheduling."""

from __future__ import annotations

from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_amounts import Amounts, amount, written

OBJECTS = {"pods", "count/pods"}


def quota_check(cluster: kube.Cluster, requests: Amounts, nodes: int, priority: str | None) -> tuple[shell.Check, list[str]]:
    """The check `fit.quota` and what is missing. Memory limits of the pods equal their requests."""
    refused: list[shell.Check] = []
    with kube.noted("fit.quota", refused):
        quotas = cluster.list(cluster.namespaced("v1", "resourcequotas"))
    if refused:
        return refused[0], []
    missing = [each for quota in quotas if counts(quota, priority) for each in _lacking(quota, requests, nodes)]
    if missing:
        fix = "fewer nodes, another namespace, or ask who keeps the quota"
        return shell.Check("fit.quota", "fail", "the namespace's quota is too small", "; ".join(missing), fix), missing
    summary = f"{len(quotas)} quotas leave room" if quotas else f"namespace {cluster.namespace} has no quota"
    return shell.Check("fit.quota", "pass", summary), []


def counts(quota: kube.Object, priority: str | None) -> bool:
    """Whether a quota's scopes take in the pods of a job: without a deadline, with requests, of `priority`."""
    spec = quota["spec"]
    rules = [{"scopeName": name, "operator": "Exists"} for name in spec.get("scopes") or []]
    rules += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    return all(_in_scope(rule, priority) for rule in rules)


def _in_scope(rule: dict[str, Any], priority: str | None) -> bool:
    if rule["scopeName"] != "PriorityClass":
        return rule["scopeName"] in ("NotTerminating", "NotBestEffort")
    values, operator = rule.get("values") or [], rule["operator"]
    return {
        "Exists": priority is not None,
        "DoesNotExist": priority is None,
        "In": priority in values,
        "NotIn": priority is not None and priority not in values,
    }[operator]


def _lacking(quota: kube.Object, requests: Amounts, nodes: int) -> list[str]:
    status = kube.status(quota)
    hard = status.get("hard") or quota["spec"].get("hard") or {}
    lacking = []
    if "limits.cpu" in hard:
        # A job's CPU is requested, not limited; the quota then refuses every pod.
        lacking.append(f"quota {kube.name(quota)}: limits.cpu, and the job's pods have no CPU limit")
    for key, text in hard.items():
        if key == "limits.cpu":
            continue
        resource = key.removeprefix("requests.").removeprefix("limits.")
        needed = nodes if key in OBJECTS else nodes * requests.get(resource, 0)
        left = amount(resource, text) - amount(resource, (status.get("used") or {}).get(key, "0"))
        if needed > left:
            words = f"{written(resource, needed)} {key}, {written(resource, max(left, 0))} of {text} left"
            lacking.append(f"quota {kube.name(quota)}: {words}")
    return lacking
