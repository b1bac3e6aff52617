"""Where a job would fit if the scheduler put out pods of a lower priority, and whom. DefaultPreemption of kube-scheduler 1.36.

On each node it takes away all pods of a lower priority, then gives back as many as it can, the important ones first; of the nodes it
takes the one whose most important victim is the least. The pods of a job are alike, so this is counted pod by pod.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from cluster_amounts import Amounts, add
from cluster_nodes import Lower, Machine

from job_fit.place import Placement
from job_fit.rules import PodWants, against, room

Cost = tuple[int, int, int]
"""Of one more pod on a node: the highest priority among its victims, the sum of their priorities, their number."""
NOBODY: Cost = (-(2**31), 0, 0)


@dataclass(frozen=True)
class Preemption:
    placement: Placement
    victims: tuple[Lower, ...]
    """One possible choice: among equals the scheduler makes its own."""


def place_by_preemption(wants: PodWants, count: int, machines: Sequence[Machine]) -> Preemption | None:
    """Of the zones with room for all pods the one where the least important pods must go; None: there is none."""
    zones: dict[str | None, list[Machine]] = defaultdict(list)
    for machine in machines:
        if not against(wants, machine):
            zones[machine.zone].append(machine)
    found = [_in_zone(wants, count, zone, zones[zone]) for zone in sorted(zones, key=str)]
    return min((each for each in found if each), key=lambda each: _cost(each.victims), default=None)


def _in_zone(wants: PodWants, count: int, zone: str | None, machines: list[Machine]) -> Preemption | None:
    rooms = {machine.name: room(wants, _without(machine, machine.lower)) for machine in machines}
    total = sum(rooms.values())
    if total < count:
        return None
    by_name = {machine.name: machine for machine in machines}
    chosen: list[Machine] = []
    taken = dict.fromkeys(by_name, 0)
    queue = [(_next_cost(wants, machine, 0), name) for name, machine in by_name.items() if rooms[name]]
    heapq.heapify(queue)
    while len(chosen) < count:
        _, name = heapq.heappop(queue)
        chosen.append(by_name[name])
        taken[name] += 1
        if taken[name] < rooms[name]:
            heapq.heappush(queue, (_next_cost(wants, by_name[name], taken[name]), name))
    victims = [each for name, pods in taken.items() if pods for each in _victims(wants, by_name[name], pods)]
    placement = Placement(zone, tuple(chosen), True, ((zone or "no zone", total),))
    return Preemption(placement, tuple(sorted(victims, key=lambda each: (-each.priority, each.name))))


def _next_cost(wants: PodWants, machine: Machine, pods: int) -> Cost:
    """Of one more pod there, beside `pods` of the job: what must go for it and has not gone yet."""
    gone = set(_victims(wants, machine, pods)) if pods else set()
    return _cost([each for each in _victims(wants, machine, pods + 1) if each not in gone])


def _victims(wants: PodWants, machine: Machine, pods: int) -> list[Lower]:
    """Whom so many pods of the job put out there; [] where they fit as it is."""
    gone = list(machine.lower)
    for each in sorted(machine.lower, key=lambda each: (-each.priority, each.name)):
        rest = [other for other in gone if other is not each]
        if room(wants, _without(machine, rest)) >= pods:
            gone = rest
    return gone


def _without(machine: Machine, pods: Sequence[Lower]) -> Machine:
    used: Amounts = dict(machine.used)
    for pod in pods:
        add(used, {key: -count for key, count in pod.requests.items()})
    return replace(machine, used=used)


def _cost(victims: Sequence[Lower]) -> Cost:
    if not victims:
        return NOBODY
    return max(each.priority for each in victims), sum(each.priority for each in victims), len(victims)
