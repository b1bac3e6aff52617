"""What a restart brings, by the rule of the root and by what the run had done."""

from __future__ import annotations

import re

from diagnosis.case import Case
from diagnosis.facts import Found, Rank


def restart_of(case: Case, root: Found, rank: Rank) -> str:
    each = root.rule
    if each.id == "efa.missing":
        return "STOP" if rank == "all" else "RESTART_ELSEWHERE"  # all pods ask for the same: then one node lacks it
    if each.id == "memory.gpu":  # on one rank another process may have held the GPU
        return "STOP" if rank == "all" and not case.made_steps else each.restart
    if each.before_steps and not case.made_steps:
        return each.before_steps
    if each.id == "quota.exceeded":
        return "STOP" if _is_hard(root) else each.restart
    return each.restart


def _is_hard(root: Found) -> bool:
    """More is asked for than the quota would give to anybody, or nothing of it is used and it is too little all the same."""
    if {"requested", "used", "limited"} <= root.more.keys():
        asked, limit = _amounts(root.more["requested"]), _amounts(root.more["limited"])
        return any(name in limit and amount > limit[name] for name, amount in asked.items())
    if re.search(r"request > maximum capacity|ExceedsMaxQuota|exceeds? (?:the )?max", root.text):
        return True
    return bool(re.search(r"insufficient quota", root.text)) and "unused" not in root.text


UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1.0}


def _amounts(text: str) -> dict[str, float]:
    found = {}
    for name, number, unit in re.findall(r"([\w./-]+)=(\d+(?:\.\d+)?)(m|[KMGT]i|[kMGT]|)(?=,|\s|$)", text):
        found[name] = float(number) * UNITS[unit]
    return found
