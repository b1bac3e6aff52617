"""Every manifest that the repository shows is one that the API server, its definitions and the operators' webhooks take (dry run)."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.components.cluster.running import Cluster
from tests.infrastructure.kustomized import FOLDER, built, filled

ROOT = FOLDER.parents[1]
RECIPES = ROOT / "training" / "recipes"
FILES = [
    *sorted((FOLDER / "volumes").glob("*.yaml")),
    FOLDER / "network/network-policy.yaml",
    RECIPES / "fsdp-llama/pytorchjob.yaml",
    RECIPES / "verl-grpo/rayjob.yaml",
]
OVERLAYS = ("base", "cluster-reads", "hyperpod-repair", "example-team")
Manifest = dict[str, Any]


def moved(manifests: list[Manifest], namespace: str) -> list[Manifest]:
    """Into a namespace that exists; the claim that a volume is kept for moves along."""
    moved = copy.deepcopy(manifests)
    for each in moved:
        if "namespace" in each["metadata"]:
            each["metadata"]["namespace"] = namespace
        if "claimRef" in each.get("spec", {}):
            each["spec"]["claimRef"]["namespace"] = namespace
    return moved


def offer(cluster: Cluster, manifests: list[Manifest]) -> str | None:
    """What the API server says against them, or None."""
    try:
        cluster.apply(manifests, "--dry-run=server")
    except subprocess.CalledProcessError as error:
        return str(error.stderr)
    return None


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_accepted(cluster: Cluster, namespace: str, overlay: str) -> None:
    assert offer(cluster, moved(built(overlay), namespace)) is None


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_is_accepted(cluster: Cluster, namespace: str, path: Path) -> None:
    assert offer(cluster, moved(filled(path), namespace)) is None


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_puts_everything_into_one_namespace(overlay: str) -> None:
    wide = {"Namespace", "ClusterRole", "ClusterRoleBinding"}
    manifests = built(overlay)
    places = {each["metadata"]["namespace"] for each in manifests if each["kind"] not in wide}
    assert places == {"base": {"trainyard"}, "example-team": {"ml-vision"}}.get(overlay, set())
    groups = {subject["name"] for each in manifests for subject in each.get("subjects", [])}
    own = {"example-team": "ml-vision", "hyperpod-repair": "trainyard-node-repair"}
    assert groups == {own.get(overlay, "trainyard-users")}


def pods_of(recipe: Manifest) -> list[Manifest]:
    """The pods that come of a recipe's object, one of each kind."""
    spec = recipe["spec"]
    if recipe["kind"] == "PyTorchJob":
        templates = [replica["template"] for replica in spec["pytorchReplicaSpecs"].values()]
    else:
        cluster = spec["rayClusterSpec"]
        templates = [
            spec["submitterPodTemplate"],
            cluster["headGroupSpec"]["template"],
            cluster["workerGroupSpecs"][0]["template"],
        ]
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {**each["metadata"], "name": f"pod-{number}"}, "spec": each["spec"]}
        for number, each in enumerate(templates)
    ]


def test_the_recipes_pods_may_run_in_the_namespace_of_the_base(cluster: Cluster, namespace: str) -> None:
    """Under its pod security labels and its quota; a pod that asks for the host's network may not."""
    base = {each["kind"]: each for each in built("base")}
    labels = [f"{key}={value}" for key, value in base["Namespace"]["metadata"]["labels"].items()]
    cluster.kubectl("label", "namespace", namespace, *labels)
    cluster.apply(moved([base["ResourceQuota"]], namespace))
    for path in FILES[-2:]:
        (recipe,) = filled(path)
        for pod in pods_of(recipe):
            pod["metadata"]["namespace"] = namespace
            assert offer(cluster, [pod]) is None
    pod["spec"]["hostNetwork"] = True
    assert "violates PodSecurity" in str(offer(cluster, [pod]))


def test_the_network_policy_is_about_the_pods_of_every_engine() -> None:
    """By what their manifests and KubeRay label them with. Who stands outside is named: nothing is let in from everywhere."""
    policies = {each["metadata"]["name"]: each["spec"] for each in filled(FOLDER / "network/network-policy.yaml")}
    chosen = policies["trainyard-runs"]["podSelector"]["matchLabels"]
    recorded = sorted((ROOT / "tests/recorded/expected/manifests").rglob("*.json"))
    templates = [each for path in recorded for each in pod_labels(json.loads(path.read_text()))]
    assert len(templates) > 20 and all(chosen.items() <= labels.items() for labels in templates)
    assert all(spec["podSelector"]["matchLabels"].items() >= chosen.items() for spec in policies.values())
    for spec in policies.values():
        assert all(source["from"] and all(source["from"]) for source in spec["ingress"])


def pod_labels(thing: Any) -> Iterator[dict[str, str]]:
    """Labels of every pod template in a document."""
    if isinstance(thing, dict):
        if "containers" in (thing.get("spec") or {}):
            yield thing["metadata"]["labels"]
        for value in thing.values():
            yield from pod_labels(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from pod_labels(value)


def test_the_init_container_for_restricted_namespaces_is_accepted_there(cluster: Cluster, namespace: str) -> None:
    """In the operator's words, filled in. Control: without its securityContext, which the operator's own template lacks, it is not."""
    (config,) = filled(FOLDER / "restricted/init-container.yaml")
    text = config["data"]["initContainer.yaml"].replace("{{.InitContainerImage}}", "any").replace("{{.MaxTries}}", "100")
    init = yaml.safe_load(text.replace("{{.MasterAddr}}", "job-master-0"))
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    job = {"name": "c", "image": "any", "securityContext": init[0]["securityContext"]}
    security = {"runAsUser": 1000, "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {"initContainers": init, "containers": [job], "securityContext": security}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "worker", "namespace": namespace}, "spec": spec}
    assert offer(cluster, [pod]) is None
    del init[0]["securityContext"]
    assert "init-pytorch" in str(offer(cluster, [{**pod, "spec": {**spec, "initContainers": init, "containers": [job]}}]))


# --- negative controls: what is wrong is refused by whoever should refuse it ------------------------------------------


def test_a_misspelt_field_is_refused(cluster: Cluster, namespace: str) -> None:
    volume, claim = moved(filled(FOLDER / "volumes/fsx-static.yaml"), namespace)
    volume["spec"]["csi"]["volumeHandel"] = volume["spec"]["csi"].pop("volumeHandle")
    assert "volumeHandel" in str(offer(cluster, [volume, claim]))


def test_the_training_operators_webhook_answers_for_the_recipe(cluster: Cluster, namespace: str) -> None:
    (job,) = moved(filled(RECIPES / "fsdp-llama/pytorchjob.yaml"), namespace)
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        replica["template"]["spec"]["containers"][0]["name"] = "main"
    assert "validator.pytorchjob.training-operator.kubeflow.org" in str(offer(cluster, [job]))


def test_a_number_among_the_ray_start_parameters_is_refused(cluster: Cluster, namespace: str) -> None:
    (job,) = moved(filled(RECIPES / "verl-grpo/rayjob.yaml"), namespace)
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["metrics-export-port"] = 8080
    assert "rayStartParams.metrics-export-port" in str(offer(cluster, [job]))
