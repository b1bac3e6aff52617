"""Pods that never start, in the words of scheduler, kubelet, Kueue and admission: simulations of what an API server holds then."""

from __future__ import annotations

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet, at
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
    "image-not-found-worker",
    cause="image-missing",
    rank=4,
    also_rank=(5, 6, 7, *NOBODY),
    restart="STOP",
    real=False,
    proof="not found",
)
def image_missing(bench: Bench) -> None:
    """The worker's node cannot find the tag; the master's node still has the image and waits."""
    fleet = Fleet(bench, seed=31)
    image = fleet.pods[1]["spec"]["containers"][0]["image"] = (
        "123456789012.dkr.ecr.us-west-2.amazonaws.com/research/llama:2026-11-27"
    )
    text = f'rpc error: code = NotFound desc = failed to pull and unpack image "{image}": failed to resolve reference "{image}": {image}: not found'
    fleet.waiting(1, "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {text}')
    fleet.event(1, "Pulling", f'Pulling image "{image}"', normal=True, count=5)
    fleet.event(1, "Failed", f'Failed to pull image "{image}": {text}', count=5)
    fleet.event(1, "Failed", "Error: ErrImagePull", count=5)
    fleet.event(1, "BackOff", f'Back-off pulling image "{image}"', normal=True, count=44)
    others_wait(fleet, 1)
    fleet.write()


@case(
    "image-denied",
    cause="image-denied",
    rank="all",
    also_rank=NOBODY,
    restart="STOP",
    real=False,
    proof="authorization token has expired|denied|no basic auth",
)
def image_denied(bench: Bench) -> None:
    """Both nodes may not read the repository."""
    fleet = Fleet(bench, seed=32)
    for i in (0, 1):
        image = fleet.pods[i]["spec"]["containers"][0]["image"]
        text = f'failed to pull and unpack image "{image}": failed to resolve reference "{image}": pulling from host 123456789012.dkr.ecr.us-west-2.amazonaws.com failed with status code [manifests 2026-11-20]: 403 Forbidden'
        fleet.waiting(i, "ErrImagePull", text)
        fleet.event(
            i,
            "Failed",
            f'Failed to pull image "{image}": {text}: User: arn:aws:sts::123456789012:assumed-role/node/i-0b3 is not authorized to perform: ecr:BatchGetImage (access denied)',
            count=3,
        )
    fleet.write()


@case(
    "image-rate-limited",
    cause="image-pull-failed",
    rank=0,
    also_rank=(1, 2, 3, *NOBODY),
    restart="RESTART",
    also_restart=("STOP",),
    real=False,
    proof="toomanyrequests",
)
def rate_limited(bench: Bench) -> None:
    """Docker Hub's limit on the master's node."""
    fleet = Fleet(bench, seed=33)
    image = fleet.pods[0]["spec"]["containers"][0]["image"] = "docker.io/pytorch/pytorch:2.9.0-cuda12.8-cudnn9-runtime"
    text = f'failed to pull and unpack image "{image}": failed to copy: httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/pytorch/pytorch/manifests/sha256:1f2: 429 Too Many Requests - Server message: toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit'
    fleet.waiting(0, "ImagePullBackOff", f'Back-off pulling image "{image}": ErrImagePull: {text}')
    fleet.event(0, "Failed", f'Failed to pull image "{image}": {text}', count=4)
    others_wait(fleet, 0)
    fleet.write()


@case(
    "image-of-another-platform",
    cause="image-platform",
    rank="all",
    also_rank=NOBODY,
    restart="STOP",
    real=False,
    proof="exec format error",
)
def platform(bench: Bench) -> None:
    """An arm64 image on amd64 nodes."""
    fleet = Fleet(bench, seed=34)
    for i in (0, 1):
        fleet.logs[i] = ["exec /usr/local/bin/torchrun: exec format error"]
        fleet.ended(i, 255, after=33)
    fleet.job_condition("Failed", "PyTorchJobFailed", "PyTorchJob llama-8b is failed because 1 Master replica(s) failed.", 40)
    fleet.write()


@case(
    "init-container-fails",
    cause="init-container-failed",
    also=("download-failed",),
    rank=4,
    also_rank=(5, 6, 7, *NOBODY),
    restart="STOP",
    also_restart=("RESTART",),
    real=False,
    proof="Init:CrashLoopBackOff|CrashLoopBackOff",
)
def init_container(bench: Bench) -> None:
    """The worker's init container, which copies the data set, ends with 1 again and again."""
    fleet = Fleet(bench, seed=35)
    pod = fleet.pods[1]
    pod["spec"]["initContainers"] = [
        {
            "name": "fetch-data",
            "image": "public.ecr.aws/aws-cli/aws-cli:2.31.0",
            "args": ["s3", "sync", "s3://research-tokens/c4", "/data"],
        }
    ]
    fleet.waiting(1, "PodInitializing")
    last = {"terminated": {"exitCode": 1, "reason": "Error", "startedAt": at(300), "finishedAt": at(302)}}
    waits = {
        "waiting": {
            "reason": "CrashLoopBackOff",
            "message": "back-off 2m40s restarting failed container=fetch-data pod=llama-8b-worker-0_research(7f0c)",
        }
    }
    pod["status"]["initContainerStatuses"] = [
        {
            "name": "fetch-data",
            "ready": False,
            "restartCount": 6,
            "state": waits,
            "lastState": last,
            "image": "public.ecr.aws/aws-cli/aws-cli:2.31.0",
            "imageID": "",
        }
    ]
    bench.write(
        "pods/llama-8b-worker-0/fetch-data.log",
        "fatal error: An error occurred (NoSuchBucket) when calling the ListObjectsV2 operation: The specified bucket does not exist\n",
    )
    fleet.event(
        1, "BackOff", "Back-off restarting failed container fetch-data in pod llama-8b-worker-0_research(7f0c)", count=25
    )
    others_wait(fleet, 1)
    fleet.write()


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
