"""Resource quantities as the scheduler counts them: whole numbers, CPU in thousandths, all rounded up.

kube-scheduler, framework/types.go Resource: cpu by MilliValue(), everything else by Value(), both of which round up.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping

import trainyard_shell as shell
from cluster_read import Container, PodSpec

Amounts = dict[str, int]
POD_LEVEL = ("cpu", "memory", "hugepages-")
"""What spec.resources of a pod may set over the sum of its containers."""


@functools.lru_cache(maxsize=4096)
def amount(resource: str, text: str) -> int:
    """`text` of `resource`: thousandths of a CPU, bytes, pieces. Raises SkillError usage where it is no quantity."""
    from kubernetes.utils.quantity import parse_quantity

    try:
        rounded_up: int = math.ceil(parse_quantity(text) * (1000 if resource == "cpu" else 1))
    except (ValueError, ArithmeticError) as error:  # Decimal's NaN and Infinity are no whole numbers
        message = f"{shell.clean(str(text), 40)!r} is no quantity of {resource}"
        raise shell.SkillError("usage", message, hint="as Kubernetes writes them: 500m, 2, 1.5Gi, 64Gi") from error
    return rounded_up


def amounts(quantities: Mapping[str, str] | None) -> Amounts:
    return {resource: amount(resource, text) for resource, text in (quantities or {}).items()}


def add(total: Amounts, more: Mapping[str, int]) -> None:
    for resource, count in more.items():
        total[resource] = total.get(resource, 0) + count


def highest(first: Mapping[str, int], second: Mapping[str, int]) -> Amounts:
    return {key: max(first.get(key, 0), second.get(key, 0)) for key in {**first, **second}}


def pod_requests(spec: PodSpec) -> Amounts:
    """What a pod takes of its node: sidecars run beside everything, other init containers one after the other before."""
    running = _total(spec.containers)
    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.init_containers or []:
        own = amounts(container.resources.requests)
        if container.restart_policy == "Always":
            add(sidecars, own)
            peak = highest(peak, sidecars)
        else:
            at_once = dict(sidecars)
            add(at_once, own)
            peak = highest(peak, at_once)
    add(running, sidecars)
    needed = highest(running, peak)
    if spec.resources:
        needed.update({key: count for key, count in amounts(spec.resources.requests).items() if key.startswith(POD_LEVEL)})
    add(needed, amounts(spec.overhead))
    return needed


def _total(containers: Iterable[Container]) -> Amounts:
    total: Amounts = {}
    for container in containers:
        add(total, amounts(container.resources.requests))
    return total


def written(resource: str, count: int) -> str:
    """A quantity for people and manifests: `7500m`, `64Gi`, `8`."""
    if resource == "cpu":
        return f"{count}m" if count % 1000 else str(count // 1000)
    if resource in ("memory", "ephemeral-storage"):
        for unit, size in (("Gi", 1 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)):
            if count and count % size == 0:
                return f"{count // size}{unit}"
    return str(count)
