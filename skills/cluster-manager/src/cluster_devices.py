"""The accelerators and EFA interfaces of one node, each resource as what it is: whole devices, slices of them, or shared ones.

A node tells of its GPUs by resources and, where NVIDIA's feature discovery runs, by labels (NVIDIA/k8s-device-plugin, internal/lm):
`gpu.count`, `gpu.replicas`, `gpu.sharing-strategy`, and `gpu.product`, which ends in -SHARED where a GPU is handed out several times
and names a profile behind -MIG- where `nvidia.com/gpu` stands for slices.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cluster_amounts import Amounts
from trainyard_instances import EFA, TYPE_LABEL, InstanceType, known_type

GPU, NEURON = "nvidia.com/gpu", "aws.amazon.com/neuron"
NEURON_NAMES = (NEURON, f"{NEURON}device", f"{NEURON}core")
"""The same devices under three names: the first that a node has counts."""
WHOLE, SLICE, SHARED = "whole", "slice", "shared"
GPUS = re.compile(r"nvidia\.com/(?!hostdev|mlnx|rdma|roce|ib)[\w.-]+|amd\.com/\w+|habana\.ai/gaudi")
"""Plugins can give them any name; NVIDIA's network operator has resources there too."""
AMD_SLICE = re.compile(r"amd\.com/(\wpx_nps\d)")
MIG = re.compile(r"(?:\d+c\.)?(\d)g\.(\d+)gb.*")
MIG_SLICES = 7
"""Of compute that an NVIDIA GPU can be cut into: 3g.20gb takes three of them."""
ROUNDED = 1.05
"""A profile's gigabytes are rounded up: two of 71gb are cut from the 141 of an H200."""
MAX_DIGITS = 6


@dataclass(frozen=True)
class Devices:
    """One resource of one node."""

    resource: str
    kind: str
    """whole, slice or shared: only the first is its pod's alone."""
    offered: int
    """Allocatable: what pods can have."""
    held: int
    """Capacity: what the plugin has told of, healthy or not."""
    due: int
    """What should be there: `held`, and what only the node's type or labels tell of."""
    behind: int = 0
    """GPUs, or slices, behind `held`; 0: nobody says."""
    profile: str = ""
    """Of slices: 1g.5gb."""
    strategy: str = ""
    """Of shared ones: time-slicing or mps, where the node says."""

    @property
    def family(self) -> str:
        return "efa" if self.resource == EFA else "neuron" if self.resource in NEURON_NAMES else "gpu"

    @property
    def called(self) -> str:
        """`nvidia.com/gpu`, `nvidia.com/mig-1g.5gb`, `nvidia.com/gpu (8 GPUs shared by time-slicing)`."""
        if self.kind == SHARED:
            devices = f"{self.behind} {'slices' if self.profile else 'GPUs'} " if self.behind else ""
            return f"{self.resource} ({devices}shared{f' by {self.strategy}' if self.strategy else ''})"
        return f"{GPU} (slices {self.profile})" if self.kind == SLICE and self.resource == GPU else self.resource


def is_accelerator(resource: str) -> bool:
    return resource in NEURON_NAMES or GPUS.fullmatch(resource) is not None


def devices_of(labels: Mapping[str, str], allocatable: Amounts, capacity: Amounts) -> list[Devices]:
    """What a node should have and does not tell of is there too, with nothing offered."""
    there = {name: max(allocatable.get(name, 0), capacity.get(name, 0)) for name in {**capacity, **allocatable}}
    kind = known_type(labels.get(TYPE_LABEL))
    neuron = next((name for name in NEURON_NAMES if name in there), NEURON)
    cores = kind.cores if kind and neuron.endswith("core") else 1
    chips = kind.accelerators * cores if kind and kind.kind == "neuron" else 0
    return [
        *_gpus(labels, allocatable, there, kind),
        *_plain(neuron, allocatable, there, chips),
        *_plain(EFA, allocatable, there, kind.efa if kind else 0),
    ]


def _plain(resource: str, allocatable: Amounts, there: Amounts, due: int) -> list[Devices]:
    held = there.get(resource, 0)
    due = max(held, due)
    return [Devices(resource, WHOLE, allocatable.get(resource, 0), held, due, held)] if due else []


# --- GPUs --------------------------------------------------------------------------------------------------------


def _gpus(labels: Mapping[str, str], allocatable: Amounts, there: Amounts, kind: InstanceType | None) -> list[Devices]:
    has = _in_the_machine(labels, kind)
    names = [name for name, held in there.items() if held and GPUS.fullmatch(name)]
    found = [_resource(name, labels, allocatable.get(name, 0), there[name], has) for name in names]
    told = sum(each.behind for each in found if not each.profile) + _gpus_cut([each for each in found if each.profile], kind)
    if has > told:
        found = _with_missing(found, has - told)
    return sorted(found, key=lambda each: (each.kind != WHOLE, each.resource))


def _in_the_machine(labels: Mapping[str, str], kind: InstanceType | None) -> int:
    """How many GPUs it has, by its type, else by its labels; 0: nobody says. With MIG's strategy `single` the label counts slices."""
    if kind is not None:
        return kind.accelerators if kind.kind == "nvidia" else 0
    if "-MIG-" in labels.get(f"{GPU}.product", ""):
        return 0
    return _number(labels.get(f"{GPU}.count")) or int(labels.get(f"{GPU}.present") == "true")


def _resource(name: str, labels: Mapping[str, str], offered: int, held: int, has: int) -> Devices:
    base = name.removesuffix(".shared")
    product, strategy = labels.get(f"{base}.product", ""), labels.get(f"{base}.sharing-strategy", "none")
    profile = _profile(base, product)
    devices = _number(labels.get(f"{base}.count")) if profile else has
    replicas = _number(labels.get(f"{base}.replicas"))
    shared = replicas > 1 or name != base or strategy != "none" or product.endswith("-SHARED")
    if not shared and (profile or not has or held <= has):
        return Devices(name, SLICE if profile else WHOLE, offered, held, held, held, profile)
    if replicas < 2:  # no label says how often; or none that it is shared, and there are more than the machine has
        replicas = math.ceil(held / devices) if devices else 0
    # Each device is handed out as often as the next: a remainder is one of which replicas are missing.
    behind = math.ceil(held / replicas) if replicas else 0
    strategy = "" if strategy == "none" else strategy
    return Devices(name, SHARED, offered, held, max(held, behind * replicas), behind, profile, strategy)


def _profile(base: str, product: str) -> str:
    """1g.10gb of nvidia.com/mig-1g.10gb, or of a product NVIDIA-H100-80GB-HBM3-MIG-1g.10gb; empty: these are no slices."""
    if amd := AMD_SLICE.fullmatch(base):
        return amd[1]
    return base.partition("/mig-")[2] or product.removesuffix("-SHARED").partition("-MIG-")[2]


def _gpus_cut(slices: Sequence[Devices], kind: InstanceType | None) -> int:
    """The fewest GPUs that these slices were cut from; of one profile as many as a GPU gives, of several by their parts of one."""
    gb = kind.gb_each * ROUNDED if kind else math.inf
    sizes = [(each.behind, int(size[1]), int(size[2])) for each in slices if (size := MIG.fullmatch(each.profile))]
    if len(sizes) == 1:
        count, compute, memory = sizes[0]
        return math.ceil(count / max(1, min(MIG_SLICES // max(1, compute), math.floor(gb / memory) if kind else MIG_SLICES)))
    by_compute = sum(count * compute for count, compute, _ in sizes) / MIG_SLICES
    return math.ceil(max(by_compute, sum(count * memory for count, _, memory in sizes) / gb))


def _with_missing(found: list[Devices], missing: int) -> list[Devices]:
    """GPUs of which no resource tells: of the whole ones, or where all are shared of those, else of whole ones that should be there."""
    of_gpus = [each for each in found if not each.profile]
    if not of_gpus:
        return [*found, Devices(GPU, WHOLE, 0, 0, missing)]
    one = min(of_gpus, key=lambda each: each.kind != WHOLE)
    replicas = one.due // one.behind if one.behind else 1
    return [replace(each, due=each.due + missing * replicas) if each is one else each for each in found]


def _number(text: str | None) -> int:
    """Of a label; 0 where it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < MAX_DIGITS else 0
