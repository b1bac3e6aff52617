"""What `health` looks at: each collection read once, as small structs; a read that is not allowed is kept as the answer it got."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_read import Meta, Node, read_all
from msgspec import Struct, field


class PodContainer(Struct):
    image: str = ""


class TemplateSpec(Struct):
    containers: list[PodContainer] = []


class Template(Struct):
    spec: TemplateSpec = field(default_factory=TemplateSpec)


class WorkloadSpec(Struct):
    template: Template = field(default_factory=Template)
    replicas: int = 1


class WorkloadStatus(Struct, rename="camel"):
    """Deployments have ready_replicas, DaemonSets number_ready of desired_number_scheduled."""

    ready_replicas: int = 0
    number_ready: int = 0
    desired_number_scheduled: int = 0


class Workload(Struct):
    """A Deployment or a DaemonSet."""

    metadata: Meta
    spec: WorkloadSpec = field(default_factory=WorkloadSpec)
    status: WorkloadStatus = field(default_factory=WorkloadStatus)

    @property
    def images(self) -> list[str]:
        return [container.image for container in self.spec.template.spec.containers]

    @property
    def told(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"


Value = TypeVar("Value")


def attempt(read: Callable[[], Value]) -> Value | kube.ApiError:
    """What was read, or the refusal (403). Any other error is raised: a broken connection is no finding about a component."""
    try:
        return read()
    except kube.ApiError as error:
        if error.status != 403:
            raise
        return error


@dataclass(frozen=True)
class Facts:
    """Of one cluster at one moment."""

    cluster: kube.Cluster
    nodes: list[Node] | kube.ApiError
    daemon_sets: list[Workload] | kube.ApiError
    deployments: list[Workload] | kube.ApiError
    groups: dict[str, str] | kube.ApiError
    """API group -> its preferred version, such as kubeflow.org -> kubeflow.org/v1."""


def read_facts(cluster: kube.Cluster) -> Facts:
    return Facts(
        cluster,
        attempt(lambda: list(read_all(cluster, "/api/v1/nodes", Node))),
        attempt(lambda: list(read_all(cluster, "/apis/apps/v1/daemonsets", Workload))),
        attempt(lambda: list(read_all(cluster, "/apis/apps/v1/deployments", Workload))),
        attempt(lambda: _groups(cluster)),
    )


def _groups(cluster: kube.Cluster) -> dict[str, str]:
    return {group["name"]: group["preferredVersion"]["groupVersion"] for group in cluster.get("/apis")["groups"]}


# --- what is said of a component ---------------------------------------------------------------------------------

ABSENT, NOT_READY, NO_RESOURCES, READY, UNKNOWN = "absent", "installed-not-ready", "ready-no-resources", "ready", "unknown"
STATUS_OF = {ABSENT: "skipped", NOT_READY: "fail", NO_RESOURCES: "warn", READY: "pass", UNKNOWN: "unknown"}


@dataclass(frozen=True)
class Component:
    """One part of a cluster, its state, and the check that says so."""

    name: str
    state: str
    check: shell.Check


def component(
    name: str, state: str, summary: str, evidence: str | None = None, fix: str | None = None, status: str | None = None
) -> Component:
    """`status` where the state alone does not decide it."""
    return Component(name, state, shell.Check(name, status or STATUS_OF[state], summary, evidence, fix))


def refused(name: str, error: kube.ApiError) -> Component:
    return Component(name, UNKNOWN, kube.unknown(name, error))


def some(names: list[str], limit: int = 5) -> str:
    """The first names of a list, for evidence."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
