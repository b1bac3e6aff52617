"""What the API server asks others for: admission webhooks that must agree to a job, conversion webhooks, APIs behind a service.

A webhook of failurePolicy Fail whose service has no ready endpoint stops everything that it covers, and the refusal names it to nobody
who did not just make a job. One that is reached by an address (clientConfig.url) is asked by a dry run in this namespace.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import trainyard_kube as kube
from cluster_health.operators import probes
from cluster_health.facts import ABSENT, NO_RESOURCES, NOT_READY, READY, Component, Facts, attempt, component, refused, some

CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/{}webhookconfigurations"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
POD: kube.Object = {
    "kind": "Pod",
    "metadata": {"name": "trainyard-probe"},
    "spec": {"containers": [{"name": "main", "image": "none"}]},
}
OURS = {
    "hyperpodpytorchjobs": "sagemaker.amazonaws.com",
    "jobs": "batch",
    "jobsets": "jobset.x-k8s.io",
    "persistentvolumeclaims": "",
    "pods": "",
    "pytorchjobs": "kubeflow.org",
    "rayclusters": "ray.io",
    "rayjobs": "ray.io",
    "services": "",
    "trainjobs": "trainer.kubeflow.org",
}
"""What a training job is made of: plural -> API group."""


@dataclass(frozen=True)
class Asked:
    """A webhook that has to agree, and where it is: a service (namespace, name), or an address of its own."""

    name: str
    covers: frozenset[str]
    service: tuple[str, str] | None


@dataclass
class _Ready:
    """Whether a service has an endpoint that is ready: each is asked once."""

    cluster: kube.Cluster
    known: dict[tuple[str, str], bool] = field(default_factory=dict)

    def has(self, service: tuple[str, str]) -> bool:
        if service not in self.known:
            path = f"/apis/discovery.k8s.io/v1/namespaces/{service[0]}/endpointslices"
            slices = self.cluster.list(path, labelSelector=f"kubernetes.io/service-name={service[1]}")
            ends = [end for each in slices for end in each.get("endpoints") or []]
            self.known[service] = any((end.get("conditions") or {}).get("ready", True) for end in ends)
        return self.known[service]


def webhook_components(facts: Facts) -> list[Component]:
    ready = _Ready(facts.cluster)
    found = []
    for name, check in (("webhooks", _admission), ("webhooks.conversion", _conversion)):
        answer = attempt(lambda name=name, check=check: check(name, facts, ready))  # type: ignore[misc]
        found.append(refused(name, answer) if isinstance(answer, kube.ApiError) else answer)
    return [*found, _api_services(facts)]


def _admission(name: str, facts: Facts, ready: _Ready) -> Component:
    asked = [each for kind in ("validating", "mutating") for each in _required(facts.cluster, kind)]
    if not asked:
        return component(name, ABSENT, "no admission webhook has to agree to a job")
    dead = [each for each in asked if each.service and not ready.has(each.service)]
    if dead:
        first = dead[0]
        assert first.service is not None
        named = [f"{each.name} ({', '.join(sorted(each.covers))}; service {'/'.join(each.service or ())})" for each in dead]
        summary = (
            f"{len(dead)} of {len(asked)} admission webhooks have no ready endpoint, and nothing that they cover can be made"
        )
        fix = f"kubectl -n {first.service[0]} get service,endpointslices,pods: bring {first.service[1]} back, or delete the webhook configuration"
        return component(name, NOT_READY, summary, some(named), fix)
    elsewhere = frozenset(plural for each in asked if not each.service for plural in each.covers)
    if elsewhere and (silent := _silent(name, facts, elsewhere)):
        return silent
    told = f"asked by a dry run in {facts.cluster.namespace}: those of {', '.join(sorted(elsewhere))}" if elsewhere else None
    return component(name, READY, f"{len(asked)} admission webhooks have to agree to a job, and answer", told)


def _silent(name: str, facts: Facts, plurals: frozenset[str]) -> Component | None:
    """What stands in the way of a dry run of these kinds, which webhooks outside the cluster must agree to."""
    versions = facts.groups if isinstance(facts.groups, dict) else {}
    for plural, probe in (("pods", POD), *probes().items()):
        version = "v1" if plural == "pods" else versions.get(OURS[plural])
        if plural not in plurals or version is None:
            continue
        try:
            facts.cluster.create(facts.cluster.namespaced(version, plural), {**probe, "apiVersion": version}, dry_run=True)
        except kube.ApiError as error:
            if error.cause in ("webhook-away", "slow"):
                return component(name, NOT_READY, str(error), f"a dry run in {facts.cluster.namespace}", error.hint)
            if error.cause == "rbac":
                return refused(name, error)
    return None  # made, or refused by somebody: whoever had to agree has answered


def _required(cluster: kube.Cluster, kind: str) -> Iterator[Asked]:
    for each in cluster.list(CONFIGURATIONS.format(kind)):
        for webhook in each.get("webhooks") or []:
            covers = frozenset(name for rule in webhook.get("rules") or [] for name in OURS if _covers(rule, name))
            if not covers or webhook.get("failurePolicy", "Fail") != "Fail":
                continue
            service = (webhook.get("clientConfig") or {}).get("service")
            yield Asked(str(webhook["name"]), covers, (service["namespace"], service["name"]) if service else None)


def _covers(rule: kube.Object, plural: str) -> bool:
    return bool(
        {"CREATE", "*"} & set(rule.get("operations") or [])
        and {OURS[plural], "*"} & set(rule.get("apiGroups") or [])
        and {plural, "*", "*/*"} & set(rule.get("resources") or [])
    )


def _conversion(name: str, facts: Facts, ready: _Ready) -> Component:
    if isinstance(facts.groups, kube.ApiError):
        raise facts.groups
    asked: list[tuple[str, tuple[str, str]]] = []
    for plural, group in OURS.items():
        if "." in group and group in facts.groups:
            definition = facts.cluster.find(f"{DEFINITIONS}/{plural}.{group}") or {"spec": {}}
            client = ((definition["spec"].get("conversion") or {}).get("webhook") or {}).get("clientConfig") or {}
            if service := client.get("service"):
                asked.append((f"{plural}.{group}", (service["namespace"], service["name"])))
    if not asked:
        return component(name, ABSENT, "no kind of training job is converted between versions")
    dead = [f"{kind} (service {'/'.join(service)})" for kind, service in asked if not ready.has(service)]
    if dead:
        summary = f"{len(dead)} kinds of job have a conversion webhook without a ready endpoint: they cannot be read or made"
        return component(name, NOT_READY, summary, some(dead), "kubectl get pods -A: is the operator of that kind running?")
    return component(name, READY, f"{len(asked)} kinds of job are converted, and their webhooks have ready endpoints")


def _api_services(facts: Facts) -> Component:
    """Those behind a service. Jobs do not need them, but namespaces cannot be deleted without, and discovery is slow."""
    services = attempt(lambda: facts.cluster.list(SERVICES))
    if isinstance(services, kube.ApiError):
        return refused("webhooks.apis", services)
    behind = [each for each in services if each["spec"].get("service")]
    away = [kube.name(each) for each in behind if not kube.holds(each, "Available")]
    if not behind:
        return component("webhooks.apis", ABSENT, "every API is served by the API server itself")
    if away:
        summary = f"{len(away)} of {len(behind)} APIs behind a service do not answer: deleted namespaces stay Terminating"
        return component("webhooks.apis", NO_RESOURCES, summary, some(away), f"kubectl describe apiservice {away[0]}")
    return component("webhooks.apis", READY, f"all {len(behind)} APIs behind a service answer")
