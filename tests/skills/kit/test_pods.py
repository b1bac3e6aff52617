"""trainyard_pods.py: what kube-scheduler, kubelet, registries and operators say becomes causes, each told once."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trainyard_kube as kube
from trainyard_cluster import PAGE
from trainyard_containers import INIT_STUCK_S
from trainyard_pods import Finding, find_in_events, find_in_pods

from tests.components.cluster.running import Cluster
from tests.training.forking import skill_run

# A Cluster keeps its connections until the program ends; here there are many in one process.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

SKILLS = Path(__file__).resolve().parents[3] / "skills"
Object = dict[str, Any]


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def with_spec(made: Object, **spec: Any) -> Object:
    return {**made, "spec": {**made["spec"], **spec}}


def pod(name: str = "tiny-worker-0", *, deleted: bool = False, restarts: str | None = None, **status: Any) -> Object:
    spec = {"containers": [{"name": "main"}], "initContainers": [{"name": "init-pytorch", "restartPolicy": restarts}]}
    gone = {"deletionTimestamp": ago(0)} if deleted else {}
    return {"metadata": {"name": name, **gone}, "spec": spec, "status": status}


def unplaced(message: str, name: str = "tiny-worker-0") -> Object:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return pod(name, conditions=[condition])


def with_container(name: str = "tiny-worker-0", image: str = "any:1", *, deleted: bool = False, **states: Any) -> Object:
    return pod(name, deleted=deleted, containerStatuses=[{"name": "main", "image": image, **states}])


def waiting(reason: str, message: str = "", image: str = "any:1") -> Object:
    return with_container(image=image, state={"waiting": {"reason": reason, "message": message}})


def ended(code: int, reason: str = "Error", message: str = "") -> Object:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


def ids(found: list[Finding]) -> list[str]:
    return [each.id for each in found]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


# --- where no node takes a pod ---------------------------------------------------------------------------------------

NO_HELP = "no new claims to deallocate, preemption: 0/17 nodes are available: 17 Preemption is not helpful for scheduling."


@pytest.mark.parametrize(
    ("message", "causes"),
    [
        # kube-scheduler 1.36
        (
            "0/17 nodes are available: 1 node(s) didn't match Pod's node affinity/selector, 16 Insufficient cpu, "
            f"16 Insufficient nvidia.com/gpu. {NO_HELP}",
            ["node.resource"],
        ),
        (
            f"0/17 nodes are available: 1 Insufficient nvidia.com/gpu, 16 node(s) had untolerated taint(s). {NO_HELP}",
            ["node.resource", "node.taint"],
        ),
        ('0/17 nodes are available: persistentvolumeclaim "no-such-claim" not found. not found', ["volume.missing"]),
        ("0/17 nodes are available: pod has unbound immediate PersistentVolumeClaims. not found", ["volume.pending"]),
        (f"0/17 nodes are available: 17 node(s) didn't match PersistentVolume's node affinity. {NO_HELP}", ["volume.zone"]),
        # older ones
        (
            "0/6 nodes are available: 2 node(s) had volume node affinity conflict, 4 node(s) had untolerated taint "
            "{nvidia.com/gpu: true}. preemption: 0/6 nodes are available: 6 Preemption is not helpful for scheduling.",
            ["volume.zone", "node.taint"],
        ),
        ("0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.", ["volume.pending"]),
        ("0/3 nodes are available: 3 Too many pods.", ["node.pods"]),
        ("0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules.", ["node.spread"]),
        ("0/3 nodes are available: 3 node(s) didn't match pod topology spread constraints.", ["node.spread"]),
        ("no nodes available to schedule pods", ["node.none"]),
        ("Scheduling is blocked due to non-empty scheduling gates", ["node.unschedulable"]),
    ],
)
def test_a_pod_that_no_node_takes_is_told_by_the_schedulers_reasons(message: str, causes: list[str]) -> None:
    found = find_in_pods([unplaced(message)])
    assert ids(found) == causes and all(each.fix for each in found)


def test_what_would_still_be_wrong_after_preemption_is_no_cause() -> None:
    message = (
        "0/5 nodes are available: 5 Insufficient nvidia.com/gpu. preemption: 0/5 nodes are available: "
        "1 Too many pods, 4 node(s) didn't match pod topology spread constraints."
    )
    found = only(find_in_pods([unplaced(message)]))
    assert found.id == "node.resource" and "spread" not in found.summary and "preemption" not in found.summary


def test_a_cause_has_all_clauses_that_tell_of_it_and_no_other() -> None:
    message = "0/9 nodes are available: 1 node(s) were unschedulable, 3 Insufficient cpu, 3 node(s) had untolerated taint(s), 8 Insufficient nvidia.com/gpu."
    resource, taint, unknown = find_in_pods([unplaced(message)])
    assert resource.summary.startswith("not scheduled: 3 Insufficient cpu, 8 Insufficient nvidia.com/gpu (")
    assert "Insufficient" not in taint.summary
    assert unknown.id == "node.unschedulable" and "1 node(s) were unschedulable" in unknown.summary, "last, and not lost"


@pytest.mark.parametrize(
    ("message", "causes"),
    [
        ("0/5 nodes are available: 1 node(s) had untolerated taint(s), 4 node(s) didn't match Pod's node affinity/selector.", ["node.taint", "node.selector"]),
        ("0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector.", ["node.selector"]),
        ("0/5 nodes are available: 1 Too many pods, 4 node(s) didn't match Pod's node affinity/selector.", ["node.pods"]),
        ("0/5 nodes are available: 2 node(s) were unschedulable, 3 node(s) didn't match Pod's node affinity/selector.", ["node.selector", "node.unschedulable"]),
        ('0/5 nodes are available: persistentvolumeclaim "kept" is being deleted. not found', ["volume.deleting"]),
        ('0/5 nodes are available: persistentvolumeclaim "kept" not found. not found', ["volume.missing"]),
        ("0/5 nodes are available: 5 node(s) exceed max volume count.", ["volume.count"]),
        ("0/5 nodes are available: 5 node(s) didn't have free ports for the requested pod ports.", ["node.port"]),
    ],
)  # fmt: skip
def test_labels_are_told_where_no_node_that_has_them_says_what_it_lacks(message: str, causes: list[str]) -> None:
    """A node that is closed to the pod may have the labels, or not: the scheduler asks for taints first."""
    assert ids(find_in_pods([unplaced(message)])) == causes


@pytest.mark.parametrize(
    ("gate", "fix"), [("kueue.x-k8s.io/topology", "get workloads"), ("team.example/budget", "team.example")]
)
def test_a_gate_is_told_with_who_takes_it_away(gate: str, fix: str) -> None:
    gated = with_spec(unplaced("Scheduling is blocked due to non-empty scheduling gates"), schedulingGates=[{"name": gate}])
    found = only(find_in_pods([gated]))
    assert found.id == "pod.gated" and gate in found.summary and fix in found.fix


def test_a_pod_that_no_scheduler_looks_at_is_told_after_a_while() -> None:
    def asks(age_s: float, **spec: str) -> Object:
        made = with_spec(pod(phase="Pending"), **spec)
        return {**made, "metadata": {**made["metadata"], "creationTimestamp": ago(age_s)}}

    found = only(find_in_pods([asks(60, schedulerName="volcano")]))
    assert found.id == "pod.no-scheduler" and "volcano" in found.summary
    assert find_in_pods([asks(5, schedulerName="volcano")]) == []
    silent = only(find_in_pods([asks(60, nodeName="node-7")]))
    assert silent.id == "node.silent" and "node-7" in silent.summary


# --- once, however many pods -----------------------------------------------------------------------------------------


def test_the_trouble_of_many_pods_is_told_once_with_their_number_and_the_first() -> None:
    pods = [unplaced(f"0/4 nodes are available: {n} Insufficient cpu.", f"tiny-worker-{n}") for n in (1, 2, 3)]
    found = find_in_pods([*pods, with_container("tiny-master-0", state=ended(1))])
    assert ids(found) == ["node.resource", "exit.1"]
    assert found[0].summary == "not scheduled: 1 Insufficient cpu (3 pods, the first is tiny-worker-1)"
    assert found[1].summary.endswith("(pod tiny-master-0)")


def test_a_container_that_failed_twice_is_one_pod() -> None:
    assert only(find_in_pods([with_container(state=ended(1), lastState=ended(1))])).summary.endswith("(pod tiny-worker-0)")


def test_a_skill_may_say_what_to_do_in_its_own_words() -> None:
    pods = [waiting("CrashLoopBackOff"), with_container(state=ended(1))]
    plain, hinted = find_in_pods(pods), find_in_pods(pods, {"container.crashing": "is Ray in the image?"})
    assert hinted[0].fix == "is Ray in the image?" != plain[0].fix
    assert hinted[1] == plain[1]


def test_a_pod_that_is_well_has_no_cause() -> None:
    placed = {"type": "PodScheduled", "status": "True"}
    running = [{"name": "main", "state": {"running": {"startedAt": "2026-11-24T18:58:52Z"}}, "lastState": {}}]
    assert find_in_pods([pod(phase="Running", conditions=[placed], containerStatuses=running), pod()]) == []


def test_text_from_outside_is_bounded_and_has_no_control_characters() -> None:
    found = only(find_in_pods([waiting("CreateContainerConfigError", "\x1b[31m" + "x" * 5000)]))
    assert "\x1b" not in found.summary and len(found.summary) < 400


# --- where a container does not start --------------------------------------------------------------------------------

AT_REGISTRY = 'failed to pull and unpack image "r.example/a:1": failed to resolve reference "r.example/a:1": '
DIGEST = "sha256:4403e401a1d7b6d1c4f6f0c2b9a7d5e3f1a2b3c4d5e6f708192a3b4c5d6e7f80"


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        (AT_REGISTRY + "r.example/a:1: not found", "image.not-found"),
        ("manifest for r.example/a:1 not found: manifest unknown: manifest unknown", "image.not-found"),
        (
            "pull access denied, repository does not exist or may require authorization: server message: "
            "insufficient_scope: authorization failed",
            "image.not-found",
        ),
        (AT_REGISTRY + "unexpected status from HEAD request to https://r.example/v2/a/manifests/1: 403 Forbidden", "image.denied"),
        ("no basic auth credentials", "image.denied"),
        ("toomanyrequests: You have reached your pull rate limit.", "image.rate"),
        (AT_REGISTRY + 'failed to do request: Head "https://r.example": dial tcp 10.0.0.7:443: i/o timeout', "image.unreachable"),
        (f"r.example/a@{DIGEST}: dial tcp: lookup r.example on 10.0.0.2:53: no such host", "image.unreachable"),
        ("no match for platform in manifest: not for linux/arm64", "image.architecture"),
        ('Container image "r.example/a:1" is not present with pull policy of Never', "image.pull"),
        ('Back-off pulling image "r.example/a:1"', "image.pull"),
    ],
)  # fmt: skip
def test_an_image_that_cannot_be_pulled_is_told_by_the_registrys_answer(message: str, cause: str) -> None:
    found = only(find_in_pods([waiting("ImagePullBackOff", message, "r.example/a:1")]))
    assert found.id == cause and "r.example/a:1 cannot be pulled" in found.summary and found.fix


NO_PROGRAM = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to "
    'start container process: exec: "/no/such": stat /no/such: no such file or directory: unknown'
)


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        ("CreateContainerConfigError", 'secret "none" not found', "container.config"),
        ("RunContainerError", NO_PROGRAM, "container.start"),
        ("CreateContainerError", "no command specified", "container.start"),
        ("CrashLoopBackOff", "back-off 10s restarting failed container=main pod=tiny-worker-0", "container.crashing"),
    ],
)
def test_a_container_that_cannot_start_is_told_with_the_kubelets_words(reason: str, message: str, cause: str) -> None:
    found = only(find_in_pods([waiting(reason, message)]))
    assert found.id == cause and message[:60] in found.summary and found.fix


@pytest.mark.parametrize("reason", ["PodInitializing", "ContainerCreating"])
def test_a_container_that_is_being_made_is_no_trouble(reason: str) -> None:
    assert find_in_pods([waiting(reason)]) == []


def test_an_init_container_of_a_pod_is_looked_at_like_any_other() -> None:
    wait = {"name": "wait", "image": "any:1", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}}
    found = only(find_in_pods([pod(initContainerStatuses=[wait])]))
    assert found.id == "image.not-found" and "init container wait" in found.summary


def running_init(for_s: float) -> list[Object]:
    return [{"name": "init-pytorch", "state": {"running": {"startedAt": ago(for_s)}}}]


def test_an_init_container_that_waits_is_told_after_a_while_and_not_at_once() -> None:
    assert find_in_pods([pod(initContainerStatuses=running_init(INIT_STUCK_S - 60))]) == []
    found = only(find_in_pods([pod(initContainerStatuses=running_init(INIT_STUCK_S + 60))]))
    assert found.id == "init.waiting" and "-c init-pytorch" in found.fix


def test_a_sidecar_that_runs_as_long_as_its_pod_does_not_wait() -> None:
    assert find_in_pods([pod(restarts="Always", initContainerStatuses=running_init(INIT_STUCK_S + 60))]) == []


@pytest.mark.parametrize(
    ("reason", "message", "cause"),
    [
        ("InvalidImageName", 'couldn\'t parse image name "Team/a:1": invalid reference format: must be lowercase', "image.invalid"),
        ("CreateContainerConfigError", "container has runAsNonRoot and image will run as root", "container.user"),
        ("CreateContainerConfigError", 'configmap "none" not found', "container.config"),
        ("PostStartHookError", "Exec lifecycle hook failed", "container.waiting"),
    ],
)  # fmt: skip
def test_a_container_that_waits_is_told_whatever_its_reason_is(reason: str, message: str, cause: str) -> None:
    found = only(find_in_pods([waiting(reason, message)]))
    assert found.id == cause and message[:40] in found.summary


# --- where a container or a pod has ended ----------------------------------------------------------------------------


@pytest.mark.parametrize("when", ["state", "lastState"])
@pytest.mark.parametrize(
    ("end", "cause", "told"),
    [
        (ended(137, "OOMKilled"), "memory.out", "ran out of memory"),
        (ended(137), "exit.137", "signal 9"),
        (ended(3), "exit.3", "an error of the job"),
        (ended(128, "StartError", NO_PROGRAM), "container.start", "no such file"),
        (ended(127, "ContainerCannotRun", NO_PROGRAM), "container.start", "no such file"),
        (ended(1, "Error", "exec /usr/bin/python3: exec format error"), "container.start", "exec format error"),
    ],
)
def test_a_container_that_ended_is_told_by_how(when: str, end: Object, cause: str, told: str) -> None:
    found = only(find_in_pods([with_container(**{when: end})]))
    assert found.id == cause and told in found.summary and found.fix


@pytest.mark.parametrize(
    ("limits", "note", "told"),
    [
        ({"memory": "64Gi"}, "", "ran out of memory and was killed: its limit is 64Gi ("),
        ({"memory": "512Mi"}, "cpu, memory request for container main; memory limit for container main", "512Mi, the namespace's LimitRange set it"),
        ({"memory": "64Gi"}, "memory limit for container other", "ran out of memory and was killed: its limit is 64Gi ("),
        ({}, "", "it has no limit, the node itself ran out"),
    ],
)  # fmt: skip
def test_a_kill_for_memory_is_told_with_the_limit_and_who_set_it(limits: Object, note: str, told: str) -> None:
    killed = with_spec(
        with_container(state=ended(137, "OOMKilled")), containers=[{"name": "main", "resources": {"limits": limits}}]
    )
    killed["metadata"]["annotations"] = {"kubernetes.io/limit-ranger": f"LimitRanger plugin set: {note}"} if note else {}
    assert told in only(find_in_pods([killed])).summary


def beside(main_state: Object, policy: str = "Never") -> Object:
    """A pod with a proxy that runs."""
    proxy = {"name": "proxy", "state": {"running": {"startedAt": ago(600)}}}
    both = pod(phase="Running", containerStatuses=[proxy, {"name": "main", "state": main_state}])
    return with_spec(both, restartPolicy=policy, containers=[{"name": "proxy"}, {"name": "main"}])


def over(code: int, since_s: float) -> Object:
    return {"terminated": {"exitCode": code, "reason": "Completed", "finishedAt": ago(since_s)}}


def test_a_container_that_goes_on_after_the_one_that_trains_holds_the_pod() -> None:
    held = only(find_in_pods([beside(over(0, 60))], main="main"))
    assert held.id == "pod.held" and "proxy keeps running" in held.summary
    assert find_in_pods([beside(over(0, 2))], main="main") == [], "it may be about to end"
    assert find_in_pods([beside({"running": {"startedAt": ago(60)}})], main="main") == []
    assert ids(find_in_pods([beside(over(1, 60), "OnFailure")], main="main")) == ["exit.1"], "the kubelet starts it again"


def test_the_logs_of_a_container_beside_the_training_are_asked_of_kubectl() -> None:
    proxy = {"name": "proxy", "restartCount": 2, "state": ended(1)}
    made = with_spec(pod(containerStatuses=[proxy]), containers=[{"name": "proxy"}, {"name": "main"}])
    assert only(find_in_pods([made], main="main")).fix == "kubectl logs tiny-worker-0 -c proxy --previous"
    assert only(find_in_pods([with_container(state=ended(1))], main="main")).fix.startswith("logs;")


def test_a_pod_that_does_not_end_is_told_by_what_holds_it() -> None:
    def going(late_s: float, **more: Any) -> Object:
        made = with_spec(pod(deleted=True, **more), nodeName="node-7")
        return {**made, "metadata": {**made["metadata"], "deletionTimestamp": ago(late_s)}}

    assert find_in_pods([going(5)]) == []
    running = [{"name": "main", "state": {"running": {"startedAt": ago(600)}}}]
    lost, unmounting = (
        going(180, containerStatuses=running),
        going(180, containerStatuses=[{"name": "main", "state": ended(143)}]),
    )
    for made, why in ((lost, "node does not answer"), (unmounting, "cannot be unmounted")):
        found = only(find_in_pods([made]))
        assert found.id == "pod.terminating" and "3 minutes" in found.summary and why in found.summary
        assert "kubectl describe node node-7" in found.fix


def test_a_node_that_is_silent_is_told_apart_from_a_readiness_gate() -> None:
    def unready(**ready: str) -> Object:
        conditions = [{"type": "Ready", "status": "False", **ready}, {"type": "ContainersReady", "status": "True"}]
        return with_spec(
            pod(phase="Running", conditions=conditions), nodeName="node-7", readinessGates=[{"conditionType": "lb/in"}]
        )

    assert only(find_in_pods([unready()])).id == "node.lost"
    gate = only(find_in_pods([unready(reason="ReadinessGatesNotReady")]))
    assert gate.id == "pod.readiness-gate" and "lb/in" in gate.summary


def test_a_container_that_ended_well_or_was_told_to_end_is_no_trouble() -> None:
    told_to = with_container(deleted=True, state=ended(143))
    assert find_in_pods([with_container(state=ended(0, "Completed")), told_to]) == []
    assert ids(find_in_pods([with_container(deleted=True, state=ended(137, "OOMKilled"))])) == ["memory.out"]


@pytest.mark.parametrize(
    ("reason", "message"),
    [
        ("Evicted", "The node was low on resource: ephemeral-storage."),
        ("OutOfnvidia.com/gpu", "Pod was rejected: Node didn't have enough resource: nvidia.com/gpu, requested: 8, used: 8"),
        ("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed"),
        ("UnexpectedAdmissionError", "Pod was rejected: Allocate failed due to no healthy devices present"),
    ],
)
def test_a_pod_that_its_node_would_not_have_is_told_with_the_nodes_words(reason: str, message: str) -> None:
    found = only(find_in_pods([pod(phase="Failed", reason=reason, message=message)]))
    assert found.id == "pod.rejected" and f"{reason}: {message}" in found.summary


def test_a_pod_that_is_taken_from_its_node_is_told_while_it_ends() -> None:
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
    }
    pods = [pod(deleted=True, phase="Running", conditions=[condition])]
    assert "NoExecute" in only(find_in_pods(pods)).summary
    assert find_in_pods([pod(conditions=[{**condition, "status": "False"}])]) == []


def test_the_exit_code_of_a_pod_that_is_taken_from_its_node_is_no_error_of_the_job() -> None:
    """HyperPod's launcher ends with 1 at SIGTERM, ours with 143; the pod of a node that shuts down stays, Failed."""
    condition = {"type": "DisruptionTarget", "status": "True", "reason": "TerminationByKubelet", "message": "node shutdown"}
    for code in (1, 143):
        status = {"phase": "Failed", "containerStatuses": [{"name": "main", "state": ended(code)}]}
        assert ids(find_in_pods([pod(conditions=[condition], **status)])) == ["pod.disrupted"]
        assert ids(find_in_pods([pod(**status)])) == [f"exit.{code}"], "control: nobody took it from its node"


# --- what only events tell -------------------------------------------------------------------------------------------

CREATED = "2026-11-24T18:58:48Z"
FORBIDDEN = 'Error creating: pods "tiny-worker-0" is forbidden: '
MESSAGES = {
    "quota": ("FailedCreatePod", FORBIDDEN + "exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0"),
    "service-account": (
        "FailedCreatePod",
        FORBIDDEN + 'error looking up service account ml/none: serviceaccount "none" not found',
    ),
    "priority": ("FailedCreatePod", FORBIDDEN + "no PriorityClass with name none was found"),
    "pod.forbidden": (
        "FailedCreatePod",
        FORBIDDEN + 'violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false',
    ),
    "pod.refused": ("FailedCreate", 'Error creating: admission webhook "images.example" denied the request: not signed'),
    "pod.network": (
        "FailedCreatePodSandBox",
        'Failed to create pod sandbox: plugin type="aws-cni" failed (add): failed to assign an IP address to container',
    ),
    "container.start": (
        "Failed",
        'Error: failed to create containerd task: exec: "python3": executable file not found in $PATH: unknown',
    ),
    "mount.exclusive": (
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) tiny-worker-1',
    ),
    "mount.driver": (
        "FailedMount",
        'MountVolume.MountDevice failed for volume "pvc-1" : kubernetes.io/csi: attacher.MountDevice failed to create '
        "newCsiDriverClient: driver name fsx.csi.aws.com not found in the list of registered CSI drivers",
    ),
    "mount": (
        "FailedMount",
        'MountVolume.SetUp failed for volume "pvc-1" : rpc error: code = DeadlineExceeded desc = context deadline exceeded',
    ),
    "ray.refused": (
        "InvalidRayClusterSpec",
        "The RayCluster spec is invalid ml/tiny: workerGroupSpec should have at least one container",
    ),
}
OWN = [("ray.refused", r"^InvalidRay", "correct what it names")]


def tell(api: kube.Cluster, number: int, about: str, reason: str, message: str, at: str = CREATED, **more: Any) -> None:
    event = {
        "metadata": {"name": f"{about}.{number}"},
        "involvedObject": {"kind": "Pod", "name": about, "namespace": api.namespace},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        **more,
    }
    api.create(api.namespaced("v1", "events"), event)


def told_of_tiny(api: kube.Cluster, own: list[tuple[str, str, str]] | tuple[()] = ()) -> list[Finding]:
    return find_in_events(api, ["tiny-a"], [pod("tiny-b", phase="Pending")], CREATED, own)


def test_an_event_is_told_by_its_cause_once_for_all_objects(api: kube.Cluster) -> None:
    for number, (reason, message) in enumerate(MESSAGES.values()):
        tell(api, number, "tiny-a", reason, message)
    tell(api, 99, "tiny-b", *MESSAGES["quota"])
    found = {each.id: each for each in told_of_tiny(api, OWN)}
    assert found.keys() == MESSAGES.keys() and all(each.fix for each in found.values())
    assert found["quota"].summary.endswith("(2 objects, the first is tiny-a)") and "small" in found["quota"].summary
    assert found["mount"].summary.endswith("(object tiny-a)")
    assert "ray.refused" not in ids(told_of_tiny(api))


def test_events_of_others_of_before_and_of_no_trouble_are_left_out(api: kube.Cluster) -> None:
    tell(api, 1, "other", *MESSAGES["quota"])
    tell(api, 2, "tiny-a", *MESSAGES["quota"], at="2026-11-24T18:58:47Z")
    tell(api, 3, "tiny-a", *MESSAGES["quota"], type="Normal")
    syncing = 'MountVolume.SetUp failed for volume "kube-api-access-j5tc5" : failed to sync configmap cache: timed out'
    tell(api, 4, "tiny-a", "FailedMount", syncing)
    tell(api, 5, "tiny-a", "BackOff", "Back-off restarting failed container main in pod tiny-a")
    assert told_of_tiny(api) == []
    within_the_second = {"lastTimestamp": None, "eventTime": "2026-11-24T18:58:48.070272Z", "action": "Mounting"}
    tell(api, 6, "tiny-a", *MESSAGES["mount"], reportingComponent="kubelet", reportingInstance="n", **within_the_second)
    assert ids(told_of_tiny(api)) == ["mount"]


def test_a_namespace_full_of_the_warnings_of_others_hides_nothing(api: kube.Cluster) -> None:
    """More than one page of them, and the name of every one sorts before ours."""
    path = api.namespaced("v1", "events")
    about = {"kind": "Pod", "name": "a", "namespace": api.namespace}
    for number in range(PAGE + 1):
        event = {"metadata": {"name": f"a.{number}"}, "involvedObject": about, "type": "Warning", "reason": "BackOff"}
        api.create(path, event)
    tell(api, 1, "tiny-a", *MESSAGES["quota"])
    tell(api, 2, "tiny-b", *MESSAGES["mount"])
    first = api.get(path, limit=PAGE, fieldSelector="type=Warning")["items"]
    assert {each["involvedObject"]["name"] for each in first} == {"a"}, "control: the first page has nothing of ours"
    assert ids(told_of_tiny(api)) == ["quota", "mount"]


def test_a_pod_that_its_kubelet_refused_is_told_from_the_event_while_that_is_new(api: kube.Cluster) -> None:
    """Its operator makes it anew at once, and then nothing else tells of it."""
    message = "Resources cannot be allocated with Topology locality"
    tell(api, 1, "tiny-a", "TopologyAffinityError", message, at=ago(0))
    tell(api, 2, "tiny-b", "OutOfnvidia.com/gpu", "Node didn't have enough resource: nvidia.com/gpu", at=ago(3600))
    found = only(told_of_tiny(api))
    assert found.id == "pod.topology" and message in found.summary and "topologyManagerPolicy" in found.fix


def test_events_that_may_not_be_read_are_unknown_with_the_rule_that_allows_it(
    api: kube.Cluster, cluster: Cluster, use: Callable[[Path], None]
) -> None:
    tell(api, 1, "tiny-a", *MESSAGES["quota"])
    use(cluster.user("blind", api.namespace, rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]))
    found = only(told_of_tiny(kube.connect(kube.Where(namespace=api.namespace))))
    assert found.id == "events.unknown"
    assert json.dumps({"apiGroups": [""], "resources": ["events"], "verbs": ["list"]}) in found.fix


# --- what is said to do ----------------------------------------------------------------------------------------------

FLAG = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*")
OF_OTHERS = {"--show-labels", "--platform"}
"""Of kubectl and of docker."""


@pytest.mark.parametrize(
    "program", ["pytorchjob-manager/src/manage_pytorchjob.py", "ray-manager/src/manage_ray.py"], ids=lambda path: path[:3]
)
def test_every_flag_that_is_named_is_one_of_the_skill(program: str) -> None:
    path = SKILLS / program
    tables = ("pods", "unscheduled", "placed", "containers")
    texts = [*(path.with_name(f"trainyard_{table}.py") for table in tables), *path.parent.glob("*_findings.py")]
    assert len(texts) == 5
    named = {flag for text in texts for flag in FLAG.findall(text.read_text())} - OF_OTHERS
    words = ["create", "logs", "delete"]
    helps = [skill_run([sys.executable, str(path), verb, "--help"], timeout=60) for verb in words]
    known = {flag for help in helps for flag in FLAG.findall(help.stdout)}
    assert len(named) > 10 and named - known == set()
