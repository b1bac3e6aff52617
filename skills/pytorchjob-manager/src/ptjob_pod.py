"""The pod of a job: assets/pod.yaml plus what the request says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trainyard_kube as kube
from ptjob_request import JobRequest
from trainyard_podjob import environment, job_labels, place, resources, shm_size, spread

ASSETS = Path(__file__).resolve().parent.parent / "assets"
Object = dict[str, Any]


def template(name: str) -> Object:
    import yaml

    loaded: Object = yaml.safe_load((ASSETS / name).read_text(encoding="utf-8"))
    return loaded


def metadata(request: JobRequest) -> Object:
    """Of the job itself."""
    annotations = {"trainyard.dev/spec-digest": request.digest}
    return {"name": request.name, "labels": job_labels(request), "annotations": annotations}


def make_pod(request: JobRequest, container: str, command: list[str]) -> Object:
    """A pod template: {metadata, spec}. The container is called as the engine wants it."""
    pod = template("pod.yaml")
    pod["metadata"]["labels"] = kube.labels(request.name, request.run_id)
    if request.pod_annotations:
        pod["metadata"]["annotations"] = dict(request.pod_annotations)
    spec, main = pod["spec"], pod["spec"]["containers"][0]
    main.update(name=container, image=request.image, command=command, env=environment(request), resources=resources(request))
    spec["terminationGracePeriodSeconds"] = request.termination_s
    spec["volumes"][0]["emptyDir"]["sizeLimit"] = shm_size(request)
    if request.claim:
        spec["volumes"][1]["persistentVolumeClaim"]["claimName"] = request.claim
    else:
        del spec["volumes"][1], main["volumeMounts"][1]
    place(request, spec)
    spec.update(spread(request, {kube.RUN_ID: request.run_id}))
    return pod
