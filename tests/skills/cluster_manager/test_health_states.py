"""States that the test cluster cannot have for everybody at once: plugins without nodes, nodes without plugins, MIG, queues.

The skill's own functions in a fresh process, over objects as the API server sends them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

from cm_calls import PROGRAM

CODE = """
import json, sys
sys.path.insert(0, {src!r})
sys.argv[0] = "none"
import trainyard_shell, msgspec
from cluster_read import Node
from cluster_health.facts import Facts, Workload
from cluster_health import devices, nodes
facts = json.load(sys.stdin)
facts = Facts(None, msgspec.convert(facts["nodes"], list[Node]), msgspec.convert(facts["daemons"], list[Workload]), [], {{}})
found = [devices.check_gpu_operator(facts), devices.check_efa_plugin(facts), devices.check_neuron_plugin(facts)]
found += nodes.node_components(facts)
print(json.dumps({{each.name: [each.state, each.check.status, each.check.evidence] for each in found}}))
"""


def states(nodes: list[dict[str, Any]], daemons: list[dict[str, Any]]) -> dict[str, list[str]]:
    command = [sys.executable, "-c", CODE.format(src=str(PROGRAM.parent))]
    facts = json.dumps({"nodes": nodes, "daemons": daemons})
    done = subprocess.run(command, input=facts, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def node(instance_type: str, allocatable: dict[str, str], capacity: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "metadata": {"name": "n", "labels": {"node.kubernetes.io/instance-type": instance_type}},
        "status": {
            "allocatable": allocatable,
            "capacity": allocatable if capacity is None else capacity,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def daemon(image: str, ready: int, desired: int) -> dict[str, Any]:
    spec = {"template": {"spec": {"containers": [{"image": image}]}}}
    status = {"numberReady": ready, "desiredNumberScheduled": desired}
    return {"metadata": {"name": "plugin", "namespace": "kube-system"}, "spec": spec, "status": status}


NVIDIA, EFA = (
    "nvcr.io/nvidia/k8s-device-plugin:v0.17",
    "602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/aws-efa-k8s-device-plugin:v0.5",
)


def test_a_plugin_without_a_node_for_it_is_ready_without_resources() -> None:
    found = states([node("m5.large", {"cpu": "2"})], [daemon(NVIDIA, 0, 0)])
    assert found["gpu"][:2] == ["ready-no-resources", "warn"]
    assert found["efa"][:2] == ["absent", "skipped"], "one plugin's image is not taken for the other's"


def test_a_node_of_a_gpu_type_that_offers_none_is_a_failure_with_and_without_a_plugin() -> None:
    bare = node("ml.p5.48xlarge", {"cpu": "192"})
    assert states([bare], [])["gpu"][:2] == ["absent", "fail"]
    assert states([bare], [daemon(NVIDIA, 0, 1)])["gpu"][:2] == ["installed-not-ready", "fail"]
    assert states([bare], [])["efa"][:2] == ["absent", "warn"], "the job falls back to TCP, unless it says efa"
    assert states([bare], [daemon(EFA, 0, 1)])["efa"][:2] == ["installed-not-ready", "fail"]


def test_the_instance_table_finds_devices_that_neither_side_of_the_node_reports() -> None:
    found = states([node("p5.48xlarge", {"nvidia.com/gpu": "7", "vpc.amazonaws.com/efa": "32"})], [daemon(NVIDIA, 1, 1)])
    assert found["gpu"][:2] == ["ready", "warn"] and "n 7 of 8" in found["gpu"][2]


def test_gpus_cut_into_slices_are_counted_as_slices() -> None:
    sliced = {"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "56"}
    assert states([node("p5.48xlarge", sliced)], [])["gpu"][:2] == ["ready", "pass"]
    less = {**sliced, "nvidia.com/mig-1g.10gb": "55"}
    assert states([node("p5.48xlarge", less, sliced)], [])["gpu"][:2] == ["ready", "warn"]


def test_neuron_is_counted_by_whichever_name_it_has() -> None:
    assert states([node("trn1.32xlarge", {"aws.amazon.com/neuroncore": "32"})], [])["neuron"][:2] == ["ready", "pass"]
    assert states([node("trn1.32xlarge", {"aws.amazon.com/neuroncore": "16"})], [])["neuron"][:2] == ["ready", "warn"]


def test_no_node_and_only_broken_nodes_are_failures() -> None:
    assert states([], [])["nodes"][:2] == ["absent", "fail"]
    silent = {"metadata": {"name": "n"}, "status": {}}
    assert states([silent], [])["nodes"][:2] == ["installed-not-ready", "fail"], "a node that reports nothing is not Ready"
