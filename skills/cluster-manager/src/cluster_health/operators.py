"""Operators: a CRD alone proves nothing. Ready is a ready Deployment with the operator's image, or a webhook of it that answers.

Not every image of a project is its operator: KubeRay has an API server of its own, Kueue a dashboard.

The webhook is asked only where no Deployment is found (an operator that runs elsewhere), by a server-side dry run. KubeRay and the
HyperPod operator have none by default: with their CRD served and no Deployment the answer stays unknown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_kube as kube
from cluster_health.facts import (
    ABSENT,
    NO_RESOURCES,
    NOT_READY,
    READY,
    UNKNOWN,
    Component,
    Facts,
    Workload,
    attempt,
    component,
    refused,
    some,
)

PROBES = Path(__file__).resolve().parents[2] / "assets" / "probes.yaml"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@dataclass(frozen=True)
class Operator:
    name: str
    group: str
    plural: str
    image: re.Pattern[str]


OPERATORS = (
    Operator("training-operator", "kubeflow.org", "pytorchjobs", re.compile(r"(?<!hyperpod-)training-operator")),
    Operator("trainer", "trainer.kubeflow.org", "trainjobs", re.compile(r"trainer-controller-manager")),
    Operator("jobset", "jobset.x-k8s.io", "jobsets", re.compile(r"jobset")),
    Operator("kuberay", "ray.io", "rayclusters", re.compile(r"kuberay.*operator")),
    Operator(
        "hyperpod-operator", "sagemaker.amazonaws.com", "hyperpodpytorchjobs", re.compile(r"hyperpod.*operator|hp-training")
    ),
    Operator("kueue", "kueue.x-k8s.io", "localqueues", re.compile(r"(^|/)kueue(-controller(-manager)?)?(:|@|$)")),
)


def operator_components(facts: Facts, ignored: frozenset[str]) -> list[Component]:
    return [_operator(facts, operator) for operator in OPERATORS if operator.name not in ignored]


def _operator(facts: Facts, operator: Operator) -> Component:
    if isinstance(facts.groups, kube.ApiError):
        return refused(operator.name, facts.groups)
    version = facts.groups.get(operator.group)
    if version is None or not _serves(facts.cluster, version, operator.plural):
        return component(operator.name, ABSENT, f"no {operator.plural}.{operator.group} is served")
    served = f"{operator.plural} of {version} are served"
    if isinstance(facts.deployments, kube.ApiError):
        return refused(operator.name, facts.deployments)
    found = [each for each in facts.deployments if _is_of(each, operator)]
    if not found:
        return _by_webhook(facts.cluster, operator, version, served)
    told = some([f"{each.told} {each.status.ready_replicas} of {each.spec.replicas} ready" for each in found])
    if not any(each.status.ready_replicas for each in found):
        fix = f"kubectl -n {found[0].metadata.namespace} describe deployment {found[0].metadata.name}"
        return component(operator.name, NOT_READY, f"{served}, its operator is not ready", told, fix)
    return _queues(facts.cluster, version, told) if operator.name == "kueue" else component(operator.name, READY, served, told)


def _serves(cluster: kube.Cluster, version: str, plural: str) -> bool:
    """A group may be there without the resource: kubeflow.org is shared by many."""
    found = cluster.find(f"/apis/{version}")
    return found is not None and any(each["name"] == plural for each in found["resources"])


def _is_of(deployment: Workload, operator: Operator) -> bool:
    names = deployment.images + ([deployment.metadata.name] if operator.name == "hyperpod-operator" else [])
    return any(operator.image.search(name) for name in names)


def _queues(cluster: kube.Cluster, version: str, told: str) -> Component:
    queues = attempt(lambda: cluster.list(f"/apis/{version}/clusterqueues"))
    if isinstance(queues, kube.ApiError):
        return refused("kueue", queues)
    active = [kube.name(queue) for queue in queues if kube.holds(queue, "Active")]
    if not active:
        fix = "make a ClusterQueue with quota and a LocalQueue in the namespace"
        return component("kueue", NO_RESOURCES, f"none of {len(queues)} cluster queues is active", told, fix)
    return component("kueue", READY, f"{len(active)} of {len(queues)} cluster queues are active", f"{some(active)}; {told}")


# --- an operator that runs elsewhere -----------------------------------------------------------------------------


def _by_webhook(cluster: kube.Cluster, operator: Operator, version: str, served: str) -> Component:
    nothing = f"{served}, and no Deployment runs its operator"
    fix = f"install it; where it runs outside the cluster, --ignore {operator.name}"
    webhooks = attempt(lambda: cluster.list(WEBHOOKS))
    if isinstance(webhooks, kube.ApiError):
        return refused(operator.name, webhooks)
    probe = probes().get(operator.plural)
    if probe is None or not any(_covers(webhook, operator) for each in webhooks for webhook in each.get("webhooks") or []):
        return component(operator.name, UNKNOWN, nothing, "it has no webhook that could be asked", fix)
    try:
        cluster.create(cluster.namespaced(version, operator.plural), {**probe, "apiVersion": version}, dry_run=True)
    except kube.ApiError as error:
        if error.cause == "webhook-denied":  # said by the operator itself
            return component(operator.name, READY, served, f"its webhook answers: {error.message[:120]}")
        if error.status == 403:
            return refused(operator.name, error)
        return component(operator.name, NOT_READY, f"{nothing}; its webhook does not answer", error.message, fix)
    return component(operator.name, READY, served, "no Deployment in the cluster; its webhook answers")


def probes() -> dict[str, Any]:
    import yaml

    loaded: dict[str, Any] = yaml.safe_load(PROBES.read_text(encoding="utf-8"))
    return loaded


def _covers(webhook: kube.Object, operator: Operator) -> bool:
    """Whether a create of this resource must pass this webhook: with failurePolicy Ignore a dead one would not be noticed."""
    rules = [rule for rule in webhook.get("rules") or [] if {"CREATE", "*"} & set(rule.get("operations") or [])]
    covered = any(operator.group in rule["apiGroups"] and operator.plural in rule["resources"] for rule in rules)
    return covered and webhook.get("failurePolicy", "Fail") == "Fail"
