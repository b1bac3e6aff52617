"""Where the pods of a job could go: in one zone, counted machine by machine."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cluster_nodes import Machine
from job_fit.rules import PodWants, against, room, shortages

LAYERS = tuple(f"topology.k8s.aws/network-node-layer-{number}" for number in (1, 2, 3))
"""EC2's network tree, coarse to fine: machines that share layer 3 are the nearest."""


@dataclass(frozen=True)
class Placement:
    """The best zone: `nodes` has a name for each pod in rank order, fewer than wanted where the job does not fit."""

    zone: str | None
    nodes: tuple[Machine, ...]
    fits: bool
    rooms: tuple[tuple[str, int], ...] = ()
    """(zone, pods that fit there), the roomiest first."""


def place(wants: PodWants, count: int, machines: Sequence[Machine]) -> Placement:
    """Of the zones where `count` pods fit the one with the most room: what is left helps at a restart."""
    rooms: dict[str | None, dict[str, int]] = defaultdict(dict)
    by_name = {machine.name: machine for machine in machines}
    for machine in machines:
        if not against(wants, machine) and (slots := room(wants, machine)):
            rooms[machine.zone][machine.name] = slots
    zones = sorted(rooms, key=lambda zone: (-sum(rooms[zone].values()), zone or ""))
    if not zones:
        return Placement(None, (), False)
    zone = zones[0]
    chosen = _spread([by_name[name] for name in rooms[zone]], rooms[zone], count)
    totals = tuple((each or "no zone", sum(rooms[each].values())) for each in zones)
    return Placement(zone, tuple(chosen), len(chosen) == count, totals)


def _spread(machines: list[Machine], rooms: dict[str, int], count: int) -> list[Machine]:
    """One pod a machine first, neighbours in the network next to each other, then a second round."""
    machines.sort(key=lambda machine: (*(machine.labels.get(layer, "") for layer in LAYERS), machine.name))
    chosen: list[Machine] = []
    turn = 0
    while len(chosen) < count:
        usable = [machine for machine in machines if rooms[machine.name] > turn]
        if not usable:
            break
        chosen += usable[: count - len(chosen)]
        turn += 1
    return sorted(chosen, key=machines.index) if turn > 1 else chosen


def reasons(wants: PodWants, machines: Sequence[Machine]) -> list[str]:
    """All that keeps the pod from each machine, counted: what those lack that it could go to comes first, then the most frequent."""
    near, counted = set(), Counter[str]()
    for machine in machines:
        kept, lacking = against(wants, machine), shortages(wants, machine)
        counted.update(kept + lacking)
        near |= set() if kept else set(lacking)
    ordered = sorted(counted, key=lambda reason: (reason not in near, -counted[reason]))
    return [f"{counted[reason]} of {len(machines)} nodes: {reason}" for reason in ordered]
