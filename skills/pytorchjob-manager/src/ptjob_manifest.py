"""The manifest of a job: a YAML template of assets/ plus visible edits, one function an engine; the pod is the same for all."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_command import LAUNCH, understand
from ptjob_request import JobRequest
from ptjob_trainer_api import TrainJobApi
from trainyard_kube import Object
from trainyard_podjob_manifest import fill_pod, metadata, resources, shm_size, template

ASSETS = Path(__file__).resolve().parent.parent / "assets"
PORT = {"name": "pytorchjob-port", "containerPort": 23456}
AGENT_PORT = {"name": "hyperpod-agent", "containerPort": 8080}
"""Where the operator speaks to hyperpodrun."""
GRACEFUL = "gracefulShutdownTimeoutInSeconds"
GRACE, DEFAULT_GRACE_S = "terminationGracePeriodSeconds", 30.0
SECURITY = "securityContext"
STOCK_TORCHRUN = ["python3", "-m", "torch.distributed.run"]


def pytorchjob(request: JobRequest) -> Object:
    job = template(ASSETS / "pytorchjob.yaml")
    job["metadata"] = metadata(request)
    spec, replicas = job["spec"], job["spec"]["pytorchReplicaSpecs"]
    spec["nprocPerNode"] = str(request.procs)
    command = understand(request.command, request.nodes, request.procs)
    # An elastic job's size changes under way, which only torchrun's own rendezvous can; trainyard.launch has a fixed size.
    launcher = STOCK_TORCHRUN if request.elastic else LAUNCH
    pod = make_pod(request, "pytorch", command.words(launcher))
    pod["spec"]["containers"][0]["ports"] = [PORT]
    if command.launched and not request.elastic:
        # The launchers end the ranks of all pods. The operator takes a pod for running until the kubelet has reported its end, a second
        # or two, and would delete it with its log: in one of three failures the one that says why.
        spec["runPolicy"]["cleanPodPolicy"] = "None"
    if not command.launched and not request.claim:
        # Nothing outlives the pod that could count its deaths, and the operator counts only to none: a pod that ends by itself ends
        # the job. One that is deleted (a drain) comes back all the same: 13 of 13 did, with 1.9.4.
        spec["runPolicy"]["backoffLimit"] = 0
    for role in replicas.values():
        role["template"] = copy.deepcopy(pod)
    replicas["Worker"]["replicas"] = request.nodes - 1
    if request.elastic:
        del replicas["Master"]  # any worker may go; the master may not
        replicas["Worker"]["replicas"] = request.nodes
        spec["elasticPolicy"] = {
            "minReplicas": request.min_nodes,
            "maxReplicas": request.max_nodes,
            "rdzvBackend": "c10d",
            "maxRestarts": request.max_restarts,
        }
    elif request.nodes == 1:
        del replicas["Worker"]  # one node: the API refuses a Worker group of zero
    return job


def trainjob(request: JobRequest, api: TrainJobApi) -> Object:
    """Raises SkillError usage where this TrainJob API has no place for something that was asked."""
    job = template(ASSETS / "trainjob.yaml")
    job["apiVersion"], job["metadata"] = f"trainer.kubeflow.org/{api.version}", metadata(request)
    job["spec"]["runtimeRef"]["name"] = request.runtime
    command = understand(request.command, request.nodes, request.procs)
    request = replace(request, grace_s=grace_s(request, api))
    # A plain program as it is: the Job bounds what the kubelet starts again in place.
    pod = make_pod(request, "node", [*(LAUNCH if command.launched else []), *command.rest])
    main = pod["spec"]["containers"][0]
    trainer = {"numNodes": request.nodes, "numProcPerNode": request.procs, "resourcesPerNode": main["resources"]}
    # Here the kubelet restarts a container that gave up; by the pod's UID its successor knows that it is the same pod.
    main["env"].append({"name": "TRAINYARD_POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}})
    job["spec"]["trainer"] = {**trainer, **{key: main[key] for key in ("image", "command", "env")}}
    context = {SECURITY: main[SECURITY]} if SECURITY in api.container_keys else {}  # none before 2.3: the runtime's counts
    pod["spec"]["containers"] = [{"name": "node", "volumeMounts": main["volumeMounts"], **context}]
    # The API has no key for it: a TrainJob's pods get the token of the namespace's default account.
    pod["spec"].pop("automountServiceAccountToken", None)
    if GRACE not in api.pod_keys:
        del pod["spec"][GRACE]
    if SECURITY not in api.pod_keys and not is_asked_security(request):
        pod["spec"].pop(SECURITY, None)  # Trainer before 2.3: the launcher says whose the volume is, where that matters
    unknown = set() if api.takes_metadata else {"annotations"} & pod["metadata"].keys()
    if missing := sorted(unknown | (pod["spec"].keys() - api.pod_keys)):
        message = f"TrainJob {api.version} ({api.patches}) has no place for {', '.join(missing)} of a pod"
        raise shell.SkillError(
            "usage", message, hint="leave the option out, put it into a runtime (--runtime), or --engine pytorchjob"
        )
    job["spec"][api.patches] = api.patch(pod)
    return job


def grace_s(request: JobRequest, api: TrainJobApi) -> float:
    """Seconds to save. Trainer before 2.3 cannot set the pods' grace: the kubelet kills after its 30 s, so the save gets 20."""
    return request.grace_s if GRACE in api.pod_keys else min(request.grace_s, DEFAULT_GRACE_S - 10)


def is_asked_security(request: JobRequest) -> bool:
    """Whether a part of the pods' security context was asked for; else what is in it is our default."""
    return any(each is not None for each in (request.run_as_user, request.run_as_group, request.fs_group))


def hyperpodjob(request: JobRequest) -> Object:
    job = template(ASSETS / "hyperpodpytorchjob.yaml")
    job["metadata"] = metadata(request)
    spec, asked = job["spec"], request.hyperpod or {}
    spec["nprocPerNode"] = str(request.procs)
    spec["runPolicy"] = {"jobMaxRetryCount": request.max_restarts, **asked.get("runPolicy", {})}
    command = understand(request.command, request.nodes, request.procs)
    pod = make_pod(request, "pytorch", [*(hyperpodrun(request) if command.launched else []), *command.rest])
    if command.launched:
        pod["spec"]["containers"][0]["ports"] = [AGENT_PORT]
        # hyperpodrun has no handler for SIGTERM before its first start, and as process 1 it would ignore it then: a waiting pod that is
        # deleted would stay its whole grace period, up to a day. With the pod's own process 1 it is an ordinary process (proven).
        pod["spec"]["shareProcessNamespace"] = True
    group = spec["replicaSpecs"][0]
    group["replicas"], group["template"] = request.nodes, pod
    if "spares" in asked:
        group["spares"] = asked["spares"]
    if policy := asked.get("elasticPolicy"):
        group["maxReplicas"] = policy["maxReplicas"]
        spec["elasticPolicy"] = {GRACEFUL: shutdown_s(request), **policy}
    return job


def hyperpodrun(request: JobRequest) -> list[str]:
    """The launcher's words. Without its own it stops workers by SIGKILL, or gives them 15 s, whatever the pod's grace period is;
    its rules about log lines read the files of --log-dir."""
    return [
        "hyperpodrun",
        f"--nproc-per-node={request.procs}",
        f"--nnodes={request.nodes}",
        "--rdzv-backend=hyperpod",
        "--shutdown-signal=SIGTERM",
        f"--shutdown-timeout={shutdown_s(request)}",
        "--log-dir=/tmp/hyperpod",
        "--tee=3",
    ]


def shutdown_s(request: JobRequest) -> int:
    """From the workers' SIGTERM to their SIGKILL: longer than the agreement and the save, shorter than the kubelet's patience."""
    return request.termination_s - 5


# --- what every engine has ---------------------------------------------------------------------------------------


def make_pod(request: JobRequest, container: str, command: list[str]) -> Object:
    """A pod template: {metadata, spec}. The container is called as the engine wants it."""
    pod = template(ASSETS / "pod.yaml")
    fill_pod(pod, request, {}, {kube.RUN_ID: request.run_id})
    if request.pod_annotations:
        pod["metadata"]["annotations"] = dict(request.pod_annotations)
    spec, main = pod["spec"], pod["spec"]["containers"][0]
    main.update(name=container, command=command, resources=resources(request))
    spec["volumes"][0]["emptyDir"]["sizeLimit"] = shm_size(request)
    if request.claim:
        spec["volumes"][1]["persistentVolumeClaim"]["claimName"] = request.claim
    else:
        del spec["volumes"][1], main["volumeMounts"][1]
    return pod
