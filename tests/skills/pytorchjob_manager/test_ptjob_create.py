"""create: once, as asked, and nobody else's."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import time
from typing import Any

import pytest
from ptjob_call import KWOK, NOWHERE, OTHER_RUN, OURS, PROGRAM, RUN, Answer, Manager

from tests.components.cluster.nodes import FAKE_SELECTOR, FAKE_TOLERATION, fake_nodes
from tests.components.cluster.running import Cluster

ENGINES = {"pytorchjob": "pytorchjobs", "trainjob": "trainjobs", "hyperpodjob": "hyperpodpytorchjobs"}
ON_KWOK = {"nodeSelector": FAKE_SELECTOR, "tolerations": [FAKE_TOLERATION]}
BIG = ("--nodes", "128", "--procs", "8", "--gpus", "8", "--efa", "4")


def test_a_job_of_128_nodes_runs_is_resized_suspended_and_deleted(manager: Manager, cluster: Cluster) -> None:
    nodes = [
        {**node, "metadata": {**node["metadata"], "labels": {**node["metadata"]["labels"], "ptjob": "big"}}}
        for node in fake_nodes("ml.p5.48xlarge", 130, first=5000, zones=("us-west-2a",))
    ]
    cluster.apply(nodes)
    try:
        assert manager.create("big", *BIG, *KWOK, "--node-selector", "ptjob=big").code == 0
        running = manager.until("running", "big", nodes=128)
        assert [row["rank"] for row in running.data["pods"]] == list(range(128))
        assert len({row["node"] for row in running.data["pods"]}) == 128
        assert requests_of_status(manager, "big") == 2
        scaled = manager("scale", "big", *OURS, "--nodes", "130")
        assert scaled.data["restarts"] is True and scaled.document["changed"] == ["nodes of big: 128 -> 130"]
        assert manager("scale", "big", *OURS, "--nodes", "130").document["changed"] == []
        manager.until("running", "big", nodes=130)
        worker = cluster.get("pod", "big-worker-5", "-n", manager.namespace)
        environment = {each["name"]: each.get("value") for each in worker["spec"]["containers"][0]["env"]}
        assert environment["PET_NNODES"] == "130"
        assert [bool(manager("suspend", "big", *OURS).document["changed"]) for _ in range(2)] == [True, False]
        assert manager.until("suspended", "big", nodes=0).data["nodes"]["wanted"] == 130
        assert manager("delete", "big", "--run-id", RUN, "--yes").data["state"] == "absent"
    finally:
        cluster.kubectl("delete", "node", "--selector=ptjob=big", "--wait=false")


def test_no_pod_goes_to_a_node_that_is_avoided(manager: Manager, cluster: Cluster) -> None:
    nodes = [
        {**node, "metadata": {**node["metadata"], "labels": {**node["metadata"]["labels"], "ptjob": "avoid"}}}
        for node in fake_nodes("ml.p5.48xlarge", 2, first=5200, zones=("us-west-2a",))
    ]
    names = [str(node["metadata"]["name"]) for node in nodes]
    cluster.apply(nodes)
    try:
        for at, other in ((0, 1), (1, 0)):
            name = f"away-{at}"
            assert manager.create(name, *KWOK, "--node-selector", "ptjob=avoid", "--avoid-node", names[at]).code == 0
            assert manager.until("running", name).data["pods"][0]["node"] == names[other]
        nowhere = (word for name in names for word in ("--avoid-node", name))
        assert manager.create("nowhere", *KWOK, "--node-selector", "ptjob=avoid", *nowhere).code == 0
        pod = "nowhere-master-0"
        cluster.kubectl("wait", "pod", pod, "-n", manager.namespace, "--for=create", "--timeout=60s")
        unscheduled = "--for=jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable"
        cluster.kubectl("wait", "pod", pod, "-n", manager.namespace, unscheduled, "--timeout=60s")
    finally:
        cluster.kubectl("delete", "node", "--selector=ptjob=avoid", "--wait=false")


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_call_again_changes_nothing_and_another_is_refused(
    manager: Manager, cluster: Cluster, hyperpod: None, engine: str
) -> None:
    words = ("twice", "--engine", engine, "--nodes", "2", *NOWHERE)
    first, again = manager.create(*words), manager.create(*words)
    assert (first.code, again.code) == (0, 0)
    assert first.document["changed"] and not again.document["changed"]
    pasted = shlex.split(next(line for line in first.document["next"] if " status " in line))
    assert pasted[3:5] == [*OURS], "of this run, and of no other job of that name"
    assert pasted[-2:] == ["-n", manager.namespace], "the kubeconfig's own namespace is another"
    shown = subprocess.run(
        [sys.executable, str(PROGRAM), *pasted[1:]], check=True, capture_output=True, text=True, env=manager.environment()
    )
    assert json.loads(shown.stdout)["data"]["name"] == "twice"
    assert first.data == again.data and first.data["uid"]
    other = manager.create(*words, "--env", "A=b")
    assert (other.code, other.error["code"]) == (5, "conflict")
    labels = cluster.get(ENGINES[engine], "twice", "-n", manager.namespace)["metadata"]["labels"]
    assert labels["trainyard.dev/run-id"] == RUN and labels["app.kubernetes.io/managed-by"] == "trainyard"


CHANGES: tuple[tuple[str, ...], ...] = (("suspend",), ("resume",), ("scale", "--nodes", "2"))


def test_two_users_of_one_name_cannot_touch_each_others_job(manager: Manager) -> None:
    uid = manager.create("tiny", *NOWHERE).data["uid"]
    assert manager.create("tiny", *NOWHERE, run_id=OTHER_RUN).code == 5
    assert manager("delete", "tiny", "--run-id", OTHER_RUN, "--yes").code == 5
    for verb in (*CHANGES, ("status",), ("logs",), ("wait", "--timeout", "1")):
        assert manager(verb[0], "tiny", "--run-id", OTHER_RUN, *verb[1:]).code == 5, verb
    assert manager("status", "tiny", "--run-id", RUN).data["run_id"] == RUN
    assert manager.create("tiny", *NOWHERE).data["uid"] == uid


def test_a_job_that_trainyard_did_not_make_is_looked_at_and_left_alone(manager: Manager, cluster: Cluster) -> None:
    cluster.apply([foreign_job("foreign", manager.namespace, {"spec": {"nodeSelector": {"type": "nowhere"}}})])
    refused = manager.create("foreign", *NOWHERE)
    assert refused.code == 5 and "not made by Trainyard" in refused.error["message"]
    before = cluster.get("pytorchjob", "foreign", "-n", manager.namespace)["spec"]
    for verb in (*CHANGES, ("delete", "--yes")):
        assert manager(verb[0], "foreign", *OURS, *verb[1:]).code == 5, verb
    seen = manager.until_found("node.selector", "foreign")
    assert seen.data["run_id"] is None and seen.data["pod_selector"] == "training.kubeflow.org/job-name=foreign"
    assert cluster.get("pytorchjob", "foreign", "-n", manager.namespace)["spec"] == before


def foreign_job(name: str, namespace: str, template: dict[str, Any]) -> dict[str, Any]:
    """A PyTorchJob as somebody makes it with kubectl; `template`: of its pod, without the container."""
    container = {"name": "pytorch", "image": "any", "command": ["true"]}
    pod = {**template, "spec": {**template["spec"], "containers": [container]}}
    return {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"pytorchReplicaSpecs": {"Master": {"replicas": 1, "template": pod}}},
    }


def test_somebodys_job_of_that_name_and_another_kind_is_never_taken_for_the_runs(manager: Manager, cluster: Cluster) -> None:
    """A PyTorchJob that has succeeded, beside our TrainJob that waits for nodes."""
    quick = {"metadata": {"annotations": {"fake/complete-after": "1s"}}, "spec": ON_KWOK}
    cluster.apply([foreign_job("tiny", manager.namespace, quick)])
    cluster.kubectl("wait", "--for=condition=Succeeded", "pytorchjob/tiny", "-n", manager.namespace, "--timeout=60s")
    assert manager.create("tiny", "--engine", "trainjob", *NOWHERE).code == 0
    seen = [manager("status", "tiny", *OURS), manager("wait", "tiny", *OURS, "--timeout", "1")]
    assert [answer.code for answer in seen] == [0, 7]
    assert [(answer.data["engine"], answer.data["run_id"]) for answer in seen] == [("trainjob", RUN)] * 2
    assert manager("logs", "tiny", *OURS).data["run_id"] == RUN
    assert manager("delete", "tiny", *OURS, "--yes").data["engine"] == "trainjob"
    for words in (("status",), ("logs",), ("wait", "--timeout", "1"), ("delete", "--yes")):
        assert manager(words[0], "tiny", *OURS, *words[1:]).code == 5, "what is left is somebody else's"
        expected = 0 if words[0] == "delete" else 3
        assert manager(words[0], "tiny", *OURS, "--engine", "trainjob", *words[1:]).code == expected, words
    assert cluster.get("pytorchjob", "tiny", "-n", manager.namespace)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_dry_run_prints_what_would_be_sent_and_makes_nothing(
    manager: Manager, cluster: Cluster, hyperpod: None, engine: str
) -> None:
    words = ("dry", "--engine", engine, "--nodes", "2", "--procs", "8", *NOWHERE)
    planned = manager.create(*words, "--dry-run")
    assert planned.code == 0 and planned.document["changed"] == []
    assert cluster.get(ENGINES[engine], "", "-n", manager.namespace)["items"] == []
    cluster.kubectl(
        "create", "--dry-run=server", "-n", manager.namespace, "-f", "-", stdin=json.dumps(planned.data["manifest"])
    )
    manager.create(*words)
    made = cluster.get(ENGINES[engine], "dry", "-n", manager.namespace)
    assert is_within(planned.data["manifest"], made)


COUNTING = """
import sys
import time
sys.path.insert(0, sys.argv[1])
import trainyard_kube as kube
from ptjob_status import get_job_status
cluster = kube.connect(kube.Where(namespace=sys.argv[2]))
get_job_status(cluster, sys.argv[3])
print(cluster.requests)
"""


def requests_of_status(manager: Manager, name: str) -> int:
    words = [sys.executable, "-c", COUNTING, str(PROGRAM.parent), manager.namespace, name]
    return int(subprocess.run(words, check=True, capture_output=True, text=True, env=manager.environment()).stdout)


def is_within(asked: object, made: object) -> bool:
    """Whether everything asked is in the object; the API server has added its defaults."""
    if isinstance(asked, dict) and isinstance(made, dict):
        return all(key in made and is_within(value, made[key]) for key, value in asked.items())
    if isinstance(asked, list) and isinstance(made, list):
        return len(asked) == len(made) and all(map(is_within, asked, made))
    return asked == made


def test_what_the_webhook_says_reaches_the_user(manager: Manager) -> None:
    done = manager.create("tiny", "--runtime", "no-such-runtime", "--engine", "trainjob")
    assert (done.code, done.error["code"]) == (2, "usage")
    assert "no-such-runtime" in done.error["message"] and "denied the request" in done.error["message"]


def test_a_namespace_that_does_not_exist_is_named(cluster: Cluster) -> None:
    nowhere = Manager(cluster.kubeconfig, "no-such-namespace").create("tiny")
    assert (nowhere.code, nowhere.error["message"]) == (3, "no namespace no-such-namespace")


@pytest.mark.parametrize(
    "words",
    [
        ("Tiny",),
        ("tiny", "--run-id", "xyz"),
        ("tiny", "--env", "PET_NNODES=3"),
        ("tiny", "--env", "A"),
        ("tiny", "--secret", "HF_TOKEN=hf_abcdef"),
        ("tiny", "--cpu", "many"),
        ("tiny", "--memory", "123kk"),
        ("tiny", "--toleration", "kwok"),
        ("tiny", "--nodes", "2", "--", "python3", "train.py"),
        ("tiny", "--", "torchrun", "--nnodes=2", "train.py"),
        ("tiny", "--", "torchrun"),
        ("tiny", "--min-nodes", "2", "--engine", "trainjob"),
        ("tiny", "--priority", "high", "--engine", "trainjob"),
        ("a" * 41,),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_what_cannot_be_is_refused_before_anything_is_made(manager: Manager, cluster: Cluster, words: tuple[str, ...]) -> None:
    given = list(words) if "--run-id" in words else [words[0], "--run-id", RUN, *words[1:]]
    command = [] if "--" in given else ["--", "torchrun", "train.py"]
    done = manager("create", given[0], "--image", "any", *given[1:], *command)
    assert (done.code, done.error["code"]) == (2, "usage")
    assert done.error["hint"] and "hf_abcdef" not in json.dumps(done.document)


@pytest.mark.situation(
    "S16", "an admission webhook that does not answer", "the webhook is named, by `create` and by `health`, with its service"
)
@pytest.mark.situation("S10", "a namespace that is being deleted", "exit 5: the namespace is being deleted; no Role rule")
def test_what_stands_in_the_way_of_a_new_job_is_named(cluster: Cluster, namespace: str, manager: Manager) -> None:
    """First a webhook of this namespace whose service is not there, then the namespace itself goes."""
    rule = {"apiGroups": ["kubeflow.org"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pytorchjobs"]}
    webhook = {
        "name": "guard.trainyard.test",
        "clientConfig": {"service": {"namespace": namespace, "name": "guard"}},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    kind = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration"}
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "finalizers": ["trainyard.test/held"]}}
    cluster.apply([held], "--namespace", namespace)
    cluster.apply([{**kind, "metadata": {"name": f"guard-{namespace}"}, "webhooks": [webhook]}])
    try:
        away = until_refused(manager, 8)
        assert "admission webhook guard.trainyard.test does not answer" in away.error["message"]
        assert f"kubectl -n {namespace} get endpointslices" in away.error["hint"] and "health" in away.error["hint"]
    finally:
        cluster.kubectl("delete", "validatingwebhookconfiguration", f"guard-{namespace}")
    cluster.kubectl("delete", "namespace", namespace, "--wait=false")
    try:
        going = until_refused(manager, 5)
        assert f"namespace {namespace} is being deleted" in going.error["message"]
        assert "apiGroups" not in going.error["hint"]
    finally:
        cluster.kubectl("patch", "configmap", "held", "-n", namespace, "--type=merge", '-p={"metadata":{"finalizers":[]}}')


def until_refused(manager: Manager, code: int, timeout_s: float = 30) -> Answer:
    """The answer with this exit code: the API server takes up a change within a second or so."""
    deadline = time.monotonic() + timeout_s
    while (answer := manager.create("tiny", "--dry-run")).code != code:
        assert time.monotonic() < deadline, answer.document
    return answer
