"""What a job makes in its namespace: the pods and other objects that its manager and the engine's operator make, as admission sees them.

Read from the sources of Kubeflow Training Operator 1.9.4, Trainer 2.3 with JobSet 0.12, and KubeRay 1.6; of AWS's operator only the
pods are known. The operators put containers of their own into some pods, and a job file has no say in those.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from cluster_amounts import Amounts, add, amount, highest
from trainyard_job import RAY_ENGINES, Limits

from job_fit.job import Job
from job_fit.pod import PodPlan

MIB = 1 << 20
INIT_PYTORCH = ("init-pytorch", {"cpu": 50, "memory": 10 * MIB}, {"cpu": 100, "memory": 20 * MIB})
"""In each worker of a PyTorchJob. It sets no security context, unless the operator was given another template."""
WAIT_GCS_READY = ("wait-gcs-ready", {"cpu": 200, "memory": 256 * MIB}, {"cpu": 200, "memory": 256 * MIB})
"""In each Ray worker, with the security context of the job's own container."""
SUBMITTER = ("ray-job-submitter", {"cpu": 100, "memory": 200 * MIB}, {"cpu": 1000, "memory": 1024 * MIB})
MAIN = {"trainjob": "node", "rayjob": "ray", "raycluster": "ray"}


@dataclass(frozen=True)
class Container:
    name: str
    requests: Amounts
    limits: Amounts
    is_init: bool = False
    is_ours: bool = True
    """False: the operator's own."""


@dataclass(frozen=True)
class MadePod:
    """`count` pods that are alike."""

    role: str
    count: int
    containers: tuple[Container, ...]

    def requests(self) -> Amounts:
        return _of_pod((each.requests, each.is_init) for each in self.containers)

    def limits(self) -> Amounts:
        return _of_pod((each.limits, each.is_init) for each in self.containers)


def _of_pod(parts: Iterable[tuple[Amounts, bool]]) -> Amounts:
    """Init containers run one after the other, before the rest."""
    running: Amounts = {}
    peak: Amounts = {}
    for own, is_init in parts:
        if is_init:
            peak = highest(peak, own)
        else:
            add(running, own)
    return highest(running, peak)


def pods_of(job: Job, pod: PodPlan) -> list[MadePod]:
    engine, nodes = engine_of(job), job.request.nodes
    main = _main(job, pod, MAIN.get(engine, "pytorch"))
    if engine == "pytorchjob":
        return _led("master", "worker", main, _own(INIT_PYTORCH), nodes)
    if engine not in RAY_ENGINES:
        return [MadePod("node", nodes, (main,))]
    pods = _led("head", "worker", main, _own(WAIT_GCS_READY), nodes)
    submitter = Container(*SUBMITTER)
    return [*pods, MadePod("submitter", 1, (submitter,))] if engine == "rayjob" else pods


def _led(first: str, other: str, main: Container, init: Container, nodes: int) -> list[MadePod]:
    led = [MadePod(first, 1, (main,)), MadePod(other, nodes - 1, (main, init))]
    return led if nodes > 1 else led[:1]


def _own(container: tuple[str, Amounts, Amounts]) -> Container:
    return Container(*container, is_init=True, is_ours=False)


def _main(job: Job, pod: PodPlan, name: str) -> Container:
    """As trainyard_podjob_manifest.resources makes it; the API server takes a request that is not given from the limit."""
    given, requests = job.resources.limits or Limits(), pod.requests()
    limits = {key: count for key, count in requests.items() if key != "cpu"}
    if given.cpu:
        limits["cpu"] = amount("cpu", given.cpu)
    if given.memory:
        limits["memory"] = amount("memory", given.memory)
    return Container(name, requests, limits)


def engine_of(job: Job) -> str:
    return job.request.engine or "pytorchjob"


def objects_of(job: Job, claim: str | None) -> Amounts:
    """What is made beside pods, by the name under which a quota counts it: `jobs.batch`."""
    nodes, storage = job.request.nodes, job.request.checkpoints.storage
    made: dict[str, Amounts] = {
        "pytorchjob": {"pytorchjobs.kubeflow.org": 1, "services": nodes},
        "trainjob": {"trainjobs.trainer.kubeflow.org": 1, "jobsets.jobset.x-k8s.io": 1, "jobs.batch": 1, "services": 1},
        "hyperpodjob": {"hyperpodpytorchjobs.sagemaker.amazonaws.com": 1},
        "rayjob": {"rayjobs.ray.io": 1, "rayclusters.ray.io": 1, "jobs.batch": 1, "services": 1},
        "raycluster": {"rayclusters.ray.io": 1, "services": 1},
    }
    volume = {"persistentvolumeclaims": 1} if storage and not claim else {}
    return made[engine_of(job)] | volume
