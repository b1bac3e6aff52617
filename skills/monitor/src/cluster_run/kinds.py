"""The kinds of job that train on a cluster: where their objects are, and how their pods name them and say which node they are."""

from __future__ import annotations

import re
from dataclasses import dataclass

import trainyard_kube as kube
from trainyard_kube import Cluster, Object

DRIVER = -1
"""The rank of a pod that is no node of the training: a RayJob's submitter, whose log holds what the driver prints."""


@dataclass(frozen=True)
class Kind:
    engine: str
    group_version: str
    plural: str
    kind: str
    container: str | None
    """The container that trains; None: the pod's first one."""
    label: str | None
    """Of a pod, with the job's name; None: the operator's labels are not documented, and only ours are known."""

    def path(self, cluster: Cluster, name: str = "") -> str:
        return cluster.namespaced(self.group_version, self.plural, name)


KINDS = (
    Kind("pytorchjob", "kubeflow.org/v1", "pytorchjobs", "PyTorchJob", "pytorch", "training.kubeflow.org/job-name"),
    Kind("trainjob", "trainer.kubeflow.org/v1alpha1", "trainjobs", "TrainJob", "node", "jobset.sigs.k8s.io/jobset-name"),
    Kind("hyperpodjob", "sagemaker.amazonaws.com/v1", "hyperpodpytorchjobs", "HyperPodPyTorchJob", "pytorch", None),
    Kind("rayjob", "ray.io/v1", "rayjobs", "RayJob", None, "ray.io/originated-from-cr-name"),
    Kind("raycluster", "ray.io/v1", "rayclusters", "RayCluster", None, "ray.io/cluster"),
    Kind("job", "batch/v1", "jobs", "Job", None, "batch.kubernetes.io/job-name"),
)
"""Others make Jobs of their own: a `job` counts only where no other kind has the name."""
BY_WORD = {word.lower(): kind for kind in KINDS for word in (kind.engine, kind.kind, kind.plural)}


def of_pod(pod: Object) -> tuple[Kind, str] | None:
    """(kind, name of the job) by the labels that operators set; None where they tell nothing."""
    if kube.label(pod, "ray.io/is-ray-node") == "yes":
        from_job = kube.label(pod, "ray.io/originated-from-crd") == "RayJob"
        kind = BY_WORD["rayjob" if from_job else "raycluster"]
        return kind, str(kube.label(pod, kind.label or "") or "")
    for kind in KINDS:
        if kind.label and not kind.engine.startswith("ray") and (name := kube.label(pod, kind.label)):
            return kind, name
    run = kube.label(pod, kube.RUN)
    return (BY_WORD["hyperpodjob"], run) if run and kube.owner(pod) else None


def rank_of(pod: Object, kind: Kind | None) -> int | None:
    """Number of the node; None where the pod does not say."""
    if kind is None or kind.engine.startswith("ray"):
        return None
    if kind.engine == "pytorchjob":
        return _of_pytorchjob(pod)
    if kind.engine in ("trainjob", "job"):
        return _number(kube.notes(pod).get("batch.kubernetes.io/job-completion-index"))
    number = re.search(r"(\d{1,6})$", kube.name(pod))
    return int(number[1]) if number else None


def _of_pytorchjob(pod: Object) -> int | None:
    index = _number(kube.label(pod, "training.kubeflow.org/replica-index"))
    if index is None:
        return None
    # The master is node 0 and the workers follow; an elastic job has no master, and its worker 0 is node 0.
    env = [each for container in pod["spec"]["containers"] for each in container.get("env") or []]
    elastic = any(each.get("name") == "PET_RDZV_BACKEND" for each in env)
    alone = elastic or kube.label(pod, "training.kubeflow.org/replica-type") == "master"
    return index if alone else index + 1


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 7 else None


def ray_order(pod: Object) -> tuple[bool, int, str]:
    """The head, then the workers by index where KubeRay gives one, else by name."""
    index = _number(kube.label(pod, "ray.io/worker-group-replica-index"))
    return kube.label(pod, "ray.io/node-type") != "head", index or 0, kube.name(pod)
