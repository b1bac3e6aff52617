"""How much a finding weighs as the root: what ended a process or stands at a log's end before all else, then by its rule's depth."""

from __future__ import annotations

import re

from diagnosis.case import Case
from diagnosis.facts import Found

NEAR_END_BYTES = 24 << 10
FIRST_BONUS = 3
CLUSTER = re.compile(r"pods/[^/]+/pod\.json$|events\.json$|nodes/|objects/")


def weight(case: Case, each: Found, first: set[int]) -> tuple[int, float, int, float]:
    tier = 2 if each.uncaught or of_cluster(each) or near_end(case, each) else 1
    depth = each.rule.depth + (FIRST_BONUS if each.rank in first else 0)
    return tier, depth, 1 if each.uncaught else 0, -(each.time or 0.0) if each.time else -float(each.offset or 0)


def of_cluster(each: Found) -> bool:
    """Said by Kubernetes itself, not by a log."""
    return CLUSTER.match(each.source.name) is not None


def near_end(case: Case, each: Found) -> bool:
    path = each.source.path
    try:
        return path is not None and each.offset is not None and path.stat().st_size - each.offset < NEAR_END_BYTES
    except OSError:
        return False


def is_beside(each: Found) -> bool:
    """A container beside the training, such as a proxy or an init container: its own log proves nothing about the training."""
    return each.source.beside and not each.source.name.endswith("pod.json")
