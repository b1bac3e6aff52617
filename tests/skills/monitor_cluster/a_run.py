"""The objects of a run that the API stand-in serves: a PyTorchJob and its pods, as operator and kubelet write them."""

from __future__ import annotations

import time
from typing import Any

from api_of_a_run import NAMESPACE, Api, Object, log_of, stamp

JOBS = f"/apis/kubeflow.org/v1/namespaces/{NAMESPACE}/pytorchjobs"
RUN_ID = "0123456789abcdef"


def job(
    name: str = "tiny", nodes: int = 2, *, ended: str | None = None, began: float | None = None, run_id: str | None = RUN_ID
) -> Object:
    began = time.time() - 600 if began is None else began
    rows = [{"type": "Created", "status": "True"}, {"type": "Running", "status": "False" if ended else "True"}]
    rows += (
        [{"type": ended, "status": "True", "message": f"PyTorchJob {name} {ended}", "lastTransitionTime": stamp(time.time())}]
        if ended
        else []
    )
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "uid": f"job-{name}", "creationTimestamp": stamp(began), "labels": labels(name, run_id)},
        "spec": {
            "pytorchReplicaSpecs": {"Master": {"replicas": 1}, **({"Worker": {"replicas": nodes - 1}} if nodes > 1 else {})}
        },
        "status": {"conditions": rows, "startTime": stamp(began)},
    }


def labels(name: str, run_id: str | None) -> dict[str, str]:
    ours = {"app.kubernetes.io/managed-by": "trainyard", "trainyard.dev/run": name, "trainyard.dev/run-id": str(run_id)}
    return ours if run_id else {}


def pod(
    rank: int,
    name: str = "tiny",
    *,
    began: float,
    state: Object | None = None,
    last: Object | None = None,
    restarts: int = 0,
    phase: str = "Running",
    clock_ahead_s: float = 0.0,
    run_id: str | None = RUN_ID,
    node: str | None = None,
    **status: Any,
) -> Object:
    """`began` is when its container began, by the API server's clock; the kubelet writes it by its own."""
    role = "master-0" if rank == 0 else f"worker-{rank - 1}"
    own = {"training.kubeflow.org/job-name": name, "training.kubeflow.org/replica-type": role.split("-")[0]}
    own["training.kubeflow.org/replica-index"] = role.split("-")[1]
    told = stamp(began + clock_ahead_s)
    container = {"name": "pytorch", "restartCount": restarts, "state": state or {"running": {"startedAt": told}}}
    container |= {"lastState": {"terminated": last}} if last else {}
    written = {"subresource": "status", "time": stamp(began + 1), "fieldsV1": {"f:status": {"f:containerStatuses": {}}}}
    ready = [{"type": kind, "status": "True", "lastTransitionTime": told} for kind in ("Ready", "ContainersReady")]
    return {
        "metadata": {
            "name": f"{name}-{role}",
            "uid": f"uid-{name}-{rank}-{began:.0f}",
            "creationTimestamp": stamp(began - 2),
            "labels": {**own, **labels(name, run_id)},
            "managedFields": [written],
        },
        "spec": {
            "nodeName": node or f"node-{rank}",
            "containers": [{"name": "pytorch", "image": "any"}],
            "restartPolicy": "OnFailure",
        },
        "status": {"phase": phase, "startTime": told, "containerStatuses": [container], "conditions": ready, **status},
    }


def ended_at(began: float, ended: float, code: int, reason: str = "Error") -> Object:
    return {"exitCode": code, "reason": reason, "startedAt": stamp(began), "finishedAt": stamp(ended)}


def steps(
    first: int,
    last: int,
    begin: float,
    step_s: float = 10.0,
    *,
    text: str = "{{'loss': {loss:.4f}, 'grad_norm': 1.0, 'learning_rate': 1e-4, 'epoch': {epoch:.3f}}}",
) -> list[tuple[float, str]]:
    """Lines of a trainer that is not ours (transformers), with the bar behind each that tells its step."""
    rows = []
    for step in range(first, last + 1):
        at = begin + (step - first + 1) * step_s
        rows += [(at, text.format(loss=4 - step / 100, epoch=step / 100, step=step))]
        rows += [(at, f" {step}%|#  | {step}/100 [00:{step % 60:02d}<01:00,  1.00it/s]")]
    return rows


def running(
    api: Api, *, nodes: int = 2, lines: list[tuple[float, str]] | None = None, age_s: float = 600.0, ahead_s: float = 0.0
) -> None:
    """A run that began `age_s` ago and makes a step every 10 s until now, by the API server's clock: 59 of them."""
    now = time.time() + api.clock_ahead_s
    began = now - age_s
    api.objects[f"{JOBS}/tiny"] = job(nodes=nodes, began=began - 5)
    api.pods = [pod(rank, began=began, clock_ahead_s=ahead_s if rank == 0 else 0.0) for rank in range(nodes)]
    lines = steps(1, int(age_s / 10) - 1, began) if lines is None else lines
    api.logs = {
        (f"tiny-{'master-0' if rank == 0 else f'worker-{rank - 1}'}", False): log_of(
            [(at + ahead_s, text) for at, text in lines] if rank == 0 else [(began, "hello")]
        )
        for rank in range(nodes)
    }
