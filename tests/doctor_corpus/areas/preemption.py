"""Pods that are taken away though their node is well: simulations of what an API server holds then."""

from __future__ import annotations

from tests.doctor_corpus.areas.nodes import AWAY, OTHERS, SECOND, peers_lost
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.rank_logs import at
from tests.doctor_corpus.truth import case


@case(
    "evicted-for-disk",
    cause="pod-evicted",
    also=("disk-full",),
    rank=4,
    also_rank=OTHERS,
    restart="RESTART",
    also_restart=(*AWAY, "STOP"),
    real=False,
    proof="Evicted",
)
def evicted(bench: Bench) -> None:
    """The kubelet evicts the worker: too little ephemeral storage on its node."""
    fleet = Fleet(bench, seed=53)
    fleet.steps()
    peers_lost(fleet)
    text = "The node was low on resource: ephemeral-storage. Threshold quantity: 21474836480, available: 19121308Ki. Container pytorch was using 412118248Ki, request is 0, has larger consumption of ephemeral-storage. "
    fleet.ended(1, 137, "Error", after=7190)
    fleet.pods[1]["status"] |= {"phase": "Failed", "reason": "Evicted", "message": text}
    fleet.pods[1]["status"]["conditions"].append(
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "TerminationByKubelet",
            "message": text,
            "lastTransitionTime": at(7190),
        }
    )
    fleet.event(1, "Evicted", text, after=7190)
    fleet.event(1, "Killing", "Stopping container pytorch", normal=True, after=7190)
    fleet.say(
        4,
        "W1127 11:13:55.402000 1 torch/distributed/elastic/agent/server/api.py:719] Received 15 death signal, shutting down workers",
    )
    fleet.write()


@case(
    "preempted-by-priority",
    cause="preempted",
    also=("pod-evicted",),
    rank=4,
    also_rank=OTHERS,
    restart="RESTART",
    also_restart=AWAY,
    real=False,
    proof="Preempted",
)
def preempted(bench: Bench) -> None:
    """A pod of higher priority takes the worker's place."""
    fleet = Fleet(bench, seed=54)
    fleet.steps()
    peers_lost(fleet)
    fleet.ended(1, 143, "Error", after=7190)
    fleet.say(
        4,
        "W1127 11:13:55.402000 1 torch/distributed/elastic/agent/server/api.py:719] Received 15 death signal, shutting down workers",
        "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15",
    )
    fleet.event(
        1,
        "Preempted",
        "Preempted by pod 0b1f7c7e-1f1c-4d39-9f0b-7d5f4d1ce0d2 on node " + SECOND,
        source="default-scheduler",
        normal=True,
        after=7150,
    )
    fleet.pods[1]["status"]["conditions"].append(
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "PreemptionByScheduler",
            "message": "default-scheduler: preempting to accommodate a higher priority pod",
            "lastTransitionTime": at(7150),
        }
    )
    fleet.write()


@case(
    "queue-preempts-job",
    cause="preempted",
    rank="all",
    also_rank=("any", None, 0),
    restart="RESTART",
    also_restart=AWAY,
    real=False,
    proof="Preempted",
)
def kueue_preempts(bench: Bench) -> None:
    """Kueue evicts the workload for one of higher priority: both pods get SIGTERM."""
    fleet = Fleet(bench, seed=55)
    fleet.steps()
    text = "Preempted to accommodate a workload (UID: 5b2a, JobUID: 77aa) due to prioritization in the ClusterQueue"
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": text, "lastTransitionTime": at(7100)}
        for kind, reason in (("Evicted", "Preempted"), ("Preempted", "InClusterQueue"))
    ]
    fleet.objects["Workload-pytorchjob-llama-8b"] = {
        "apiVersion": "kueue.x-k8s.io/v1beta1",
        "kind": "Workload",
        "metadata": {"name": "pytorchjob-llama-8b-2f1", "namespace": "research"},
        "spec": {},
        "status": {"conditions": conditions},
    }
    fleet.event(
        "pytorchjob-llama-8b-2f1", "Preempted", text, kind="Workload", source="kueue-admission", normal=True, after=7100
    )
    fleet.job_condition("Suspended", "PyTorchJobSuspended", "PyTorchJob llama-8b is suspended.", 7102)
    for i in (0, 1):
        fleet.logs[i] += [
            "W1127 11:12:25.402000 1 torch/distributed/elastic/agent/server/api.py:719] Received 15 death signal, shutting down workers",
            "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15",
        ]
        fleet.ended(i, 1, after=7110)
    fleet.write()


@case(
    "deadline-of-job",
    cause="deadline",
    rank="any",
    also_rank=("all", 0, None, "launcher"),
    restart="STOP",
    real=False,
    proof="DeadlineExceeded",
)
def deadline(bench: Bench) -> None:
    """activeDeadlineSeconds is over: the operator deletes the pods of a healthy job."""
    fleet = Fleet(bench, seed=57)
    fleet.steps()
    fleet.objects["PyTorchJob-llama-8b"]["spec"]["runPolicy"]["activeDeadlineSeconds"] = 7200
    fleet.job_condition(
        "Failed", "DeadlineExceeded", "PyTorchJob llama-8b has failed because it was active longer than specified deadline"
    )
    for i in (0, 1):
        fleet.logs[i] += [
            "W1127 11:14:05.402000 1 torch/distributed/elastic/agent/server/api.py:719] Received 15 death signal, shutting down workers",
            "torch.distributed.elastic.multiprocessing.api.SignalException: Process 1 got signal: 15",
        ]
        fleet.ended(i, 143, "Error")
        fleet.event(i, "Killing", "Stopping container pytorch", normal=True, after=7201)
    fleet.write()
