"""The namespace's LimitRanges: what they fill into pods, and which pods they refuse. LimitRanger of kube-apiserver 1.36, pure.

A default limit goes into every container that names none. Of a container that asks for more the pod is then refused, by validation
and without a word of the LimitRange: no pod is made, and nobody sees why.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import trainyard_kube as kube
from cluster_amounts import Amounts, amounts, highest, written

from job_fit.made import Container, MadePod


@dataclass(frozen=True)
class Refusal:
    """Why no such pod is made, and the keys of the job file that change it."""

    why: str
    cure: str


@dataclass(frozen=True)
class Admitted:
    """The pods with what the LimitRanges fill in, and what they have against them."""

    pods: list[MadePod]
    refusals: list[Refusal]

    def requests(self) -> Amounts:
        """What one pod that trains takes of its node: the largest of them. Ray's submitter shares a node with one."""
        most: Amounts = {}
        for pod in self.pods:
            if pod.role != "submitter":
                most = highest(most, pod.requests())
        return most


def admit(pods: Sequence[MadePod], ranges: Sequence[kube.Object]) -> Admitted:
    """Where LimitRanges name different defaults, the pods are refused that one of their orders refuses, and count as the most."""
    ways: list[list[MadePod]] = []
    found: list[Refusal] = []
    for order in _orders(ranges):
        made = [replace(pod, containers=tuple(_filled(each, order) for each in pod.containers)) for pod in pods]
        found += [refusal for pod in made for refusal in _refusals(pod, order)]
        ways.append(made)
    return Admitted([_most(same) for same in zip(*ways, strict=True)], list(dict.fromkeys(found)))


PARTS = ("default", "defaultRequest")
MANY = 4
"""LimitRanges of one namespace of which every order is tried; of more, each comes first once."""


def _orders(ranges: Sequence[kube.Object]) -> list[Sequence[kube.Object]]:
    """LimitRanger takes the first default that it comes to, and goes through them in another order for each pod (measured: of two
    pods made at once one was given `max`, the other was refused for the default of the second)."""
    named = [(part, key, count) for one in ranges for part in PARTS for key, count in _defaults(one, part).items()]
    if len({(part, key) for part, key, _ in named}) == len(set(named)):
        return [ranges]
    if len(ranges) <= MANY:
        return list(permutations(ranges))
    return [[first, *(one for one in ranges if one is not first)] for first in ranges]


def _most(same: Sequence[MadePod]) -> MadePod:
    """One pod as each order would have filled it: the most of each amount."""
    first, *others = same
    for other in others:
        both = zip(first.containers, other.containers, strict=True)
        containers = [replace(a, limits=highest(a.limits, b.limits), requests=highest(a.requests, b.requests)) for a, b in both]
        first = replace(first, containers=tuple(containers))
    return first


def _filled(container: Container, ranges: Sequence[kube.Object]) -> Container:
    """What is given counts; else the first that names a default."""
    limits, requests = dict(container.limits), dict(container.requests)
    for one in ranges:
        limits |= {key: count for key, count in _defaults(one, "default").items() if key not in limits}
        requests |= {key: count for key, count in _defaults(one, "defaultRequest").items() if key not in requests}
    return replace(container, limits=limits, requests=requests)


def _defaults(one: kube.Object, part: str) -> Amounts:
    """The API server has put `max` and `min` in as defaults where none are named."""
    found: Amounts = {}
    for item in one["spec"].get("limits") or []:
        if item.get("type") == "Container":
            found |= amounts(item.get(part))
    return found


def _refusals(pod: MadePod, ranges: Sequence[kube.Object]) -> Iterator[Refusal]:
    for container in pod.containers:
        for key in sorted(container.requests.keys() & container.limits.keys()):
            if container.requests[key] > container.limits[key]:
                yield _above_its_limit(container, key, ranges)
    for one in ranges:
        for item in one["spec"].get("limits") or []:
            if item.get("type") == "Container":
                for container in pod.containers:
                    yield from _against(kube.name(one), item, container, f"container {container.name}")
            elif item.get("type") == "Pod":
                whole = Container(pod.role, pod.requests(), pod.limits())
                yield from _against(kube.name(one), item, whole, f"pod ({pod.role})")


def _above_its_limit(container: Container, key: str, ranges: Sequence[kube.Object]) -> Refusal:
    asked, limit = written(key, container.requests[key]), written(key, container.limits[key])
    naming = [one for one in ranges if key in _defaults(one, "default")]
    whose = f"LimitRange {kube.name(naming[0])}: its default" if naming else "its own"
    if len({_defaults(one, "default")[key] for one in naming}) > 1:
        whose = f"{whose} (which of {len(naming)} LimitRanges gives a pod its default changes from pod to pod)"
    cure = f'resources: {{limits: {{{key}: "{asked}"}}}}' if container.is_ours else NOT_OURS
    return Refusal(f"{whose} {key} limit of {limit} is less than the {asked} of container {container.name}", cure)


NOT_OURS = "the operator puts that container in: ask who keeps the LimitRange"


def _against(name: str, item: kube.Object, one: Container, where: str) -> Iterator[Refusal]:
    """What one item of a LimitRange has against a container, or a pod as a whole."""
    for key, least in amounts(item.get("min")).items():
        if (low := _least(one, key)) is None or low < least:
            told = "it asks for none" if low is None else f"it has {written(key, low)}"
            cure = f"resources: {{{key}: at least {written(key, least)}}}"
            yield _refused(name, f"at least {written(key, least)} {key} a {item['type'].lower()}", where, told, one, cure)
    for key, most in amounts(item.get("max")).items():
        limit = one.limits.get(key)
        if limit is None or max(limit, one.requests.get(key, 0)) > most:
            told = "it has no limit" if limit is None else f"its limit is {written(key, limit)}"
            cure = f"resources: {{limits: {{{key}: at most {written(key, most)}}}}}, and resources.{key} no more than that"
            yield _refused(name, f"at most {written(key, most)} {key} a {item['type'].lower()}", where, told, one, cure)
    for key, text in (item.get("maxLimitRequestRatio") or {}).items():
        limit, asked = one.limits.get(key), one.requests.get(key)
        ratio = amounts({"cpu": str(text)})["cpu"] / 1000  # in thousandths, whatever the resource
        if not limit or not asked or limit / asked > ratio:
            told = f"it has {written(key, limit or 0)} and {written(key, asked or 0)}"
            cure = f"resources.limits.{key} at most {ratio:g} times resources.{key}"
            yield _refused(name, f"a {key} limit of at most {ratio:g} times the request", where, told, one, cure)


def _least(one: Container, key: str) -> int | None:
    """The lower of request and limit; None: it asks for none."""
    return min(one.requests[key], one.limits.get(key, one.requests[key])) if key in one.requests else None


def _refused(name: str, rule: str, where: str, told: str, one: Container, cure: str) -> Refusal:
    return Refusal(f"LimitRange {name}: {rule}; {where}: {told}", cure if one.is_ours else NOT_OURS)
