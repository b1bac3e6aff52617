"""GPU, EFA and Neuron: what nodes hand out (allocatable) against what they hold (capacity) and what their type has (the table).

Allocatable is the truth: a plugin's DaemonSet, found by its image, only explains why it is missing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import trainyard_kube as kube
from cluster_amounts import amount
from cluster_health.facts import ABSENT, NO_RESOURCES, NOT_READY, READY, Component, Facts, Workload, component, refused, some
from cluster_read import Node
from trainyard_instances import EFA, TYPE_LABEL, InstanceType, known_type


@dataclass(frozen=True)
class Device:
    name: str
    resources: tuple[str, ...]
    """Names under which it is handed out; the first that a node has counts."""
    image: re.Pattern[str]
    """Of its plugin."""
    needed: bool
    """Without it a node that has the device is of no use; else the job falls back."""


GPU = Device("gpu", ("nvidia.com/gpu",), re.compile(r"nvidia/k8s-device-plugin|(?<!efa-)(?<!neuron-)k8s-device-plugin"), True)
EFA_DEVICE = Device("efa", (EFA,), re.compile(r"aws-efa-k8s-device-plugin"), False)
NEURON_NAMES = ("aws.amazon.com/neuron", "aws.amazon.com/neurondevice", "aws.amazon.com/neuroncore")
NEURON = Device("neuron", NEURON_NAMES, re.compile(r"neuron-device-plugin"), True)


def check_gpu_operator(facts: Facts) -> Component:
    return _device(facts, GPU)


def check_efa_plugin(facts: Facts) -> Component:
    return _device(facts, EFA_DEVICE)


def check_neuron_plugin(facts: Facts) -> Component:
    return _device(facts, NEURON)


def _device(facts: Facts, device: Device) -> Component:
    if isinstance(facts.nodes, kube.ApiError):
        return refused(device.name, facts.nodes)
    counts = [(node.metadata.name, *counted) for node in facts.nodes if (counted := count_devices(node, device))]
    plugin = _plugin(facts.daemon_sets, device)
    if not counts:
        return _without_nodes(device, plugin)
    there, should = sum(free for _, free, _ in counts), sum(full for _, _, full in counts)
    short = [f"{name} {free} of {full}" for name, free, full in counts if free < full]
    summary = f"{there} of {should} {device.name} devices allocatable on {len(counts)} nodes"
    if not short:
        return component(device.name, READY, summary, plugin.told)
    evidence = f"{some(short)}; {plugin.told}"
    fix = f"kubectl describe node {short[0].split()[0]}; fix delete-plugin-pod POD restarts a plugin that does not run"
    if there:
        return component(device.name, READY, summary, evidence, fix, "warn")
    state = NOT_READY if plugin.found else ABSENT
    fix = fix if plugin.found else f"install the {device.name} device plugin"
    return component(device.name, state, summary, evidence, fix, "fail" if device.needed or plugin.found else "warn")


def count_devices(node: Node, device: Device) -> tuple[int, int] | None:
    """(allocatable, what it should be); None: a node without such a device, by its type and its own word."""
    allocatable, capacity = node.status.allocatable or {}, node.status.capacity or {}
    if device is GPU and (slices := [name for name in capacity if name.startswith("nvidia.com/mig-")]):
        return sum(amount(name, allocatable.get(name, "0")) for name in slices), sum(
            amount(name, capacity[name]) for name in slices
        )
    resource = next((name for name in device.resources if name in capacity), device.resources[0])
    kind = known_type((node.metadata.labels or {}).get(TYPE_LABEL))
    full = max(amount(resource, capacity.get(resource, "0")), _by_table(kind, device, resource))
    return (amount(resource, allocatable.get(resource, "0")), full) if full else None


def _by_table(kind: InstanceType | None, device: Device, resource: str) -> int:
    if kind is None:
        return 0
    if device is EFA_DEVICE:
        return kind.efa
    if kind.kind != ("neuron" if device is NEURON else "nvidia"):
        return 0
    return kind.accelerators * (kind.cores if resource.endswith("neuroncore") else 1)


@dataclass(frozen=True)
class Plugin:
    found: bool
    ready: bool
    told: str


def _plugin(daemon_sets: list[Workload] | kube.ApiError, device: Device) -> Plugin:
    if isinstance(daemon_sets, kube.ApiError):
        return Plugin(False, False, "DaemonSets may not be listed")
    found = [each for each in daemon_sets if any(device.image.search(image) for image in each.images)]
    told = [f"{each.told} {each.status.number_ready} of {each.status.desired_number_scheduled} ready" for each in found]
    ready = all(each.status.number_ready >= each.status.desired_number_scheduled for each in found)
    return Plugin(bool(found), ready, f"plugin: {some(told)}" if found else "no DaemonSet of a plugin")


def _without_nodes(device: Device, plugin: Plugin) -> Component:
    if not plugin.found:
        return component(device.name, ABSENT, f"no node has {device.name} devices", plugin.told)
    summary = f"the {device.name} plugin is there, no node has such devices"
    if plugin.ready:
        return component(device.name, NO_RESOURCES, summary, plugin.told, "add nodes, or start the node group", "warn")
    return component(device.name, NOT_READY, summary, plugin.told, "kubectl describe the DaemonSet")
