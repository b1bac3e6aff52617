"""Images that do not come or do not start, in the words of kubelet and containerd: simulations."""

from __future__ import annotations

from tests.doctor_corpus.areas.placement import NOBODY, others_wait
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.rank_logs import at
from tests.doctor_corpus.truth import case


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
