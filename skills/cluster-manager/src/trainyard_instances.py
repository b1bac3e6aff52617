"""What an instance type has: assets/instance-types.yaml. A type that is not in it is an error that names it.

`make kit` copies this file into the src/ of each skill that uses it, and instance-types.yaml beside it into their assets/; edit them in skills/kit/ only.
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell

TABLE = Path(__file__).resolve().parent.parent / "assets" / "instance-types.yaml"
PRICE_OF, PRICE_DATE = "EC2 on demand, us-east-1", "2026-07-20"
"""What usd_per_hour of the table is; HyperPod's rates are about 20 % higher."""
DEVICES = {"nvidia": "nvidia.com/gpu", "neuron": "aws.amazon.com/neuron"}
EFA = "vpc.amazonaws.com/efa"
TYPE_LABEL = "node.kubernetes.io/instance-type"
ZONE_LABEL = "topology.kubernetes.io/zone"


@dataclass(frozen=True, kw_only=True)
class InstanceType:
    """One row of the table; its fields are told at the head of the YAML file."""

    name: str
    accelerator: str
    kind: str
    accelerators: int
    gb_each: int
    efa: int
    gdr: bool | None
    gbps: int
    vcpu: int
    memory_gib: int
    usd_per_hour: float | None
    cores: int = 1

    @property
    def resource(self) -> str:
        """Kubernetes' name of the devices."""
        return DEVICES[self.kind]

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]


@functools.cache
def table() -> dict[str, InstanceType]:
    import yaml

    rows: dict[str, dict[str, Any]] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return {name: InstanceType(name=name, **row) for name, row in rows.items()}


def get_instance_type(name: str) -> InstanceType:
    """`name` with or without `ml.`. Raises SkillError usage, with the nearest known types."""
    known = table()
    bare = name.removeprefix("ml.")
    if bare in known:
        return known[bare]
    near = difflib.get_close_matches(bare, known, n=3, cutoff=0.5) or sorted(known)
    message = f"no instance type {shell.clean(name, 60)!r} in the table of types with accelerators"
    raise shell.SkillError("usage", message, hint=f"the nearest known: {', '.join(near)}")


def known_type(name: str | None) -> InstanceType | None:
    """For nodes, which may be of any type: None where the table has no row."""
    return table().get((name or "").removeprefix("ml."))
