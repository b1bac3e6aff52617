"""Nodes and pods that are taken away: simulations of what an API server holds then."""

from __future__ import annotations

from tests.doctor_corpus.areas.gpu import traceback
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import UNREACHABLE, Fleet
from tests.doctor_corpus.rank_logs import at
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
