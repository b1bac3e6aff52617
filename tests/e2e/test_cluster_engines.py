"""One request and five engines: what the pods are given is the same, whatever makes them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.components.cluster.running import Cluster
from tests.training.forking import SkillPopen

ROOT = Path(__file__).resolve().parents[2]
MANAGERS = {
    **dict.fromkeys(["pytorchjob", "trainjob", "hyperpodjob"], ROOT / "skills/pytorchjob-manager/src/manage_pytorchjob.py"),
    **dict.fromkeys(["rayjob", "raycluster"], ROOT / "skills/ray-manager/src/manage_ray.py"),
}
REQUEST: dict[str, Any] = {
    "name": "alike",
    "target": "eks",
    "run": "torchrun --tee 3 train.py --config 'a b.yaml'",
    "nodes": 2,
    "procs_per_node": "auto",
    "image": {"uri": "registry.test/team/trainer@sha256:" + "0" * 64},
    "cluster": {
        "node_selector": {"type": "kwok"},
        "tolerations": [{"key": "kwok", "operator": "Exists"}],
        "queue": "team-a",
        "priority": "high",
        "image_pull_secrets": ["registry"],
        "security": {"run_as_user": 1000},
    },
    "checkpoints": {"storage": {"class": "fsx"}, "rolling_steps": 20},
    "env": {"NCCL_DEBUG": "INFO", "SEED": "7"},
    "secrets": {"HF_TOKEN": "hf/token"},
    "monitor": {"hang": "report", "hang_after_s": 900, "max_restarts": 5, "stop_grace_s": 12.5},
    "resources": {"limits": {"cpu": "32"}},
    "run_id": "0123456789abcdef",
    "start": 2,
    "claim": "alike-01234567",
    "fit": {
        "pod": {"cpu": "30", "memory": "100Gi", "gpus": 8, "gpu_resource": "nvidia.com/gpu", "efa": 4},
        "procs_per_node": 8,
        "node_selector": {"type": "kwok", "node.kubernetes.io/instance-type": "ml.p5.48xlarge"},
        "zone": "us-west-2a",
    },
    "network_env": {"NCCL_NET": "AWS Libfabric", "NCCL_DEBUG": "WARN"},
}
KEPT = ("nodeSelector", "tolerations", "imagePullSecrets", "priorityClassName", "securityContext")
OWN_VARIABLES = ("RAY_", "TRAINYARD_POD_UID")
"""What an engine needs beyond the job."""


def manifest(cluster: Cluster, namespace: str, request: dict[str, Any], *options: str) -> dict[str, Any]:
    words = ["create", "--request", "-", "--dry-run", "--namespace", namespace, *options]
    with SkillPopen(
        [sys.executable, str(MANAGERS[request["engine"]]), *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "KUBECONFIG": str(cluster.kubeconfig)},
        text=True,
    ) as program:
        stdout, stderr = program.communicate(json.dumps(request), timeout=120)
    assert stdout, stderr
    document = json.loads(stdout)
    assert "manifest" in document.get("data", {}), document
    return dict(document["data"]["manifest"])


def pod_of(job: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(spec of a pod, its container) of any engine's manifest."""
    spec = job["spec"]
    if "trainer" in spec:  # a TrainJob says of the container what its trainer is, and patches the pod of its runtime
        jobs = spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
        pod = jobs[0]["template"]["spec"]["template"]["spec"]
        return pod, {**spec["trainer"], "resources": spec["trainer"]["resourcesPerNode"]}
    if "pytorchReplicaSpecs" in spec:
        pod = spec["pytorchReplicaSpecs"]["Master"]["template"]["spec"]
    elif "replicaSpecs" in spec:
        pod = spec["replicaSpecs"][0]["template"]["spec"]
    else:
        pod = spec.get("rayClusterSpec", spec)["headGroupSpec"]["template"]["spec"]
    return pod, pod["containers"][0]


def given(job: dict[str, Any]) -> dict[str, Any]:
    """What a pod of this job has of what was asked."""
    pod, container = pod_of(job)
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    resources = {part: dict(container["resources"][part]) for part in ("requests", "limits")}
    devices = {name: amount for name, amount in resources["limits"].items() if name not in ("cpu", "memory")}
    resources["requests"] |= devices  # Kubernetes fills these in; Ray wants them written
    return {
        "labels": dict(job["metadata"]["labels"]),
        "image": container["image"],
        "env": [each for each in container["env"] if not each["name"].startswith(OWN_VARIABLES)],
        "resources": resources,
        "shm": volumes["shm"]["emptyDir"],
        "claim": volumes["trainyard"]["persistentVolumeClaim"]["claimName"],
        **{key: pod.get(key) for key in KEPT},
        "context": pod["containers"][0]["securityContext"],
        "grace_s": pod["terminationGracePeriodSeconds"],
        "spread": [pod.get(key) for key in ("affinity", "topologySpreadConstraints")],
    }


@pytest.fixture
def engines(cluster: Cluster, namespace: str, hyperpod: None) -> dict[str, dict[str, Any]]:
    return {engine: manifest(cluster, namespace, REQUEST | {"engine": engine}) for engine in MANAGERS}


def test_the_pods_of_all_engines_are_given_the_same(engines: dict[str, dict[str, Any]]) -> None:
    expected = given(engines["pytorchjob"])
    for engine, job in engines.items():
        assert given(job) == expected, engine
    variables = {each["name"]: each.get("value") for each in expected["env"]}
    assert (variables["NCCL_NET"], variables["NCCL_DEBUG"]) == ("AWS Libfabric", "INFO"), "the job file's own word counts"
    assert (variables["TRAINYARD_SUBMISSION"], variables["TRAINYARD_STOP_GRACE_S"]) == ("2", "12.5")
    assert (expected["resources"]["requests"]["cpu"], expected["resources"]["limits"]["cpu"]) == ("30", "32")
    assert expected["shm"] == {"medium": "Memory", "sizeLimit": str(50 << 30)}
    assert (expected["grace_s"], expected["priorityClassName"]) == (43, None), "with a queue it is the workload's priority"
    assert expected["labels"]["kueue.x-k8s.io/priority-class"] == "high"
    group = {"fsGroup": 1000, "fsGroupChangePolicy": "OnRootMismatch"}
    seccomp = {"seccompProfile": {"type": "RuntimeDefault"}}
    assert expected["securityContext"] == {"runAsUser": 1000, "runAsNonRoot": True, **group, **seccomp}
    assert expected["context"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert expected["nodeSelector"]["topology.kubernetes.io/zone"] == "us-west-2a"


def templates(thing: Any) -> Iterator[dict[str, Any]]:
    """Every pod spec in a manifest, wherever in it it stands."""
    if isinstance(thing, dict):
        if "containers" in thing:
            yield thing
        for value in thing.values():
            yield from templates(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from templates(value)


def refusals(cluster: Cluster, namespace: str, job: dict[str, Any]) -> list[str]:
    """What the API server says against each pod of this job. Operators add nothing that decides: KubeRay's init container is as Ray's."""
    found = []
    for spec in templates(job["spec"]):
        for container in spec["containers"]:
            container.setdefault("image", "any")  # a TrainJob's patch has none
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "tried"}, "spec": spec}
        # the job's own; the test's namespace has neither
        for absent in ("priorityClassName", "serviceAccountName"):
            spec.pop(absent, None)
        words = ("create", "--dry-run=server", "--filename=-", "--namespace", namespace)
        try:
            cluster.kubectl(*words, stdin=json.dumps(pod))
            found.append("")
        except subprocess.CalledProcessError as error:
            found.append(error.stderr)
    return found


@pytest.mark.situation("S30", "namespace with PodSecurity restricted: job", "runs with `cluster.security`")
def test_a_restricted_namespace_takes_every_pod_of_every_engine(cluster: Cluster, namespace: str, hyperpod: None) -> None:
    """Control: without cluster.security each of them is refused, and for its user alone."""
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    as_the_image = {**REQUEST["cluster"], "security": {}}
    for engine, pods in {"pytorchjob": 2, "trainjob": 1, "hyperpodjob": 1, "rayjob": 3}.items():
        made = manifest(cluster, namespace, REQUEST | {"engine": engine})
        assert refusals(cluster, namespace, made) == [""] * pods, engine
        made = manifest(cluster, namespace, REQUEST | {"engine": engine, "cluster": as_the_image})
        for refused in refusals(cluster, namespace, made):
            assert "violates PodSecurity" in refused and "runAsNonRoot != true" in refused, engine
            assert "capabilities" not in refused and "seccomp" not in refused and "Escalation" not in refused


@pytest.mark.situation("S07", "LimitRange default cpu 500m, job asks for 4 cpu", "`resources.limits` solves it")
def test_limits_of_the_job_file_stand_before_the_namespaces_defaults(cluster: Cluster, namespace: str) -> None:
    """With a quota on limits too. Control: without limits no pod is taken."""
    limits = [{"type": "Container", "default": {"cpu": "500m"}}]
    of_namespace = {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "team"}, "spec": {"limits": limits}}
    quota = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "team"},
        "spec": {"hard": {"limits.cpu": "1000"}},
    }
    cluster.apply([quota], "--namespace", namespace)
    made = manifest(cluster, namespace, REQUEST | {"engine": "rayjob"})
    assert refusals(cluster, namespace, made) == [""] * 3, "head, worker and submitter"
    cluster.apply([of_namespace], "--namespace", namespace)
    for engine in ("pytorchjob", "raycluster"):
        made = manifest(cluster, namespace, REQUEST | {"engine": engine})
        assert set(refusals(cluster, namespace, made)) == {""}
        made = manifest(cluster, namespace, REQUEST | {"engine": engine, "resources": {}})
        refused = refusals(cluster, namespace, made)
        assert refused and all("must be less than or equal to cpu limit of 500m" in each for each in refused)


@pytest.mark.parametrize("label", ["kubernetes.io/hostname", "topology.kubernetes.io/zone"])
def test_all_engines_spread_pods_alike(cluster: Cluster, namespace: str, hyperpod: None, label: str) -> None:
    """One pod a node is anti-affinity: maxSkew 1 would put four pods on two nodes. A TrainJob's API may lack the key."""
    found = {}
    for engine in ("pytorchjob", "hyperpodjob", "rayjob", "raycluster"):
        pod, _ = pod_of(manifest(cluster, namespace, REQUEST | {"engine": engine}, "--spread-key", label))
        terms = pod.get("affinity", {}).get("podAntiAffinity", {}).get("requiredDuringSchedulingIgnoredDuringExecution", [])
        terms += pod.get("topologySpreadConstraints", [])
        found[engine] = [{key: value for key, value in term.items() if key != "labelSelector"} for term in terms]
    assert all(each == found["pytorchjob"] and each[0]["topologyKey"] == label for each in found.values()), found


def test_what_is_said_beside_a_request_counts_before_it(cluster: Cluster, namespace: str) -> None:
    options = ("--memory", "8Gi", "--env", "SEED=8", "--max-restarts", "0", "--engine", "pytorchjob")
    pod = given(manifest(cluster, namespace, REQUEST | {"engine": "trainjob"}, *options))
    variables = {each["name"]: each.get("value") for each in pod["env"]}
    assert pod["resources"]["limits"]["memory"] == "8Gi"
    assert (variables["SEED"], variables["NCCL_DEBUG"], variables["TRAINYARD_MAX_RESTARTS"]) == ("8", "INFO", "0")
