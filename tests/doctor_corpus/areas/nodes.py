"""Nodes and pods that are taken away: simulations of what an API server holds then."""

from __future__ import annotations

from tests.doctor_corpus.areas.gpu import traceback
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import UNREACHABLE, Fleet, at
from tests.doctor_corpus.truth import case

SECOND = "ip-10-2-67-115.us-west-2.compute.internal"
AWAY = ("RESTART_ELSEWHERE",)
OTHERS = (5, 6, 7, "any", "all", None)
REMOTE = "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3356, remote process exited or there was a network error, NCCL version 2.21.5"


def peers_lost(fleet: Fleet) -> None:
    """The first node's ranks lose those of the second."""
    for rank in range(fleet.procs):
        fleet.say(
            rank,
            f"llama-8b-master-0:{210 + rank}:{510 + rank} [{rank}] misc/socket.cc:58 NCCL WARN socketProgress: Connection closed by remote peer 10-2-61-21.llama-8b-worker-0.research.svc.cluster.local<51122>",
        )
        traceback(
            fleet,
            rank,
            REMOTE,
            "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
            "Last error:",
            "socketProgress: Connection closed by remote peer 10-2-61-21.llama-8b-worker-0.research.svc.cluster.local<51122>",
        )
    fleet.torchrun_failed(0, 0)
    fleet.ended(0, 1)


@case(
    "node-not-ready",
    cause="node-not-ready",
    also=("node-lost",),
    rank=4,
    also_rank=OTHERS,
    restart="RESTART_ELSEWHERE",
    also_restart=("RESTART",),
    node=SECOND,
    real=False,
    proof="NodeNotReady",
)
def not_ready(bench: Bench) -> None:
    """The second node's kubelet falls silent; its pod is to be evicted, and the first node's ranks lose their peers."""
    fleet = Fleet(bench, seed=51)
    fleet.steps()
    peers_lost(fleet)
    for kind in ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure"):
        fleet.condition(1, kind, "Unknown", "NodeStatusUnknown", "Kubelet stopped posting node status.")
    fleet.nodes[1]["spec"]["taints"] = [UNREACHABLE, {**UNREACHABLE, "effect": "NoExecute"}]
    fleet.event(1, "NodeNotReady", "Node is not ready", source="node-controller", after=6900)
    fleet.event(
        1,
        "NodeNotReady",
        f"Node {SECOND} status is now: NodeNotReady",
        kind="Node",
        normal=True,
        source="node-controller",
        after=6900,
    )
    fleet.event(
        1,
        "TaintManagerEviction",
        "Marking for deletion Pod research/llama-8b-worker-0",
        normal=True,
        source="taint-eviction-controller",
        after=7200,
    )
    fleet.pods[1]["metadata"]["deletionTimestamp"] = at(7230)
    fleet.pods[1]["metadata"]["deletionGracePeriodSeconds"] = 30
    fleet.pods[1]["status"]["conditions"].append(
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
            "lastTransitionTime": at(7200),
        }
    )
    fleet.write()


@case(
    "node-gone",
    cause="node-lost",
    also=("node-not-ready",),
    rank=4,
    also_rank=OTHERS,
    restart="RESTART",
    also_restart=AWAY,
    node=SECOND,
    real=False,
    proof="DeletingNode|RemovingNode",
)
def gone(bench: Bench) -> None:
    """The instance was terminated: the node object is gone, and the pod with it."""
    fleet = Fleet(bench, seed=52)
    fleet.steps()
    peers_lost(fleet)
    fleet.event(
        1,
        "DeletingNode",
        f"Deleting node {SECOND} because it does not exist in the cloud provider",
        kind="Node",
        normal=True,
        source="cloud-node-lifecycle-controller",
        after=6950,
    )
    fleet.event(
        1,
        "RemovingNode",
        f"Node {SECOND} event: Removing Node {SECOND} from Controller",
        kind="Node",
        normal=True,
        source="node-controller",
        after=6952,
    )
    fleet.event(
        1,
        "TaintManagerEviction",
        "Cancelling deletion of Pod research/llama-8b-worker-0",
        normal=True,
        source="taint-eviction-controller",
        after=6960,
    )
    fleet.pods[1]["status"]["phase"] = "Failed"
    fleet.pods[1]["status"]["reason"] = "NodeLost"
    fleet.pods[1]["status"]["message"] = f"Node {SECOND} which was running pod llama-8b-worker-0 is unresponsive"
    fleet.pods[1]["status"]["conditions"].append(
        {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByPodGC",
            "message": "PodGC: node no longer exists",
            "lastTransitionTime": at(6990),
        }
    )
    fleet.nodes.pop()
    fleet.write()


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
    "hyperpod-node-pending-replacement",
    cause="hyperpod-fault",
    also=("gpu-ecc", "gpu-xid", "gpu-lost"),
    rank=4,
    also_rank=OTHERS,
    restart="RESTART_ELSEWHERE",
    also_restart=("RESTART",),
    node=SECOND,
    real=False,
    proof="UnschedulablePendingReplacement",
)
def hyperpod(bench: Bench) -> None:
    """HyperPod's agent has marked the second node for replacement; the ranks there died without a word."""
    fleet = Fleet(bench, seed=56)
    fleet.steps()
    peers_lost(fleet)
    labels = {
        "node-health-status": "UnschedulablePendingReplacement",
        "fault-types": "NvidiaErrorTerminate",
        "fault-reasons": "NvidiaDeviceLost",
        "deep-health-check-status": "Failed",
    }
    fleet.nodes[1]["metadata"]["labels"] |= {f"sagemaker.amazonaws.com/{name}": value for name, value in labels.items()}
    fleet.nodes[1]["spec"] |= {
        "unschedulable": True,
        "taints": [{"key": "sagemaker.amazonaws.com/node-health-status", "value": "Unschedulable", "effect": "NoSchedule"}],
    }
    fleet.ended(1, 137, "Error", after=7100)
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


@case(
    "gpu-plugin-unhealthy",
    cause="gpu-lost",
    also=("gpu-xid",),
    rank=4,
    also_rank=OTHERS,
    restart="RESTART_ELSEWHERE",
    also_restart=("RESTART",),
    node=SECOND,
    real=False,
    proof="UnexpectedAdmissionError",
)
def admission_error(bench: Bench) -> None:
    """After a restart the kubelet cannot give the worker its GPUs: the device plugin marked them unhealthy."""
    fleet = Fleet(bench, seed=58)
    pod = fleet.pods[1]
    text = "Allocate failed due to no healthy devices present; cannot allocate unhealthy devices nvidia.com/gpu, which is unexpected"
    pod["status"] = {
        "phase": "Failed",
        "reason": "UnexpectedAdmissionError",
        "message": f"Pod was rejected: {text}",
        "startTime": at(2),
    }
    fleet.event(1, "UnexpectedAdmissionError", text, after=5)
    fleet.nodes[1]["status"]["allocatable"]["nvidia.com/gpu"] = "3"
    fleet.logs[0] += ["torch.distributed.DistStoreError: Timed out after 901 seconds waiting for clients. 1/2 clients joined."]
    fleet.ended(0, 1, after=960)
    fleet.write()


@case("healthy-cluster-job", cause="none", rank=None, restart=None, real=False, proof="iteration")
def healthy(bench: Bench) -> None:
    """A job that goes on, with events that every job has, an EFA warning and a node of another job that is not ready."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=59)
    fleet.start()
    fleet.steps(last=400)
    for i in (0, 1):
        fleet.event(
            i,
            "Scheduled",
            f"Successfully assigned research/{fleet.names[i]} to {fleet.hosts[i]}",
            normal=True,
            source="default-scheduler",
            after=1,
        )
        fleet.event(
            i,
            "Pulled",
            "Successfully pulled image in 48.211s (48.211s including waiting). Image size: 11812331011 bytes.",
            normal=True,
            after=29,
        )
        fleet.event(
            i,
            "FailedScheduling",
            "0/6 nodes are available: 6 Insufficient nvidia.com/gpu. preemption: 0/6 nodes are available: 6 No preemption victims found for incoming pod.",
            source="default-scheduler",
            after=0,
        )
    fleet.write()
