"""Pods that never start, in the words of scheduler, kubelet, Kueue and admission: simulations of what an API server holds then."""

from __future__ import annotations

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.rank_logs import at
from tests.doctor_corpus.truth import case

WAITING = "[W1127 09:20:31.120398881 socket.cpp:759] [c10d] The client socket has failed to connect to [llama-8b-master-0]:23456 (errno: 111 - Connection refused)."
NOBODY = ("any", "all", "launcher", None)


def others_wait(fleet: Fleet, missing: int) -> None:
    """The pods that did start wait for the missing one in the rendezvous."""
    for i in range(len(fleet.names)):
        if i != missing:
            fleet.logs[i] += [
                "W1127 09:15:02.113000 1 torch/distributed/run.py:792] Setting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid your system being overloaded"
            ]
            fleet.logs[i] += [WAITING] if missing == 0 else []


@case(
    "no-room-for-one-pod",
    cause="no-room",
    rank=4,
    also_rank=(5, 6, 7, *NOBODY),
    restart="STOP",
    also_restart=("RESTART", "RESTART_ELSEWHERE"),
    real=False,
    proof="Insufficient nvidia.com/gpu",
)
def no_room(bench: Bench) -> None:
    """No node has four free GPUs for the worker; the master waits in its rendezvous until it gives up."""
    fleet = Fleet(bench, seed=36)
    fleet.unscheduled(
        1,
        "0/6 nodes are available: 1 node(s) were unschedulable, 2 Insufficient vpc.amazonaws.com/efa, 5 Insufficient nvidia.com/gpu. preemption: 0/6 nodes are available: 1 Preemption is not helpful for scheduling, 5 No preemption victims found for incoming pod.",
    )
    others_wait(fleet, 1)
    fleet.say(0, "torch.distributed.DistStoreError: Timed out after 901 seconds waiting for clients. 1/2 clients joined.")
    fleet.write()


@case(
    "taint-not-tolerated",
    cause="untolerated",
    rank="all",
    also_rank=NOBODY,
    restart="STOP",
    real=False,
    proof="untolerated taint",
)
def taint(bench: Bench) -> None:
    """All GPU nodes have a taint that the pods do not tolerate."""
    fleet = Fleet(bench, seed=37)
    for i in (0, 1):
        fleet.unscheduled(
            i,
            "0/4 nodes are available: 1 Insufficient nvidia.com/gpu, 3 node(s) had untolerated taint {research.example.com/reserved: vision}. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling.",
        )
    fleet.write()


@case(
    "volume-in-another-zone",
    cause="volume-zone",
    rank=0,
    also_rank=(1, 2, 3, *NOBODY),
    restart="STOP",
    also_restart=("RESTART_ELSEWHERE",),
    real=False,
    proof="volume node affinity conflict",
)
def zone(bench: Bench) -> None:
    """The checkpoint volume lies in us-west-2b, the GPU nodes in 2a."""
    fleet = Fleet(bench, seed=38)
    fleet.unscheduled(
        0,
        "0/5 nodes are available: 1 Insufficient nvidia.com/gpu, 4 node(s) had volume node affinity conflict. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.",
    )
    fleet.objects["PersistentVolumeClaim-ckpt"] = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "ckpt", "namespace": "research"},
        "spec": {"volumeName": "pv-ckpt", "storageClassName": "gp3"},
        "status": {"phase": "Bound"},
    }
    others_wait(fleet, 0)
    fleet.write()


@case(
    "volume-claim-missing",
    cause="volume-missing",
    rank="all",
    also_rank=NOBODY,
    restart="STOP",
    real=False,
    proof="persistentvolumeclaim",
)
def claim(bench: Bench) -> None:
    """The claim in the pods' spec does not exist."""
    fleet = Fleet(bench, seed=39)
    for i in (0, 1):
        fleet.unscheduled(
            i,
            '0/5 nodes are available: persistentvolumeclaim "fsx-claim" not found. preemption: 0/5 nodes are available: 5 Preemption is not helpful for scheduling.',
        )
    fleet.write()


@case(
    "mount-times-out-one-node",
    cause="mount-failed",
    rank=8,
    also_rank=(9, 10, 11, *NOBODY),
    restart="RESTART_ELSEWHERE",
    also_restart=("RESTART", "STOP"),
    node="ip-10-2-74-117.us-west-2.compute.internal",
    real=False,
    proof="FailedMount",
)
def mount(bench: Bench) -> None:
    """FSx for Lustre cannot be mounted on the third node of three."""
    fleet = Fleet(bench, nodes=3, seed=40)
    fleet.waiting(2, "ContainerCreating")
    fleet.event(
        2,
        "FailedMount",
        'MountVolume.SetUp failed for volume "fsx-pv" : rpc error: code = DeadlineExceeded desc = context deadline exceeded',
        count=9,
    )
    fleet.event(
        2,
        "FailedMount",
        "Unable to attach or mount volumes: unmounted volumes=[fsx], unattached volumes=[fsx dshm kube-api-access-x2x7k]: timed out waiting for the condition",
        count=4,
    )
    others_wait(fleet, 2)
    fleet.write()


@case(
    "secret-missing",
    cause="secret-missing",
    rank="all",
    also_rank=NOBODY,
    restart="STOP",
    real=False,
    proof="secret .* not found",
)
def secret(bench: Bench) -> None:
    """The pods want an environment variable from a secret that is not there."""
    fleet = Fleet(bench, seed=41)
    for i in (0, 1):
        fleet.waiting(i, "CreateContainerConfigError", 'secret "wandb-key" not found')
        fleet.event(i, "Failed", 'Error: secret "wandb-key" not found', count=13)
    fleet.write()


@case(
    "quota-of-namespace",
    cause="quota",
    rank=4,
    also_rank=(5, 6, 7, *NOBODY),
    restart="STOP",
    also_restart=("RESTART",),
    real=False,
    proof="exceeded quota",
)
def quota(bench: Bench) -> None:
    """The namespace's quota leaves room for one of two pods: the operator cannot create the worker."""
    fleet = Fleet(bench, seed=42)
    text = 'pods "llama-8b-worker-0" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=4, used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=6'
    fleet.event(
        "llama-8b", "FailedCreatePod", f"Error creating: {text}", kind="PyTorchJob", source="pytorchjob-controller", count=19
    )
    for many in (fleet.names, fleet.hosts, fleet.pods, fleet.nodes, fleet.logs):
        many.pop()
    others_wait(fleet, 9)
    fleet.say(0, "torch.distributed.DistStoreError: Timed out after 901 seconds waiting for clients. 1/2 clients joined.")
    fleet.write()


@case(
    "queue-waits-for-quota",
    cause="quota",
    also=("no-room",),
    rank="all",
    also_rank=NOBODY,
    restart="STOP",
    also_restart=("RESTART",),
    real=False,
    proof="insufficient unused quota",
)
def kueue(bench: Bench) -> None:
    """Kueue does not admit the job: its queue's quota is used."""
    fleet = Fleet(bench, seed=43)
    text = "couldn't assign flavors to pod set worker: insufficient unused quota for nvidia.com/gpu in flavor p5, 4 more needed"
    condition = {
        "type": "QuotaReserved",
        "status": "False",
        "reason": "Pending",
        "message": text,
        "lastTransitionTime": at(3),
        "observedGeneration": 1,
    }
    fleet.objects["Workload-pytorchjob-llama-8b"] = {
        "apiVersion": "kueue.x-k8s.io/v1beta1",
        "kind": "Workload",
        "metadata": {"name": "pytorchjob-llama-8b-2f1", "namespace": "research"},
        "spec": {"queueName": "research-localqueue"},
        "status": {"conditions": [condition]},
    }
    fleet.job_condition("Suspended", "PyTorchJobSuspended", "PyTorchJob llama-8b is suspended.", 1)
    fleet.event("pytorchjob-llama-8b-2f1", "Pending", text, kind="Workload", source="kueue-admission", count=3)
    for many in (fleet.names, fleet.hosts, fleet.pods, fleet.nodes, fleet.logs):
        many.clear()
    fleet.write()


@case(
    "admission-refuses-pods",
    cause="admission-refused",
    rank="all",
    also_rank=NOBODY,
    restart="STOP",
    real=False,
    proof="violates PodSecurity|denied the request",
)
def admission(bench: Bench) -> None:
    """A policy refuses every pod of the job."""
    fleet = Fleet(bench, seed=44)
    text = 'pods "llama-8b-master-0" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container "pytorch" must set securityContext.allowPrivilegeEscalation=false), runAsNonRoot != true (pod or container "pytorch" must set securityContext.runAsNonRoot=true)'
    fleet.event(
        "llama-8b", "FailedCreatePod", f"Error creating: {text}", kind="PyTorchJob", source="pytorchjob-controller", count=15
    )
    for many in (fleet.names, fleet.hosts, fleet.pods, fleet.nodes, fleet.logs):
        many.clear()
    fleet.write()
