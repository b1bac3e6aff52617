"""What the API server knows of a run, as JSON: its job and what that owns, pods, nodes, claims, quotas, events. Secrets are not asked for."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import trainyard_kube as kube
from evidence_folder.asking import Asking
from evidence_folder.writing import EvidenceFolder
from trainyard_kube import ApiError, Cluster, Object

ONE_BY_ONE = 25
"""So many nodes, or objects with events, are asked for by name; for more, all are listed and chosen from."""
MAX_NODES = 600
MAX_EVENTS = 5000
MAX_PAGES = 60
"""Of events of a namespace: 30,000. Kubernetes keeps an hour of them."""
OWNED = (
    ("scheduling.x-k8s.io/v1alpha1", "podgroups", "PodGroup"),
    ("scheduling.volcano.sh/v1beta1", "podgroups", "PodGroup"),
    ("kueue.x-k8s.io/v1beta1", "workloads", "Workload"),
    ("jobset.x-k8s.io/v1alpha2", "jobsets", "JobSet"),
    ("batch/v1", "jobs", "Job"),
    ("ray.io/v1", "rayclusters", "RayCluster"),
)
"""Kinds that an operator, a scheduler or a queue makes for a job; those that are not installed are passed over."""
IN_NAMESPACE = (("v1", "resourcequotas", "ResourceQuota"), ("v1", "limitranges", "LimitRange"))


@dataclass
class Objects:
    """What was written, by kind and name: its events are asked for."""

    asking: Asking
    folder: EvidenceFolder
    named: set[tuple[str, str]] = field(default_factory=set)

    @property
    def cluster(self) -> Cluster:
        return self.asking.cluster

    def keep(self, kind: str, thing: Object) -> None:
        name = kube.name(thing)
        self.named.add((kind, name))
        self.folder.document(f"objects/{kind}-{name}.json", {"kind": kind, **thing})

    def of_job(self, kind: str | None, job: Object | None) -> None:
        """The job, and what has it for its owner, two steps deep: TrainJob, JobSet, Job; RayJob, RayCluster."""
        if job is None or kind is None:
            return
        self.keep(kind, job)
        owners = {str(job["metadata"].get("uid"))}
        found = [(row, thing) for row in OWNED for thing in self._all(*row)]
        for _ in range(2):
            for (_, _, each), thing in found:
                uids = {str(owner.get("uid")) for owner in thing["metadata"].get("ownerReferences") or []}
                if uids & owners and (each, kube.name(thing)) not in self.named:
                    owners.add(str(thing["metadata"].get("uid")))
                    self.keep(each, thing)

    def of_namespace(self) -> None:
        for row in IN_NAMESPACE:
            for thing in self._all(*row):
                self.keep(row[2], thing)

    def of_pods(self, pods: Iterable[Object]) -> None:
        """Each pod, its claims with their volumes and classes, its node."""
        pods, claims = [*pods], set()
        for pod in pods:
            self.named.add(("Pod", kube.name(pod)))
            self.folder.document(f"pods/{kube.name(pod)}/pod.json", pod)
            claims |= {name for each in pod["spec"].get("volumes") or [] if (name := _claim(each))}
        for name in sorted(claims):
            self._claim(name)
        self._nodes({str(pod["spec"]["nodeName"]) for pod in pods if pod["spec"].get("nodeName")}, any(map(_waits, pods)))

    def _claim(self, name: str) -> None:
        path = self.cluster.namespaced("v1", "persistentvolumeclaims", name)
        claim = self._one("PersistentVolumeClaim", name, path)
        spec = (claim or {}).get("spec") or {}
        if volume := spec.get("volumeName"):  # its node affinity names the zone
            self._one("PersistentVolume", str(volume), f"/api/v1/persistentvolumes/{volume}")
        if storage := spec.get("storageClassName"):
            self._one("StorageClass", str(storage), f"/apis/storage.k8s.io/v1/storageclasses/{storage}")

    def _one(self, kind: str, name: str, path: str) -> Object | None:
        if (kind, name) in self.named:
            return None
        thing = self.asking.ask(f"objects/{kind}-{name}.json", lambda: self.cluster.get(path))
        if thing is not None:
            self.keep(kind, thing)
        return thing

    def _all(self, group_version: str, plural: str, kind: str) -> list[Object]:
        path = self.cluster.namespaced(group_version, plural)
        return self.asking.ask(f"objects/{kind}-*.json", lambda: self.cluster.list(path), optional=True) or []

    # --- nodes -------------------------------------------------------------------------------------------------------

    def _nodes(self, names: set[str], pods_wait: bool) -> None:
        """Those of the pods; all of them where a pod waits for one: why none takes it stands in their labels and taints."""
        if len(names) <= ONE_BY_ONE and not pods_wait:
            for name in sorted(names):
                call = functools.partial(self.cluster.get, f"/api/v1/nodes/{name}")
                self._node(self.asking.ask(f"nodes/{name}.json", call))
            return
        nodes = self.asking.ask("nodes", lambda: self.cluster.list("/api/v1/nodes")) or []
        wanted = [node for node in nodes if pods_wait or kube.name(node) in names]
        wanted.sort(key=lambda node: kube.name(node) not in names)
        for node in wanted[:MAX_NODES]:
            self._node(node)
        if len(wanted) > MAX_NODES:
            self.folder.leave_out("nodes", f"{len(wanted) - MAX_NODES} of {len(wanted)}, which run no pod of the job")

    def _node(self, node: Object | None) -> None:
        if node is None:
            return
        self.named.add(("Node", kube.name(node)))
        status = {key: value for key, value in kube.status(node).items() if key != "images"}  # names of others' images
        self.folder.document(f"nodes/{kube.name(node)}.json", {**node, "status": status})

    # --- events ------------------------------------------------------------------------------------------------------

    def events(self) -> None:
        """events.json: those of all that was written. Where there is none it is said: Kubernetes keeps them for an hour."""
        own = {pair for pair in self.named if pair[0] not in ("Node", "PersistentVolume", "StorageClass")}
        nodes = {pair for pair in self.named if pair[0] == "Node"}
        path = self.cluster.namespaced("v1", "events")
        found = [*self._events(path, own), *self._events("/api/v1/namespaces/default/events", nodes)]
        found.sort(key=time_of)
        if len(found) > MAX_EVENTS:
            self.folder.leave_out("events.json", f"the oldest {len(found) - MAX_EVENTS} of {len(found)}")
        self.folder.document("events.json", found[-MAX_EVENTS:])
        if not found and self.asking.over is None:
            self.folder.leave_out("events.json", "there is no event about the run: Kubernetes keeps them for an hour")

    def _events(self, path: str, about: set[tuple[str, str]]) -> list[Object]:
        if not about:
            return []
        if len(about) > ONE_BY_ONE:
            return self.asking.ask("events.json", lambda: [*self._listed(path, about)]) or []
        found: list[Object] = []
        for kind, name in sorted(about):
            selector = f"involvedObject.kind={kind},involvedObject.name={name}"
            call = functools.partial(self.cluster.list, path, fieldSelector=selector)
            answer = self.asking.ask(f"events.json: of {kind}/{name}", call)
            if answer is None and self.asking.over is None:
                break  # refused once, refused for all: told once
            found += answer or []
        return found

    def _listed(self, path: str, about: set[tuple[str, str]]) -> Iterator[Object]:
        kept: list[Object] = []
        for number, page in enumerate(self._pages(path)):
            if number >= MAX_PAGES:
                self.folder.leave_out(
                    "events.json", f"the namespace has more than {MAX_PAGES * 500} events; the rest was not read"
                )
                break
            kept += [event for event in page["items"] or [] if _about(event) in about]
        return iter(kept)

    def _pages(self, path: str) -> Iterator[Object]:
        try:
            yield from self.cluster.pages(path)
        except ApiError as error:  # the list has expired on the way: what was read is kept
            if error.status != 410:
                raise
            self.folder.leave_out("events.json", f"the list of events expired while it was read: {error}")


def _about(event: Object) -> tuple[str, str]:
    about = event.get("involvedObject") or {}
    return str(about.get("kind")), str(about.get("name"))


def time_of(event: Object) -> str:
    """Newest last. Times of one API server, in UTC, sort as text."""
    series = (event.get("series") or {}).get("lastObservedTime")
    found: Any = series or event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp")
    return re.sub(r"[.Z].*", "", str(found or ""))


def _claim(volume: Object) -> str | None:
    name = (volume.get("persistentVolumeClaim") or {}).get("claimName")
    return str(name) if name else None


def _waits(pod: Object) -> bool:
    return kube.status(pod).get("phase") == "Pending" and not pod["spec"].get("nodeName")
