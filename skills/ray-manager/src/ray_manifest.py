"""The manifests: the templates in assets/ with what was asked filled in."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from trainyard_kube import Object
from trainyard_podjob import job_labels

from ray_pod import fill_node, fill_submitter
from ray_spec import RaySpec, driver

ASSETS = Path(__file__).resolve().parent.parent / "assets"
DIGEST, PROCS = "trainyard.dev/spec-digest", "trainyard.dev/procs-per-node"


def generate_raycluster_yaml(spec: RaySpec) -> Object:
    """The RayCluster: the head is node 0, so that N nodes are the N pods that `fit` placed."""
    cluster = template("raycluster.yaml")
    cluster["metadata"] = metadata(spec)
    head, workers = cluster["spec"]["headGroupSpec"], cluster["spec"]["workerGroupSpecs"][0]
    cluster["spec"]["rayVersion"] = spec.ray_version
    for group in (head, workers):
        fill_node(group["template"], spec)
        # every value is a string: KubeRay's map[string]string refuses 8080 and true
        group["rayStartParams"] = {key: str(value) for key, value in spec.ray_start.items()}
    for key in ("replicas", "minReplicas", "maxReplicas"):
        workers[key] = spec.nodes - 1
    if spec.nodes == 1:
        cluster["spec"]["workerGroupSpecs"] = []
    return cluster


def generate_rayjob_yaml(spec: RaySpec) -> Object:
    """The RayJob that makes such a cluster, runs the command on its head and removes the cluster."""
    job = template("rayjob.yaml")
    job["metadata"] = metadata(spec)
    job["spec"]["entrypoint"] = shlex.join(driver(spec.command, spec.nodes, spec.procs))
    job["spec"]["ttlSecondsAfterFinished"] = spec.ttl_s
    job["spec"]["rayClusterSpec"] = generate_raycluster_yaml(spec)["spec"]
    fill_submitter(job["spec"]["submitterPodTemplate"], spec)
    return job


def manifest(spec: RaySpec) -> Object:
    return generate_rayjob_yaml(spec) if spec.kind == "rayjob" else generate_raycluster_yaml(spec)


def template(name: str) -> Object:
    import yaml

    loaded: Object = unaliased(yaml.safe_load((ASSETS / name).read_text(encoding="utf-8")))
    return loaded


def unaliased(thing: Any) -> Any:
    """YAML anchors give one dict in two places; an edit of one must not be an edit of both."""
    if isinstance(thing, dict):
        return {key: unaliased(value) for key, value in thing.items()}
    return [unaliased(item) for item in thing] if isinstance(thing, list) else thing


def metadata(spec: RaySpec) -> Object:
    annotations = {DIGEST: spec.digest, PROCS: str(spec.procs)}
    return {"name": spec.name, "labels": job_labels(spec), "annotations": annotations}
