"""GPU, EFA and Neuron: what nodes hand out (allocatable) against what they hold (capacity) and what their type has (the table).

Allocatable is the truth: a plugin's DaemonSet, found by its image, only explains why it is missing. Each resource of each node is
judged by itself: healthy slices say nothing of the whole GPUs beside them.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import trainyard_kube as kube
from cluster_amounts import amounts
from cluster_devices import SHARED, Devices, devices_of
from cluster_health.facts import ABSENT, NO_RESOURCES, NOT_READY, READY, Component, Facts, Workload, component, refused, some
from cluster_nodes import is_ready
from cluster_read import Node
from trainyard_instances import TYPE_LABEL


@dataclass(frozen=True)
class Device:
    name: str
    image: re.Pattern[str]
    """Of its plugin."""
    needed: bool
    """Without it a node that has the device is of no use; else the job falls back."""


GPU = Device("gpu", re.compile(r"nvidia/k8s-device-plugin|(?<!efa-)(?<!neuron-)k8s-device-plugin"), True)
EFA_DEVICE = Device("efa", re.compile(r"aws-efa-k8s-device-plugin"), False)
NEURON = Device("neuron", re.compile(r"neuron-device-plugin"), True)


def check_gpu_operator(facts: Facts) -> Component:
    return _device(facts, GPU)


def check_efa_plugin(facts: Facts) -> Component:
    return _device(facts, EFA_DEVICE)


def check_neuron_plugin(facts: Facts) -> Component:
    return _device(facts, NEURON)


@dataclass(frozen=True)
class Row:
    """One resource of one node."""

    node: str
    takes_pods: bool
    instance_type: str
    devices: Devices

    @property
    def is_short(self) -> bool:
        return self.devices.offered < self.devices.due

    @property
    def is_dead(self) -> bool:
        """The plugin has told of devices, and none of them is healthy. A node that takes no pods is named by the nodes' check."""
        return self.takes_pods and self.devices.held > 0 and self.devices.offered == 0

    @property
    def told(self) -> str:
        each = self.devices
        unseen = f", {each.held} reported" if each.held < each.due else ""
        return f"{self.node} {each.offered} of {each.due} {each.called}{unseen}"


def rows_of(nodes: Sequence[Node], device: Device) -> list[Row]:
    rows = []
    for node in nodes:
        labels, takes_pods = node.metadata.labels or {}, is_ready(node.status.conditions) and not node.spec.unschedulable
        found = devices_of(labels, amounts(node.status.allocatable), amounts(node.status.capacity))
        kind = labels.get(TYPE_LABEL, "-")
        rows += [Row(node.metadata.name, takes_pods, kind, each) for each in found if each.family == device.name]
    return rows


def _device(facts: Facts, device: Device) -> Component:
    if isinstance(facts.nodes, kube.ApiError):
        return refused(device.name, facts.nodes)
    rows, plugin = rows_of(facts.nodes, device), _plugin(facts.daemon_sets, device)
    if not rows:
        return _without_nodes(device, plugin)
    summary = f"{_totals(rows)} allocatable on {len({row.node for row in rows})} nodes"
    short = sorted((row for row in rows if row.is_short), key=lambda row: not row.is_dead)
    shared = [f"{row.node} shares its GPUs as {row.devices.resource}" for row in rows if row.devices.kind == SHARED]
    evidence = "; ".join([*([some([row.told for row in short])] if short else []), *shared[:3], plugin.told])
    if not short:
        return component(device.name, READY, summary, evidence)
    state = READY if any(row.devices.offered for row in rows) else NOT_READY if plugin.found else ABSENT
    return component(device.name, state, summary, evidence, _fix(device, plugin, rows, short[0]), _status(device, plugin, rows))


def _totals(rows: Sequence[Row]) -> str:
    """`72 of 76 nvidia.com/gpu, 28 of 28 nvidia.com/mig-1g.5gb`: each resource by itself, and shared ones apart from whole ones."""
    groups: dict[tuple[str, str, str], list[Devices]] = defaultdict(list)
    for row in rows:
        groups[row.devices.resource, row.devices.kind, row.devices.profile].append(row.devices)
    return ", ".join(map(_total, groups.values()))


def _total(group: Sequence[Devices]) -> str:
    whole = replace(group[0], behind=sum(each.behind for each in group), strategy="")
    return f"{sum(each.offered for each in group)} of {sum(each.due for each in group)} {whole.called}"


def _status(device: Device, plugin: Plugin, rows: Sequence[Row]) -> str:
    """Where no node of a type offers any, or one has nothing but unhealthy devices, waiting does not help."""
    if not any(row.devices.offered for row in rows):
        return "fail" if device.needed or plugin.found else "warn"
    offered: Counter[str] = Counter()
    for row in rows:
        if row.takes_pods:
            offered[row.instance_type] += row.devices.offered
    return "fail" if any(row.is_dead for row in rows) or (device.needed and 0 in offered.values()) else "warn"


def _fix(device: Device, plugin: Plugin, rows: Sequence[Row], worst: Row) -> str:
    look = f"kubectl describe node {worst.node}"
    if plugin.found and not plugin.ready:
        return f"{look}; manage_cluster.py fix delete-plugin-pod POD restarts a plugin that does not run"
    if not plugin.found and not any(row.devices.offered for row in rows):
        return f"install the {device.name} device plugin"
    return f"{look}; devices that stay unhealthy or unseen: drain the node, reboot or replace it (manage_hyperpod.py health)"


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
