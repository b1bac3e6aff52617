"""Create: one object a name, whoever asks and how often; an object of somebody else is left alone."""

from __future__ import annotations

from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import Cluster, Object, ApiError

from trainyard_podjob_manifest import DIGEST, told

from ray_manifest import CONTAINER, generate_raycluster_yaml, manifest
from ray_objects import VERSION, find, look, of_run_or_raise, path, pod_selector
from ray_spec import KINDS, RaySpec
from ray_state import deleting, object_state


def create(cluster: Cluster, spec: RaySpec) -> tuple[Object, list[str]]:
    """(what is told of it, what was changed): the same specification again is the same object. Raises SkillError conflict."""
    existing = look(cluster, spec.name, run_id=spec.run_id)
    if existing is None:
        try:
            made = cluster.create(path(cluster, spec.kind), manifest(spec))
            return described(cluster, spec, made), [f"{KINDS[spec.kind]} {spec.name} created in {cluster.namespace}"]
        except ApiError as error:
            if error.reason != "AlreadyExists":  # somebody was faster: look at what it is
                raise
            existing = find(cluster, spec.name, spec.kind)
    same_or_raise(*existing, spec)
    return described(cluster, spec, existing[1]), []


def same_or_raise(kind: str, thing: Object, spec: RaySpec) -> None:
    if kind != spec.kind:
        raise shell.SkillError("conflict", f"{spec.name} is a {KINDS[kind]}, not a {KINDS[spec.kind]}", hint="another name")
    of_run_or_raise(thing, spec.run_id)
    if kube.is_going(thing):
        message = f"{KINDS[kind]} {spec.name} is {deleting(thing)}"
        raise shell.SkillError("conflict", message, hint="the same call when it is gone", retryable=True)
    if kube.notes(thing).get(DIGEST) != spec.digest:
        message = f"{KINDS[kind]} {spec.name} of this run was created with another specification"
        raise shell.SkillError("conflict", message, hint=f"delete {spec.name} first, or the options of its creation")


def dry_run(cluster: Cluster, spec: RaySpec) -> tuple[dict[str, Any], list[shell.Check]]:
    """What would be sent, seen by the API server and not kept: the object, and the head's pod, which KubeRay would make."""
    existing = look(cluster, spec.name, run_id=spec.run_id)
    if existing:
        same_or_raise(*existing, spec)
    else:
        cluster.create(path(cluster, spec.kind), manifest(spec), dry_run=True)
    data = {"manifest": manifest(spec), "exists": existing is not None, "cluster": cluster.identity()}
    return data, [pod_check(cluster, spec)]


def pod_check(cluster: Cluster, spec: RaySpec) -> shell.Check:
    """KubeRay's schema takes any pod template; whether the API server takes the pod is asked here."""
    template = generate_raycluster_yaml(spec)["spec"]["headGroupSpec"]["template"]
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "generateName": f"{spec.name}-"},
        "spec": template["spec"],
    }
    try:
        cluster.create(cluster.namespaced("v1", "pods"), pod, dry_run=True)
    except ApiError as error:
        if error.cause == "rbac":
            return shell.Check("pod.accepted", "skipped", "not allowed to create pods, so not asked", error.message)
        return shell.Check("pod.accepted", "fail", "the API server refuses the pods", error.message, "correct what it names")
    return shell.Check("pod.accepted", "pass", "the API server takes a pod like the head's")


def described(cluster: Cluster, spec: RaySpec, thing: Object) -> Object:
    state, reason = object_state(spec.kind, thing)
    names = {"engine": spec.kind, "api_version": VERSION, "container": CONTAINER, "ray_version": spec.ray_version}
    return told(spec, cluster, thing, **names, pod_selector=pod_selector(spec.kind, thing), state=state, reason=reason)
