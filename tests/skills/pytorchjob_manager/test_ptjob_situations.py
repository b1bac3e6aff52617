"""What a cluster can do to pods, and what `status` and `wait` say of it: rows of shared-docs/situations.md."""

from __future__ import annotations

import contextlib
import json
import secrets
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from foreign_jobs import ON_KWOK, ON_REAL, SLEEP, Object, ago, container, job, tell, until_running
from ptjob_call import KWOK, REAL, RUN, Manager

from tests.components.cluster.running import TRAINER_IMAGE, Cluster

MESH = "istio-proxy"
P4D: Object = {"nodeSelector": {"node.kubernetes.io/instance-type": "p4d.24xlarge"}, "tolerations": ON_KWOK["tolerations"]}
LONG = "somebody-elses-job-" + "x" * 31
GATE = "example.com/budget"


def gpus(count: int) -> Object:
    return {"containers": [{"name": "pytorch", "image": "any", "resources": {"limits": {"nvidia.com/gpu": str(count)}}}], **P4D}


REASONS = {
    "TopologyAffinityError": ("pod.topology", "Resources cannot be allocated with Topology locality", "topologyManagerPolicy"),
    "NodeShutdown": ("pod.node-shutdown", "Pod was rejected as the node is shutting down.", "another node"),
    "Terminated": ("pod.node-shutdown", "Pod was terminated in response to imminent node shutdown.", "another node"),
    "Preempting": ("pod.preempted", "Preempted in order to admit critical pod", "system pod"),
    "NodeLost": ("node.lost", "Node i-1 which was running pod is unresponsive", "describe node"),
    "AnotherRule": ("pod.rejected", "Pod was rejected: by a kubelet of next year", "describe node"),
}


STATUS: Object = {"image": "any", "imageID": "", "ready": False, "restartCount": 0}
JOBS = [
    job("well", **ON_KWOK),
    job("gated", schedulingGates=[{"name": GATE}], **ON_KWOK),
    job("elsewhere", policy={"managedBy": "kueue.x-k8s.io/multikueue"}),
    job(LONG, **ON_KWOK),
    job("refused", nodeName="real-0", containers=[container("pytorch", *SLEEP, resources={"requests": {"cpu": "1000"}})]),
    job("waits", **gpus(16)),
    job("downloads", initContainers=[{"name": "dataset", "image": "any"}], nodeSelector={"type": "nowhere"}),
    job("sidecar", initContainers=[container("mesh", "sh", "-c", "exit 3", restartPolicy="Always")], **ON_REAL),
    job("mesh", containers=[container("pytorch", "true"), container(MESH, *SLEEP)], **ON_REAL),
    job("alone", containers=[container("pytorch", "true")], **ON_REAL),
    job("mesh-fails", containers=[{"name": name, "image": "any"} for name in (MESH, "pytorch")], **ON_KWOK),
    job("held", workers=1, **ON_KWOK),
    job("no-image", nodeSelector={"type": "nowhere"}),
    *(job(reason.lower(), restart="Never", **ON_KWOK) for reason in REASONS),
]
"""Side by side: most of them need some seconds until they are what they are about."""


endless: list[subprocess.Popen[str]] = []
"""Begun with the module, and ended half a minute later."""


@pytest.fixture(scope="module")
def there(cluster: Cluster) -> Iterator[Manager]:
    """The manager in a namespace with all of these jobs; a pod of one is being deleted and held."""
    namespace = f"test-{secrets.token_hex(4)}"
    cluster.make_namespace(namespace)
    cluster.apply(JOBS, "--namespace", namespace)
    until_running(
        cluster, namespace, "held-worker-0", "mesh-fails-master-0", *(f"{reason.lower()}-master-0" for reason in REASONS)
    )
    finalizer = '{"metadata": {"finalizers": ["example.com/unmount"]}}'
    cluster.kubectl("patch", "pod", "held-worker-0", "--namespace", namespace, "--type=merge", "--patch", finalizer)
    cluster.kubectl("delete", "pod", "held-worker-0", "--namespace", namespace, "--wait=false")
    unnamed = {"waiting": {"reason": "InvalidImageName", "message": "couldn't parse image name"}}
    placed = [{"type": "PodScheduled", "status": "True"}]
    tell(
        cluster,
        namespace,
        "no-image-master-0",
        conditions=placed,
        containerStatuses=[{**STATUS, "name": "pytorch", "state": unnamed}],
    )
    manager = Manager(cluster.kubeconfig, namespace)
    endless.append(manager.start("wait", "no-image", "--timeout", "150"))
    yield manager
    cluster.kubectl(
        "patch",
        "pod",
        "held-worker-0",
        "--namespace",
        namespace,
        "--type=json",
        '--patch=[{"op": "remove", "path": "/metadata/finalizers"}]',
    )
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")


@pytest.mark.situation("S13", "pods with a scheduling gate", "the gate's name, and who removes it")
def test_a_scheduling_gate_is_named(there: Manager) -> None:
    found = there.until_found("pod.gated", "gated").finding("pod.gated")
    assert GATE in found["summary"] and "example.com" in found["fix"]
    waited = there("wait", "gated", "--timeout", "1")
    assert waited.code == 7 and GATE in waited.error["message"]
    assert there.until("running", "well").data["findings"] == []


@pytest.mark.situation(
    "S14", "a PyTorchJob whose managedBy names another controller", "nothing is made on this cluster, and why"
)
def test_a_job_that_another_controller_manages_is_not_just_pending(there: Manager) -> None:
    found = there("status", "elsewhere").finding("job.managed-elsewhere")
    assert "multikueue" in found["summary"] and "makes no pods here" in found["summary"]


@pytest.mark.situation(
    "S15", "somebody else's job with a name of 50 letters", "it is shown: our limit of 40 is for names that we give"
)
def test_a_name_as_long_as_kubernetes_takes_it_is_looked_at(there: Manager) -> None:
    seen = there.until("running", LONG)
    assert (len(LONG), len(seen.data["pods"])) == (50, 1)
    assert there("wait", LONG, "--timeout", "0").code == 7
    assert there("status", "a" * 64).code == 3, "no label is as long as the name may be"
    beyond = there("status", "a" * 254)
    assert beyond.code == 2 and "253" in beyond.error["message"]
    ours = there.create("a" * 41)
    assert ours.code == 2 and "at most 40" in ours.error["message"]


@pytest.mark.situation(
    "S05", "a pod that its node refuses (TopologyAffinityError, OutOfcpu...)", "the kubelet's words, and what to change"
)
def test_a_pod_that_its_node_refuses_again_and_again_has_a_finding_at_every_look(there: Manager, cluster: Cluster) -> None:
    """Its operator makes it anew at once: most looks meet a pod of which nothing is known yet."""
    there.until_found("pod.rejected", "refused")
    for _ in range(3):
        found = there("status", "refused").finding("pod.rejected")
        assert "OutOfcpu" in found["summary"] and "capacity" in found["fix"]
    cluster.kubectl(
        "delete", "pytorchjob", "refused", "--namespace", there.namespace, "--wait=false"
    )  # it makes a pod a second


@pytest.mark.situation(
    "S05", "a pod that its node refuses (TopologyAffinityError, OutOfcpu...)", "the kubelet's words, and what to change"
)
@pytest.mark.situation("S06", "a pod that its node ended: NodeShutdown, Terminated, Preempting", "a finding each")
@pytest.mark.parametrize("reason", REASONS)
def test_a_pod_that_its_node_refused_or_ended_is_told_by_its_reason(there: Manager, cluster: Cluster, reason: str) -> None:
    id, message, fix = REASONS[reason]
    ended = [{**STATUS, "name": "pytorch", "state": {"terminated": {"exitCode": 137, "reason": "Error"}}}]
    tell(
        cluster, there.namespace, f"{reason.lower()}-master-0", phase="Failed", reason=reason, message=message,
        containerStatuses=ended if reason == "Terminated" else None,
    )  # fmt: skip
    found = there("status", reason.lower())
    assert f"{reason}: {message}" in found.finding(id)["summary"] and fix in found.finding(id)["fix"]
    assert len(found.data["findings"]) == 1, "how its containers ended is no error of the job"


@pytest.mark.situation(
    "S25", "an init container of the user's downloads for minutes", "that container, and for how long it has run"
)
def test_an_init_container_of_the_users_is_not_taken_for_the_operators(there: Manager, cluster: Cluster) -> None:
    running = {"running": {"startedAt": ago(200)}}
    tell(
        cluster, there.namespace, "downloads-master-0", phase="Pending", conditions=[{"type": "PodScheduled", "status": "True"}],
        initContainerStatuses=[{**STATUS, "name": "dataset", "state": running}],
    )  # fmt: skip
    found = there.until_found("init.running", "downloads").finding("init.running")
    assert "init container dataset has been running for over 3 minutes" in found["summary"]
    assert "rank 0" not in found["summary"] and found["fix"].startswith("kubectl logs downloads-master-0 -c dataset")


@pytest.mark.situation("S26", "a native sidecar that fails", "`kubectl logs` of that container")
def test_the_logs_of_a_failing_sidecar_are_its_own(there: Manager) -> None:
    found = there.until_found("exit.3", "sidecar").finding("exit.3")
    assert "mesh ended with 3" in found["summary"] and "kubectl logs sidecar-master-0 -c mesh" in found["fix"]


@pytest.mark.situation(
    "S37",
    "a GPU job waits on a cluster of several node types",
    "what the fitting nodes lack, first; what was asked and offered",
)
def test_what_the_fitting_nodes_lack_is_told_first(there: Manager) -> None:
    seen = there.until_found("node.resource", "waits")
    assert [each["id"] for each in seen.data["findings"]] == ["node.resource"], "four nodes have the labels"
    assert "4 Insufficient nvidia.com/gpu" in seen.data["findings"][0]["summary"]
    assert "asks for 16 nvidia.com/gpu (the largest node with its labels has 8" in seen.data["findings"][0]["summary"]


def test_a_finding_is_told_whole_and_first_in_the_table(there: Manager) -> None:
    there.until_found("node.resource", "waits")
    finding = there("status", "waits").finding("node.resource")
    command = there.command("status", "waits", "--format", "table")
    table = subprocess.run(command, capture_output=True, text=True, env=there.environment(), timeout=60, check=True).stdout
    assert finding["summary"] in table and finding["fix"] in table
    assert table.index(finding["summary"]) < table.index("waits-master-0  master")


@pytest.mark.situation(
    "V01", "a container of a mesh goes on after the training has ended", "finished or failed, who holds the pod; `wait` ends"
)
def test_a_container_that_goes_on_does_not_hide_the_end(there: Manager, cluster: Cluster) -> None:
    statuses = [
        {**STATUS, "name": MESH, "state": {"running": {"startedAt": ago(90)}}},
        {**STATUS, "name": "pytorch", "state": {"terminated": {"exitCode": 7, "startedAt": ago(90), "finishedAt": ago(60)}}},
    ]
    tell(cluster, there.namespace, "mesh-fails-master-0", containerStatuses=statuses)
    failed = there("wait", "mesh-fails", "--timeout", "20")
    assert (failed.code, failed.data["state"]) == (1, "failed") and "7" in failed.data["reason"]
    assert MESH in failed.finding("pod.held")["summary"] and failed.finding("exit.7")
    finished = there("wait", "mesh", "--timeout", "60")
    assert (finished.code, finished.data["state"], finished.data["nodes"]["running"]) == (0, "finished", 0)
    assert MESH in finished.finding("pod.held")["summary"]
    alone = there("wait", "alone", "--timeout", "60")
    assert (alone.code, alone.data["findings"]) == (0, [])


@pytest.mark.situation("S19", "a pod stuck in Terminating, past its grace", "who holds it, and the command that looks at it")
def test_a_pod_that_does_not_go_is_told_with_what_holds_it(there: Manager) -> None:
    seen = there.until_found("pod.terminating", "held")
    assert seen.data["state"] == "restarting" and "held-worker-0 was deleted and does not end" in seen.data["reason"]
    found = seen.finding("pod.terminating")
    assert "finalizer example.com/unmount" in found["summary"] and "kubectl get pod held-worker-0" in found["fix"]


def test_pods_of_one_job_on_one_gpu_node_are_a_warning(manager: Manager, cluster: Cluster) -> None:
    node = cluster.get("nodes", "", "--selector=node.kubernetes.io/instance-type=p4d.24xlarge")["items"][0]["metadata"]["name"]
    one = {**P4D, "nodeSelector": {"kubernetes.io/hostname": node}}
    jobs = {"together": {**gpus(1), **one}, "no-gpu": {**ON_KWOK, **one}}
    cluster.apply([job(name, workers=1, **pod) for name, pod in jobs.items()], "--namespace", manager.namespace)
    assert node in manager.until("running", "together", nodes=2).finding("pods.together")["summary"]
    assert manager.until("running", "no-gpu", nodes=2).data["findings"] == []


def test_the_list_says_what_it_hides(there: Manager, cluster: Cluster) -> None:
    for name in ("older", "newer"):
        there.create(name, *KWOK)
    listed = there("list", "--limit", "1")
    others = len(cluster.get("pytorchjobs", "", "-n", there.namespace)["items"]) - 2
    assert (listed.data["total"], listed.data["hidden"]) == (2, {"older": 1, "of_others": others})
    assert others >= len(JOBS) - 1


@pytest.mark.situation("S29", "node 0's launcher is killed until max_restarts is used up", "failed, with the true count")
def test_kills_of_a_one_process_job_are_counted_to_its_end(manager: Manager, cluster: Cluster) -> None:
    cluster.make_volumes(manager.namespace, 1)
    folder = cluster.make_claim(manager.namespace, "kept") / f"killed-{RUN}"
    manager.create("killed", "--image", TRAINER_IMAGE, *REAL, "--claim", "kept", "--max-restarts", "1", command=("--", *SLEEP))
    for restarts in (0, 1):
        until(lambda restarts=restarts: counted(folder) == ("running", restarts))  # type: ignore[misc]
        kill(cluster, cluster.get("pods", "", "-n", manager.namespace)["items"][0])
    done = manager("wait", "killed", "--timeout", "60")
    assert (done.code, done.data["state"], done.data["restarts"]) == (1, "failed", 1)
    assert "max_restarts (1) is used up" in done.data["reason"] and manager("status", "killed").data["restarts"] == 1


@pytest.mark.situation(
    "V03", "a cause that no time removes, such as an image without a valid name", "`wait` ends after half a minute and says so"
)
def test_a_wait_for_what_cannot_pass_ends(there: Manager) -> None:
    done = there.answer(endless.pop())
    assert (done.code, done.data["state"], done.document["ok"]) == (1, "pending", False)
    assert "image.invalid" in done.check("wait.endless")["summary"]


def counted(folder: Path) -> tuple[str, int]:
    told = json.loads((folder / "runner.json").read_text())
    return told["state"], told["restarts"]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while True:
        with contextlib.suppress(FileNotFoundError):
            if holds():
                return
        assert time.monotonic() < deadline
        time.sleep(0.1)


def kill(cluster: Cluster, pod: Object) -> None:
    """SIGKILL to the container's first process, from the node."""
    container = pod["status"]["containerStatuses"][0]["containerID"].removeprefix("containerd://")
    socket = str(cluster.place.state / "containerd.sock")
    command = ["ctr", "--address", socket, "--namespace", "k8s.io", "tasks", "kill", "--signal", "SIGKILL", container]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
