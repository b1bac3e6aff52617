"""The manifests that the recipes show are those that the managers send for the recipes' job files, line for line."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.components.cluster.running import Cluster
from tests.infrastructure.kustomized import FOLDER, filled
from tests.infrastructure.skill_calls import RUN_ID, SKILLS, call

RECIPES = FOLDER.parents[1] / "training" / "recipes"
SHOWN = {"fsdp-llama": "pytorchjob.yaml", "verl-grpo": "rayjob.yaml"}
MANAGERS = {"pytorchjob": ("pytorchjob-manager", "--engine"), "rayjob": ("ray-manager", "--kind")}
FOUND = ["--gpus", "8", "--efa", "32", "--cpu", "180", "--memory", "1800Gi"]
"""What `fit` has found: what a free node gives."""
Manifest = dict[str, Any]


def sent(cluster: Cluster, namespace: str, recipe: str) -> Manifest:
    """What `create --dry-run` prints, after the API server has accepted it."""
    (job,) = filled(RECIPES / recipe / "job.yaml")
    manager, kind = MANAGERS[job["engine"]]
    words = ["create", job["name"], kind, job["engine"], "--run-id", RUN_ID, "--image", job["image"]["uri"], *FOUND]
    words += [
        "--claim",
        job["checkpoints"]["storage"]["claim"],
        "--nodes",
        str(job["nodes"]),
        "--procs",
        str(job["procs_per_node"]),
    ]
    words += ["--max-restarts", str(job["monitor"]["max_restarts"]), "--namespace", namespace]
    words += ["--node-selector", f"node.kubernetes.io/instance-type={job['resources']['instance_type']}"]
    for name, value in {**network(cluster, job), **saving(job), **job.get("env", {})}.items():
        words += ["--env", f"{name}={value}"]
    for name, place in job.get("secrets", {}).items():
        words += ["--secret", f"{name}={place}"]
    document = call(cluster.kubeconfig, manager, *words, "--dry-run", "--", *shlex.split(job["run"]))
    return dict(document["data"]["manifest"])


def network(cluster: Cluster, job: Manifest) -> dict[str, str]:
    words = ["network-env", "--instance-type", job["resources"]["instance_type"], "--network", job["network"]]
    return dict(call(cluster.kubeconfig, "cluster-manager", *words)["data"]["env"])


def saving(job: Manifest) -> dict[str, str]:
    """How often to save, where the job file says so."""
    keys = ("rolling_steps", "keep_rolling", "keep_epochs")
    return {f"TRAINYARD_{key.upper()}": str(job["checkpoints"][key]) for key in keys if key in job["checkpoints"]}


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """path -> scalar; what stands in a different order in a list is a difference, in a mapping it is not."""
    if isinstance(value, dict | list) and value:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {name: leaf for key, item in pairs for name, leaf in leaves(item, f"{path}/{key}").items()}
    return {path: value}


@pytest.mark.parametrize("recipe", SHOWN)
def test_the_manifest_shown_is_the_one_sent(cluster: Cluster, namespace: str, recipe: str) -> None:
    (shown,) = filled(RECIPES / recipe / SHOWN[recipe])
    manifest = sent(cluster, namespace, recipe)
    del manifest["metadata"]["annotations"]  # digests of what was asked
    ours, theirs = leaves(shown), leaves(manifest)
    assert {key: ours[key] for key in ours if ours[key] != theirs.get(key)} == {}, yaml.safe_dump(manifest, sort_keys=False)
    assert {key: theirs[key] for key in theirs if key not in ours} == {}


@pytest.mark.parametrize("recipe", SHOWN)
def test_a_recipes_job_file_is_right(tmp_path: Path, recipe: str) -> None:
    """As far as that can be said without a cluster."""
    words = [str(SKILLS / "training-job-deployer/src/deploy.py"), "plan", str(RECIPES / recipe / "job.yaml")]
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    done = subprocess.run(
        [sys.executable, *words, "--state-dir", str(tmp_path)], capture_output=True, text=True, timeout=120, env=environment
    )
    document = json.loads(done.stdout)
    assert "error" not in document, document["error"]
    assert document["data"]["engine"] in MANAGERS and "2 pods" in document["data"]["makes"]
