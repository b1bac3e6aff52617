"""Repairs on a real API server: whose pods are there, cordon, eviction, and the node that comes back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hyperpod_program import Program, kill

from tests.components.aws import hyperpod
from tests.components.cluster.running import Cluster
from tests.components.hyperpod_nodes.fixtures import Follow
from tests.infrastructure import kustomized

RUN_ID = "0123456789abcdef"
OURS = {"app.kubernetes.io/managed-by": "trainyard", "trainyard.dev/run": "tiny", "trainyard.dev/run-id": RUN_ID}
REPLACE = "BatchReplaceClusterNodes"


class Place:
    """A HyperPod cluster of two nodes that this Kubernetes has."""

    def __init__(self, program: Program, cluster: Cluster, namespace: str) -> None:
        self.program, self.cluster, self.namespace = program, cluster, namespace
        self.first, self.second = hyperpod.ids(program.aws)

    def apply(self, kind: str, name: str, spec: dict[str, Any], api: str = "v1", labels: dict[str, str] | None = None) -> None:
        metadata = {"name": name, "namespace": self.namespace, "labels": labels or {}}
        self.cluster.apply([{"apiVersion": api, "kind": kind, "metadata": metadata, "spec": spec}])

    def pods(self, selector: str = "") -> list[dict[str, Any]]:
        words = ["pods", "", "--namespace", self.namespace, *([f"--selector={selector}"] if selector else [])]
        return list(self.cluster.get(*words)["items"])

    def on(self, instance: str) -> list[dict[str, Any]]:
        return [pod for pod in self.pods() if pod["spec"].get("nodeName") == f"hyperpod-{instance}"]

    def node(self, instance: str) -> dict[str, Any]:
        return dict(self.cluster.get("nodes", f"hyperpod-{instance}"))

    def cordoned(self, instance: str) -> bool:
        return bool(self.node(instance)["spec"].get("unschedulable"))

    def their_pod(self, instance: str) -> None:
        self.apply("Pod", "theirs", pod_spec(nodeName=f"hyperpod-{instance}"))
        hyperpod.until(lambda: self.on(instance), "their pod")

    def our_run(self, instance: str, *, claim: bool = True, **members: Any) -> None:
        """A StatefulSet with one pod, which begins on this node. (kwok ends a Job's pods at once.)"""
        for other in {self.first, self.second} - {instance}:
            self.cluster.kubectl("cordon", f"hyperpod-{other}")
        template = {"metadata": {"labels": OURS}, "spec": pod_spec(claim=claim, **members)}
        spec = {"selector": {"matchLabels": OURS}, "serviceName": "tiny", "template": template}
        self.apply("StatefulSet", "tiny", spec, "apps/v1", OURS)
        hyperpod.until(lambda: self.on(instance), "our pod", 60)
        for other in {self.first, self.second} - {instance}:
            self.cluster.kubectl("uncordon", f"hyperpod-{other}")


def pod_spec(*, claim: bool = False, **members: Any) -> dict[str, Any]:
    volume = {"persistentVolumeClaim": {"claimName": "tiny"}} if claim else {"emptyDir": {}}
    container = {
        "name": "main",
        "image": "trainer",
        "env": [{"name": "TRAINYARD_CHECKPOINTS", "value": "/trainyard/tiny/checkpoints"}],
        "volumeMounts": [{"name": "data", "mountPath": "/trainyard"}],
        "resources": {"limits": {"nvidia.com/gpu": "8"}},
    }
    rest = {"terminationGracePeriodSeconds": 5, "tolerations": [{"key": "kwok", "operator": "Exists"}], **members}
    # The test cluster has HyperPod nodes of its own, of another cluster-name.
    selector = {"sagemaker.amazonaws.com/cluster-name": "trainyard"}
    return {"containers": [container], "volumes": [{"name": "data", **volume}], "nodeSelector": selector, **rest}


@pytest.fixture
def place(program: Program, cluster: Cluster, namespace: str, hyperpod_nodes: Follow) -> Iterator[Place]:
    hyperpod.make(program.aws, recovery="None")
    hyperpod_nodes("trainyard")
    program.env["KUBECONFIG"] = str(cluster.kubeconfig)
    cluster.make_volumes(namespace, 1)
    claim = {"accessModes": ["ReadWriteMany"], "storageClassName": "test-shared", "resources": {"requests": {"storage": "1Gi"}}}
    made = Place(program, cluster, namespace)
    made.apply("PersistentVolumeClaim", "tiny", claim)
    for id in (made.first, made.second):
        cluster.kubectl("wait", "--for=condition=Ready", f"node/hyperpod-{id}", "--timeout=30s")
        hyperpod.until(lambda id=id: made.node(id)["status"]["nodeInfo"]["bootID"], "the boot id")
    yield made
    cluster.kubectl(
        "delete",
        "statefulsets,daemonsets,pods",
        "--all",
        "--namespace",
        namespace,
        "--grace-period=0",
        "--force",
        "--wait=false",
    )


def test_somebody_elses_job_stops_it(place: Place) -> None:
    """Its name repeated does it all the same. What every node has is nobody's job."""
    tolerations = [{"operator": "Exists"}]
    template = {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"containers": [{"name": "m", "image": "agent"}], "tolerations": tolerations},
    }
    place.apply("DaemonSet", "agent", {"selector": {"matchLabels": {"a": "b"}}, "template": template}, "apps/v1")
    hyperpod.until(lambda: place.on(place.second), "the agent's pod")
    place.their_pod(place.first)
    name = f"hyperpod-{place.first}"
    for verb in ("replace", "reboot"):
        refused = place.program(verb, "trainyard", "--node", name, "--yes")
        assert refused.code == 5
        assert f"{place.namespace}/theirs (no controller)" in refused.error["message"]
        assert f"--force-node {name}" in refused.error["hint"]
    assert not place.cordoned(place.first)
    assert place.program.sent(REPLACE) == []
    assert place.program("replace", "trainyard", "--node", place.first, "--force-node", place.first, "--yes").code == 2
    assert place.program("replace", "trainyard", "--node", place.second, "--yes").code == 0
    assert place.program("replace", "trainyard", "--node", name, "--force-node", name, "--yes").code == 0
    assert not {place.first, place.second} & set(hyperpod.ids(place.program.aws))


def test_our_run_stops_by_agreement_and_goes_elsewhere(place: Place) -> None:
    place.our_run(place.first)
    plan = place.program("replace", "trainyard", "--node", place.first)
    assert plan.code == 6
    (run,) = plan.data["runs"]
    assert (run["run"], run["run_id"], run["survives"], run["free_nodes"]) == ("tiny", RUN_ID, True, "1")
    done = place.program("replace", "trainyard", "--node", place.first, "--yes")
    assert done.code == 0
    (stop,) = done.data["stops"]
    assert stop["agreed"]
    assert done.document["changed"][0] == f"node hyperpod-{place.first} cordoned"
    hyperpod.until(lambda: place.on(place.second), "the pod on the other node")
    new = done.data["requests"][0]["nodes"][0]["is"]
    assert not place.cordoned(new)


def test_a_run_that_would_lose_its_checkpoints_wants_the_name(place: Place) -> None:
    place.our_run(place.first, claim=False)
    refused = place.program("replace", "trainyard", "--node", place.first, "--yes")
    assert refused.code == 5
    assert "would not survive" in refused.error["message"]
    assert refused.data["runs"][0]["checkpoints"].startswith("not on a volume claim")
    assert place.program.sent(REPLACE) == []


def test_a_rebooted_node_takes_jobs_again(place: Place) -> None:
    done = place.program("reboot", "trainyard", "--node", place.first, "--yes")
    assert done.code == 0
    assert f"node hyperpod-{place.first} cordoned" in done.document["changed"]
    assert not place.cordoned(place.first)
    assert hyperpod.ids(place.program.aws) == [place.first, place.second]


def test_a_refusal_of_aws_gives_the_node_back(place: Place) -> None:
    place.program.aws.hyperpod_fault("in_use", node=place.first)
    assert place.program("replace", "trainyard", "--node", place.first, "--yes").code == 1
    assert not place.cordoned(place.first)
    place.program.aws.fail("sagemaker:BatchReplaceClusterNodes", "ThrottlingException")
    assert place.program("replace", "trainyard", "--node", place.first, "--yes").code == 8
    assert not place.cordoned(place.first)


def test_a_kill_before_the_call_is_undone_by_wait(place: Place) -> None:
    """Killed while our pod had its grace period: nothing was sent, and the node was cordoned."""
    place.our_run(place.first)
    (pod,) = place.on(place.first)
    hold: Callable[[list[str]], str] = lambda names: json.dumps({"metadata": {"finalizers": names}})  # noqa: E731
    words = ["patch", "pod", pod["metadata"]["name"], "--namespace", place.namespace, "--type=merge", "--patch"]
    place.cluster.kubectl(*words, hold(["test.trainyard.dev/hold"]))
    process = place.program.start("replace", "trainyard", "--node", place.first, "--yes")
    hyperpod.until(lambda: "deletionTimestamp" in place.on(place.first)[0]["metadata"], "the eviction")
    kill(process)
    assert place.cordoned(place.first)
    place.cluster.kubectl(*words, hold([]))
    told = place.program("wait", "trainyard")
    assert told.code == 1
    assert "before anything was sent" in told.check(f"replace.{place.first}")["summary"]
    assert not place.cordoned(place.first)
    assert place.program.sent(REPLACE) == []
    assert place.program("replace", "trainyard", "--node", place.first, "--yes").code == 0


def test_another_clusters_kubernetes_is_refused(place: Place, tmp_path: Path) -> None:
    text = Path(place.program.env["KUBECONFIG"]).read_text()
    (tmp_path / "config").write_text(text)
    place.program.env["KUBECONFIG"] = str(tmp_path / "config")
    context = place.cluster.kubectl("config", "current-context", "--kubeconfig", str(tmp_path / "config")).strip()
    wrong = "arn:aws:eks:us-east-1:123456789012:cluster/somebody"
    place.cluster.kubectl("config", "rename-context", context, wrong, "--kubeconfig", str(tmp_path / "config"))
    for verb in ("replace", "reboot"):
        refused = place.program(verb, "trainyard", "--node", place.first, "--yes")
        assert (refused.code, refused.error["code"]) == (5, "conflict")
        assert "another cluster" in refused.error["message"]


def test_what_may_not_be_read_counts_as_somebodys(place: Place) -> None:
    rules = [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["list"]}]
    place.program.env["KUBECONFIG"] = str(place.cluster.user("blind", place.namespace, cluster_rules=rules))
    refused = place.program("replace", "trainyard", "--node", place.first, "--yes")
    assert refused.code == 5
    assert "unknown" in refused.error["message"]
    assert '"resources": ["pods"]' in refused.error["message"]
    rules = [{"apiGroups": [""], "resources": ["nodes", "pods"], "verbs": ["list"]}]
    place.program.env["KUBECONFIG"] = str(place.cluster.user("reader", place.namespace, cluster_rules=rules))
    refused = place.program("replace", "trainyard", "--node", place.first, "--yes")
    assert refused.code == 4
    assert '"verbs": ["patch"]' in refused.error["hint"]
    assert place.program.sent(REPLACE) == []


def test_the_cluster_role_is_enough(place: Place) -> None:
    """infrastructure/kubernetes/hyperpod-repair: and without one of its rules it is not."""
    rules = kustomized.rules("hyperpod-repair", "ClusterRole", "trainyard-hyperpod-repair")
    place.our_run(place.first)
    less = [rule for rule in rules if rule["resources"] != ["pods/eviction"]]
    for name, given, code in (("less", less, 4), ("repairer", rules, 0)):
        place.program.env["KUBECONFIG"] = str(place.cluster.user(name, place.namespace, cluster_rules=given))
        done = place.program("replace", "trainyard", "--node", place.first, "--yes")
        assert done.code == code, done.document
        if code:
            assert '"pods/eviction"' in done.error["hint"]
            assert not place.cordoned(place.first)
    assert place.first not in hyperpod.ids(place.program.aws)


def test_nodes_are_moved_and_added(program: Program, cluster: Cluster, hyperpod_nodes: Follow) -> None:
    """The moved one keeps its instance and takes its new group's label; the new ones register before the call ends."""
    hyperpod.make(program.aws, recovery="None", groups={"workers": 2, "spare": 1})
    hyperpod_nodes("trainyard")
    program.env["KUBECONFIG"] = str(cluster.kubeconfig)
    before = {each["InstanceId"]: each["InstanceGroupName"] for each in hyperpod.nodes(program.aws)}
    first = next(id for id, group in before.items() if group == "workers")
    for id in before:
        cluster.kubectl("wait", "--for=condition=Ready", f"node/hyperpod-{id}", "--timeout=30s")
    moved = program("move", "trainyard", "--node", first, "--to-group", "spare", "--yes")
    assert moved.code == 0, moved
    labels = cluster.get("nodes", f"hyperpod-{first}")["metadata"]["labels"]
    assert labels["sagemaker.amazonaws.com/instance-group-name"] == "spare"
    added = program("scale", "trainyard", "--group", "workers", "--add", "2", "--yes")
    assert added.code == 0, added
    new = set(hyperpod.ids(program.aws)) - set(before)
    assert len(new) == 2
    for id in new:
        assert cluster.get("nodes", f"hyperpod-{id}")["spec"].get("unschedulable") is None
