"""Random situations of a small cluster: nodes, what runs on them, a volume, a quota, and a job that wants to run there.

Everything follows from the seed. Each situation keeps to nodes with a label of its own, so that many lie side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

Manifest = dict[str, Any]
ZONES = ("us-west-2a", "us-west-2b", "us-west-2c")
SITUATION = "trainyard-test/situation"
TYPES: dict[str, tuple[int, int, dict[str, int]]] = {
    "p4d.24xlarge": (96, 1152, {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 4}),
    "ml.p5.48xlarge": (192, 2048, {"nvidia.com/gpu": 8, "vpc.amazonaws.com/efa": 32}),
    "g5.12xlarge": (48, 192, {"nvidia.com/gpu": 4, "vpc.amazonaws.com/efa": 1}),
    "trn1.32xlarge": (128, 512, {"aws.amazon.com/neuron": 16, "vpc.amazonaws.com/efa": 8}),
}
NOT_READY = {"type": "Ready", "status": "False", "reason": "KubeletNotReady", "message": "container runtime is down"}
TAINTS = (
    {"key": "nvidia.com/gpu", "value": "true", "effect": "NoSchedule"},
    {"key": "team", "value": "other", "effect": "NoExecute"},
    {"key": "busy", "value": "", "effect": "PreferNoSchedule"},
)


@dataclass
class Situation:
    seed: int
    name: str
    namespace: str
    """Of the job; the pods that are there already lie in `busy`."""
    job: Manifest
    nodes: list[Manifest]
    pods: list[Manifest]
    storage: list[Manifest] = field(default_factory=list)
    claim: str | None = None
    rules: list[Manifest] = field(default_factory=list)
    """A LimitRange and a ResourceQuota of the job's namespace."""
    labels: dict[str, str] = field(default_factory=dict)
    """Of that namespace: the level of Pod Security that it holds pods to."""
    volume_zones: list[str] | None = None
    """The job has no claim yet, and its storage class makes volumes only there."""
    moves: bool = False
    """The claim binds to the zone of its first pod, so it can be tried only once."""

    @property
    def zones(self) -> list[str]:
        """Where the job could be tried."""
        there = {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in self.nodes}
        return sorted(there if self.volume_zones is None else there & set(self.volume_zones))


def situation(seed: int, prefix: str, busy: str) -> Situation:
    random = Random(seed)
    name = f"{prefix}-{seed}"
    instance_type = random.choice(list(TYPES))
    zones = ZONES[: random.choice((1, 2, 2, 3))]
    nodes = [_node(random, f"{name}-{number}", name, instance_type, zones) for number in range(random.randint(2, 6))]
    pods = [pod for node in nodes for pod in _busy_pods(random, node, busy)]
    made = Situation(seed, name, prefix, _job(random, name, instance_type), nodes, pods)
    made.job["cluster"]["node_selector"] = {SITUATION: name}
    if {"operator": "Exists"} in made.job["cluster"]["tolerations"]:
        for node in nodes:  # such a pod is bound to a NotReady node too, and never runs there: not what `fit` is asked for
            node["metadata"]["annotations"] = {"kwok.x-k8s.io/node": "fake"}
    if random.random() < 0.45:
        _storage(random, made, zones)
    if random.random() < 0.2:
        _quota(random, made)
    _admission(random, made)
    _priorities(random, made)
    return made


def _admission(random: Random, made: Situation) -> None:
    """A LimitRange, a level of Pod Security, and what a job file says about both."""
    if random.random() < 0.3:
        _own_namespace(made)
        for number, item in enumerate(_of_one_mind(random.sample(LIMITS, random.choice((1, 1, 2))))):
            metadata = {"name": f"range{number}", "namespace": made.name}
            made.rules.append({"apiVersion": "v1", "kind": "LimitRange", "metadata": metadata, "spec": {"limits": [item]}})
    if random.random() < 0.3:
        made.job["resources"]["limits"] = random.choice(({"cpu": "64"}, {"cpu": "200", "memory": "2Ti"}, {"memory": "40Gi"}))
    if random.random() < 0.25:
        _own_namespace(made)
        made.labels = {"pod-security.kubernetes.io/enforce": random.choice(("baseline", "restricted", "restricted"))}
    if random.random() < 0.3:
        made.job["cluster"]["security"] = {"run_as_user": random.choice((0, 1000, 1000))}


def _of_one_mind(items: list[Manifest]) -> list[Manifest]:
    """Where two give a container different defaults, the API server takes either, by chance: that cannot be compared."""
    first, *others = [{**(item.get("max") or {}), **(item.get("default") or {})} for item in items]
    return items[:1] if any(first[key] != other[key] for other in others for key in first.keys() & other.keys()) else items


LIMITS: tuple[Manifest, ...] = (
    {"type": "Container", "default": {"cpu": "500m"}},
    {"type": "Container", "default": {"cpu": "200"}},
    {"type": "Container", "default": {"cpu": "200", "memory": "1Ti"}, "defaultRequest": {"ephemeral-storage": "1Gi"}},
    {"type": "Container", "max": {"cpu": "48"}},
    {"type": "Container", "max": {"memory": "600Gi"}, "min": {"cpu": "10m"}},
    {"type": "Container", "min": {"cpu": "100m", "memory": "5Mi"}},
    {"type": "Container", "default": {"cpu": "64"}, "maxLimitRequestRatio": {"cpu": "4"}},
    {"type": "Container", "maxLimitRequestRatio": {"memory": "1500m"}},
    {"type": "Pod", "max": {"memory": "1Ti"}, "min": {"memory": "200k"}},
    {"type": "Pod", "max": {"cpu": "100"}},
)
CLASSES = {"low": -5, "some": 10, "high": 1000, "never": 1000}
"""The last one puts nobody out."""


def priority_classes(prefix: str) -> list[Manifest]:
    return [
        {
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": f"{prefix}-{name}"},
            "value": value,
            "preemptionPolicy": "Never" if name == "never" else "PreemptLowerPriority",
        }
        for name, value in CLASSES.items()
    ]


def _priorities(random: Random, made: Situation) -> None:
    """Of the job and of the pods that are there, each perhaps without one, which is 0."""
    prefix = made.name.rpartition("-")[0]
    for pod in made.pods:
        if random.random() < 0.3:
            pod["spec"]["priorityClassName"] = f"{prefix}-{random.choice(('low', 'some', 'high'))}"
    if random.random() < 0.3:
        made.job["cluster"]["priority"] = f"{prefix}-{random.choice(('low', 'some', 'high', 'high', 'never'))}"


def _own_namespace(made: Situation) -> None:
    made.namespace = made.name
    for thing in made.storage:
        if "namespace" in thing["metadata"]:
            thing["metadata"]["namespace"] = made.name


def _node(random: Random, name: str, situation: str, instance_type: str, zones: tuple[str, ...]) -> Manifest:
    kind = random.choice(list(TYPES)) if random.random() < 0.1 else instance_type
    cpu, memory_gib, devices = TYPES[kind]
    devices = dict(devices)
    if random.random() < 0.15:
        devices.pop("vpc.amazonaws.com/efa")
    if random.random() < 0.1:
        devices = {key: max(0, count - random.randint(1, 3)) for key, count in devices.items()}  # some are unhealthy
    offered = {
        "cpu": random.choice((str(cpu), f"{cpu * 1000 - 90}m", f"{cpu - 1}.5")),
        "memory": random.choice((f"{memory_gib}Gi", f"{memory_gib - 2}.5Gi", f"{memory_gib * 1_000_000}k")),
        "pods": random.choice(("110", "110", "110", "2")),
        **{key: str(count) for key, count in devices.items()},
    }
    # Without the annotation no kubelet is played: the node stays NotReady. It says so itself, as a kubelet does that has just come:
    # of a node without the condition the controller takes the taint, and for a minute pods are bound there.
    ready = random.random() > 0.07
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                SITUATION: situation,
                "kubernetes.io/hostname": name,
                **_platform(name),
                "node.kubernetes.io/instance-type": kind,
                "topology.kubernetes.io/zone": random.choice(zones),
            },
            "annotations": {"kwok.x-k8s.io/node": "fake"} if ready else {},
        },
        "spec": {
            "unschedulable": random.random() < 0.1,
            "taints": [taint for taint in TAINTS if random.random() < 0.12],
        },
        "status": {"allocatable": offered, "capacity": offered, "conditions": [] if ready else [NOT_READY]},
    }


def _platform(name: str) -> dict[str, str]:
    """Its own chance, which leaves everything else of a seed as it is."""
    chance = Random(f"platform of {name.partition('-')[2]}").random()
    arch, system = ("arm64", "linux") if chance < 0.08 else ("amd64", "windows") if chance < 0.12 else ("amd64", "linux")
    return {"kubernetes.io/arch": arch, "kubernetes.io/os": system}


def _busy_pods(random: Random, node: Manifest, namespace: str) -> list[Manifest]:
    """What is there already: on the node without asking the scheduler. Some have finished and hold nothing."""
    device = next((key for key in node["status"]["allocatable"] if key.startswith(("nvidia", "aws"))), None)
    pods = []
    for number in range(random.choice((0, 0, 0, 1, 1, 2, 3))):
        requests = {"cpu": random.choice(("0.5", "100m", "7", "24")), "memory": random.choice(("1.5Gi", "123k", "64Gi"))}
        if device and random.random() < 0.7:
            requests[device] = str(random.choice((1, 2, 4, 8)))
        spec: Manifest = {"nodeName": node["metadata"]["name"], "containers": [_container("main", requests)]}
        if random.random() < 0.3:
            more = {"cpu": random.choice(("9", "250m")), "memory": "2Gi"}
            policy = {"restartPolicy": "Always"} if random.random() < 0.5 else {}
            spec["initContainers"] = [{**_container("first", more), **policy}]
        name = f"{node['metadata']['name']}-{number}"
        finished = random.random() < 0.25 and bool(node["metadata"]["annotations"])
        labels = {"finished": str(random.choice((0, 1)))} if finished else {}
        pods.append(pod_manifest(name, namespace, spec, labels))
    return pods


def _container(name: str, requests: Manifest) -> Manifest:
    limits = {key: value for key, value in requests.items() if "/" in key}
    return {"name": name, "image": "local.test/pause:1", "resources": {"requests": requests, "limits": limits}}


def pod_manifest(name: str, namespace: str, spec: Manifest, labels: Manifest | None = None) -> Manifest:
    annotations = {}
    if "finished" in (labels or {}):
        annotations = {"fake/complete-after": "0s", "fake/exit-code": labels["finished"]}
    metadata = {"name": name, "namespace": namespace, "labels": labels or {}, "annotations": annotations}
    whole = {"automountServiceAccountToken": False, "restartPolicy": "Never", **spec}
    if "nodeName" in spec:
        whole["tolerations"] = [{"operator": "Exists"}]  # or NoExecute taints and NotReady nodes evict it
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": whole}


def _job(random: Random, name: str, instance_type: str) -> Manifest:
    devices = TYPES[instance_type][2]
    count = devices.get("nvidia.com/gpu") or devices["aws.amazon.com/neuron"] * 2
    resources: Manifest = {"instance_type": instance_type} if random.random() < 0.8 else {}
    if random.random() < 0.5 or not resources:
        resources["cpu"] = random.choice(("0.5", "100m", "4", "20"))
        resources["memory"] = random.choice(("1.5Gi", "123k", "20Gi"))
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists"}] if random.random() < 0.5 else []
    tolerations += [{"key": "team", "value": "other", "effect": "NoExecute"}] if random.random() < 0.3 else []
    tolerations += [{"operator": "Exists"}] if random.random() < 0.04 else []
    return {
        "name": name,
        "run": "torchrun train.py",
        "target": "eks",
        "nodes": random.choice((1, 2, 2, 3, 4)),
        "procs_per_node": random.choice(("auto", count, count // 2, max(1, count // 4), 1)),
        "cluster": {"tolerations": tolerations},
        "resources": resources,
        "network": random.choice(("auto", "auto", "tcp")),
    }


def _storage(random: Random, made: Situation, zones: tuple[str, ...]) -> None:
    """A claim: bound by nodeAffinity or by labels, waiting for its first pod, waiting for ever; or none and only a class."""
    kind = random.choice(("affinity", "labels", "first-pod", "first-pod", "unbound", "class"))
    where = sorted({random.choice(zones) for _ in range(random.choice((1, 1, 2)))})
    class_ = f"{made.name}-class"
    manifest: Manifest = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": class_},
        "provisioner": "kubernetes.io/no-provisioner" if kind in ("first-pod", "unbound") else "trainyard.test/none",
        "volumeBindingMode": "WaitForFirstConsumer" if kind == "first-pod" else "Immediate",
    }
    if kind == "class":
        rule = {"key": "topology.kubernetes.io/zone", "values": where}
        made.storage = [{**manifest, "allowedTopologies": [{"matchLabelExpressions": [rule]}]}]
        made.volume_zones = where
        made.job["checkpoints"] = {"storage": {"class": class_, "size": "1Gi"}}
        return
    made.claim, made.moves = f"{made.name}-claim", kind == "first-pod"
    volumes = [] if kind == "unbound" else [volume_at(f"{made.name}-{zone}", class_, zone, kind) for zone in where]
    if kind in ("affinity", "labels"):
        volumes = volumes[:1]
    spec = {"accessModes": ["ReadWriteMany"], "storageClassName": class_, "resources": {"requests": {"storage": "1.5Gi"}}}
    claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "spec": spec}
    made.storage = [manifest, *volumes, {**claim, "metadata": {"name": made.claim, "namespace": made.namespace}}]


def volume_at(name: str, class_: str, zone: str, kind: str) -> Manifest:
    expression = {"key": "topology.kubernetes.io/zone", "operator": "In", "values": [zone]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone} if kind == "labels" else {}},
        "spec": {
            "accessModes": ["ReadWriteMany"],
            "capacity": {"storage": "2Gi"},
            "storageClassName": class_,
            "hostPath": {"path": f"/tmp/{name}"},
            **({} if kind == "labels" else {"nodeAffinity": affinity}),
        },
    }


def _quota(random: Random, made: Situation) -> None:
    """In a namespace of its own."""
    _own_namespace(made)
    hard = random.choice(
        (
            {"pods": str(random.randint(1, 4))},
            {"requests.nvidia.com/gpu": str(random.choice((4, 8, 16, 32)))},
            {"requests.cpu": random.choice(("250m", "40", "400")), "count/pods": "3"},
            {"limits.memory": random.choice(("123M", "1.5Gi", "4Ti"))},
            {"limits.cpu": "1000"},  # refuses pods without a CPU limit, as ours are where nothing gives them one
            {"limits.cpu": random.choice(("150", "400")), "limits.memory": "4Ti"},
            {"memory": random.choice(("100Gi", "3Ti")), "limits.cpu": "1000"},
        )
    )
    spec: Manifest = {"hard": hard}
    if random.random() < 0.3:
        spec["scopes"] = [random.choice(("BestEffort", "NotBestEffort", "Terminating", "NotTerminating"))]
        if spec["scopes"] == ["BestEffort"]:
            spec["hard"] = {"pods": "1"}  # the only thing it can count
        spec["hard"].pop("count/pods", None)  # object counts have no scopes
    elif random.random() < 0.3:
        high = f"{made.name.rpartition('-')[0]}-high"
        rules = ({"operator": "Exists"}, {"operator": "In", "values": [high]}, {"operator": "NotIn", "values": [high]})
        spec["scopeSelector"] = {"matchExpressions": [{"scopeName": "PriorityClass", **random.choice(rules)}]}
        spec["hard"].pop("count/pods", None)
    metadata = {"name": "limit", "namespace": made.name}
    made.rules.append({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec})
