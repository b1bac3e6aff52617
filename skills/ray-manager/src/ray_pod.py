"""The pods of a Ray cluster: what every node gets, and what the submitter of a RayJob gets."""

from __future__ import annotations

from typing import Any

from trainyard_kube import Object, labels

from ray_spec import RaySpec

EFA = "vpc.amazonaws.com/efa"
ROLE = "trainyard.dev/role"


def fill_node(template: Object, spec: RaySpec) -> None:
    """Edits the pod template of the head or of the workers."""
    template["metadata"]["labels"] = labels(spec.name, spec.run_id)
    pod, container = template["spec"], template["spec"]["containers"][0]
    place(pod, spec)
    pod["terminationGracePeriodSeconds"] = spec.grace_s + 30
    container["image"] = spec.image
    container["env"] = environment(spec)
    fill_resources(container["resources"], spec)
    volume = {"persistentVolumeClaim": {"claimName": spec.claim}} if spec.claim else {"emptyDir": {}}
    mount(pod, container, "trainyard", "/trainyard", volume)
    if spec.shm:  # not given: KubeRay makes one of the memory's size
        mount(pod, container, "shm", "/dev/shm", {"emptyDir": {"medium": "Memory", "sizeLimit": spec.shm}})
    if spec.spread_key:
        pod["topologySpreadConstraints"] = [spread(spec)]


def fill_submitter(template: Object, spec: RaySpec) -> None:
    template["metadata"]["labels"] = {**labels(spec.name, spec.run_id), ROLE: "submitter"}
    place(template["spec"], spec)
    container = template["spec"]["containers"][0]
    container["image"] = spec.image
    container["env"] = plain(spec.env)


def place(pod: Object, spec: RaySpec) -> None:
    """Where the pod may run, and as whom."""
    pod["nodeSelector"] = spec.node_selector
    pod["tolerations"] = spec.tolerations
    if spec.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": name} for name in spec.image_pull_secrets]
    if spec.service_account:
        pod["serviceAccountName"] = spec.service_account
        pod["automountServiceAccountToken"] = True
    if spec.priority and not spec.queue:  # with a queue it is the queue's priority class
        pod["priorityClassName"] = spec.priority


def environment(spec: RaySpec) -> list[Object]:
    ours = {
        "TRAINYARD_RUN_ID": spec.run_id,
        "TRAINYARD_RUN_DIR": spec.run_dir,
        "TRAINYARD_CHECKPOINTS": f"{spec.run_dir}/checkpoints",
        "TRAINYARD_MAX_RESTARTS": str(spec.max_restarts),
        "TRAINYARD_STOP_GRACE_S": str(spec.grace_s),
        "TRAINYARD_HANG": spec.hang,
        "TRAINYARD_HANG_AFTER_S": "auto" if spec.hang_after_s is None else f"{spec.hang_after_s:g}",
        "PYTHONUNBUFFERED": "1",
        # Ray kills a stopped driver after 3 s of its own: too short to save.
        "RAY_JOB_STOP_WAIT_TIME_S": str(spec.grace_s),
        # The driver's log is where the ranks' lines are read: no line left out as a repeat, no colour codes.
        "RAY_DEDUP_LOGS": "0",
        "RAY_COLOR_PREFIX": "0",
    }
    if spec.nodes > 1 and not spec.claim:
        del ours["TRAINYARD_RUN_DIR"]  # one folder for all nodes is what it stands for: the launchers look for their key in it
    secrets = [
        {"name": name, "valueFrom": {"secretKeyRef": dict(zip(("name", "key"), reference.split("/"), strict=True))}}
        for name, reference in spec.secrets.items()
    ]
    return plain({**ours, **spec.env}) + secrets


def plain(variables: dict[str, str]) -> list[Object]:
    return [{"name": name, "value": value} for name, value in variables.items()]


def fill_resources(resources: dict[str, Any], spec: RaySpec) -> None:
    """Ray counts what the limits say; without a CPU limit it takes the request."""
    if spec.cpu:
        resources["requests"]["cpu"] = spec.cpu  # no limit: throttled data loaders cost more than they save
    exact = {"memory": spec.memory, spec.gpu_resource: str(spec.gpus or ""), EFA: str(spec.efa or "")}
    for each in (resources["requests"], resources["limits"]):
        each.update({name: amount for name, amount in exact.items() if amount})


def mount(pod: Object, container: Object, name: str, path: str, volume: Object) -> None:
    pod["volumes"].append({"name": name, **volume})
    container["volumeMounts"].append({"name": name, "mountPath": path})


def spread(spec: RaySpec) -> Object:
    return {
        "maxSkew": 1,
        "topologyKey": spec.spread_key,
        "whenUnsatisfiable": "DoNotSchedule",
        "labelSelector": {"matchLabels": {**labels(spec.name, spec.run_id), "ray.io/is-ray-node": "yes"}},
    }
