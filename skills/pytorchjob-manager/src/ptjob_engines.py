"""The three kinds of job, and what each calls its parts. What differs between them is here and in ptjob_manifest.py."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import trainyard_kube as kube
from trainyard_kube import Object

Patch = list[Object]
OPERATORS = ("kubeflow.org/training-operator", "trainer.kubeflow.org/trainjob-controller")
"""Of `managedBy`: the operators themselves."""


@dataclass(frozen=True)
class Engine(ABC):
    """Operations on a job as the API server gave it; none of them makes a request."""

    name: str
    group: str
    version: str
    plural: str
    kind: str
    container: str
    install: str
    """What is missing where the API server does not know the kind."""
    made: tuple[str, ...]
    """What stands behind the job's name in the names of objects that its operator makes: the first pods, which may be gone again."""

    @property
    def group_version(self) -> str:
        return f"{self.group}/{self.version}"

    def at(self, version: str) -> Engine:
        return replace(self, version=version)

    def path(self, cluster: kube.Cluster, name: str = "") -> str:
        return cluster.namespaced(self.group_version, self.plural, name)

    @abstractmethod
    def selector(self, name: str) -> str:
        """Label selector of the pods of any job of this kind, also of one that is not ours."""

    @abstractmethod
    def rank(self, pod: Object) -> int | None:
        """Number of the node; None when the pod does not say."""

    def role(self, pod: Object) -> str:
        return "master" if self.rank(pod) == 0 else "worker"

    @abstractmethod
    def wanted(self, job: Object) -> int:
        """Nodes."""

    def is_suspended(self, job: Object) -> bool:
        return bool(job["spec"].get("suspend"))

    def suspend_patch(self, job: Object, suspend: bool) -> Patch | None:
        """JSON patch; None where this kind cannot be suspended."""
        return [{"op": "add", "path": "/spec/suspend", "value": suspend}]

    def scale_patch(self, job: Object, nodes: int) -> Patch | None:
        """JSON patch of the live object; None where this kind cannot change its size."""
        return None

    def managed_by(self, job: Object) -> str | None:
        """Another controller that this cluster's operator leaves the job to."""
        by = job["spec"].get("managedBy")
        return None if by in (None, *OPERATORS) else str(by)

    @abstractmethod
    def ended(self, job: Object) -> tuple[str, str] | None:
        """(finished | failed, why) once the job has ended."""


def conditions(job: Object) -> dict[str, Object]:
    """Type -> condition, of those that are True."""
    return {each["type"]: each for each in kube.conditions(job) if each["status"] == "True"}


def _ended(job: Object, good: tuple[str, ...]) -> tuple[str, str] | None:
    true = conditions(job)
    if "Failed" in true:
        return "failed", str(true["Failed"].get("message") or true["Failed"].get("reason") or "")
    found = next((true[name] for name in good if name in true), None)
    return ("finished", str(found.get("message") or "")) if found else None


class PyTorchJob(Engine):
    def selector(self, name: str) -> str:
        return f"training.kubeflow.org/job-name={name}"

    def rank(self, pod: Object) -> int | None:
        index = kube.label(pod, "training.kubeflow.org/replica-index") or ""
        if not index.isdigit():
            return None
        # The master is node 0 and the workers follow; an elastic job has no master, and its worker 0 bears the role.
        alone = kube.label(pod, "training.kubeflow.org/replica-type") == "master" or _is_elastic(pod)
        return int(index) + (0 if alone else 1)

    def wanted(self, job: Object) -> int:
        groups = job["spec"].get("pytorchReplicaSpecs") or {}
        return sum(int(group.get("replicas", 1)) for group in groups.values())

    def is_suspended(self, job: Object) -> bool:
        return bool((job["spec"].get("runPolicy") or {}).get("suspend"))

    def managed_by(self, job: Object) -> str | None:
        return super().managed_by({"spec": job["spec"].get("runPolicy") or {}})

    def suspend_patch(self, job: Object, suspend: bool) -> Patch | None:
        head: Patch = [] if "runPolicy" in job["spec"] else [{"op": "add", "path": "/spec/runPolicy", "value": {}}]
        return [*head, {"op": "add", "path": "/spec/runPolicy/suspend", "value": suspend}]

    def scale_patch(self, job: Object, nodes: int) -> Patch | None:
        groups = job["spec"]["pytorchReplicaSpecs"]
        if "Master" not in groups:
            return [{"op": "add", "path": "/spec/pytorchReplicaSpecs/Worker/replicas", "value": nodes}]
        if "Worker" not in groups:
            group = {**groups["Master"], "replicas": nodes - 1}
            return [{"op": "add", "path": "/spec/pytorchReplicaSpecs/Worker", "value": group}]
        if nodes == 1:
            return [{"op": "remove", "path": "/spec/pytorchReplicaSpecs/Worker"}]
        return [{"op": "add", "path": "/spec/pytorchReplicaSpecs/Worker/replicas", "value": nodes - 1}]

    def ended(self, job: Object) -> tuple[str, str] | None:
        return _ended(job, ("Succeeded",))


def _is_elastic(pod: Object) -> bool:
    env = pod["spec"]["containers"][0].get("env") or []
    return any(each["name"] == "PET_RDZV_BACKEND" for each in env)


class TrainJob(Engine):
    def selector(self, name: str) -> str:
        return f"jobset.sigs.k8s.io/jobset-name={name}"

    def rank(self, pod: Object) -> int | None:
        index = kube.notes(pod).get("batch.kubernetes.io/job-completion-index", "")
        return int(index) if index.isdigit() else None

    def wanted(self, job: Object) -> int:
        return int((job["spec"].get("trainer") or {}).get("numNodes") or 1)

    def ended(self, job: Object) -> tuple[str, str] | None:
        return _ended(job, ("Complete",))


class HyperPodJob(Engine):
    def selector(self, name: str) -> str:
        # The operator's own labels are not documented; the template carries ours.
        return f"{kube.RUN}={name}"

    def rank(self, pod: Object) -> int | None:
        number = re.search(r"(\d+)$", kube.name(pod))
        return int(number[1]) if number else None

    def wanted(self, job: Object) -> int:
        return sum(int(group.get("replicas", 1)) for group in job["spec"].get("replicaSpecs") or [])

    def is_suspended(self, job: Object) -> bool:
        return False

    def suspend_patch(self, job: Object, suspend: bool) -> Patch | None:
        return None

    def scale_patch(self, job: Object, nodes: int) -> Patch | None:
        group = "/spec/replicaSpecs/0"
        patch: Patch = [{"op": "add", "path": f"{group}/replicas", "value": nodes}]
        words = job["spec"]["replicaSpecs"][0]["template"]["spec"]["containers"][0].get("command") or []
        own = next((word for word in words if word.startswith("--nnodes=")), None)
        if words[:1] == ["hyperpodrun"] and own:  # the number of nodes stands in its options too, before the script's own
            changed = list(words)
            changed[words.index(own)] = f"--nnodes={nodes}"
            patch.append({"op": "add", "path": f"{group}/template/spec/containers/0/command", "value": changed})
        return patch

    def ended(self, job: Object) -> tuple[str, str] | None:
        return _ended(job, ("Completed", "Succeeded"))


ENGINES: dict[str, Engine] = {
    "pytorchjob": PyTorchJob(
        "pytorchjob", "kubeflow.org", "v1", "pytorchjobs", "PyTorchJob", "pytorch", "the Kubeflow Training Operator v1",
        ("-master-0", "-worker-0"),
    ),
    "trainjob": TrainJob(
        "trainjob", "trainer.kubeflow.org", "v1alpha1", "trainjobs", "TrainJob", "node", "Kubeflow Trainer v2",
        ("-node-0",),  # the Job of its JobSet; the JobSet bears the job's own name
    ),
    "hyperpodjob": HyperPodJob(
        "hyperpodjob", "sagemaker.amazonaws.com", "v1", "hyperpodpytorchjobs", "HyperPodPyTorchJob", "pytorch",
        "the HyperPod training operator", ("-pods-0",),
    ),
}  # fmt: skip


def engine_of_pod(pod: Object) -> Engine:
    """By the labels that the operators set; a pod of ours without them is HyperPod's."""
    if kube.label(pod, "training.kubeflow.org/job-name") is not None:
        return ENGINES["pytorchjob"]
    return ENGINES["hyperpodjob" if kube.label(pod, "jobset.sigs.k8s.io/jobset-name") is None else "trainjob"]
