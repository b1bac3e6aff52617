"""Which rank all others wait for, from who says that it waited and who says nothing.

A rank whose last words are a time-out or a broken connection is a victim. The guilty one is silent, or behind: it enqueued or finished
fewer collectives, or called another one.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from diagnosis.facts import Waited


@dataclass
class Suspicion:
    """Ranks that the others waited for, and why they are suspected."""

    ranks: list[int]
    how: str
    """missing, behind, other-call or stuck-together (all came, and none got on)."""
    witness: Waited | None = None
    witnesses: list[Waited] = field(default_factory=list)


def suspected(waited: list[Waited], silent_victims: set[int], world: int | None, known: set[int]) -> Suspicion | None:
    """`silent_victims`: ranks whose end shows that they waited, without numbers. `known`: all ranks that were seen at all."""
    victims = {each.rank for each in waited} | silent_victims
    if not victims:
        return None
    if found := _other_call(waited):
        return found
    if found := _behind(waited):
        return found
    everyone = set(range(world)) if world else known
    missing = sorted(everyone - victims)
    if missing and len(missing) <= max(1, len(everyone) // 2):
        return Suspicion(missing, "missing", waited[0] if waited else None, waited[:3])
    if not missing and len(everyone) > 1:
        return Suspicion([], "stuck-together", waited[0] if waited else None, waited[:3])
    return None


def _newest(waited: list[Waited]) -> dict[int, Waited]:
    """Of each rank its first word with numbers: later ones are of collectives that were waiting behind it."""
    first: dict[int, Waited] = {}
    for each in waited:
        if each.seq is not None:
            old = first.get(each.rank)
            if old is None or (old.seq or 0) > each.seq:
                first[each.rank] = each
    return first


def _other_call(waited: list[Waited]) -> Suspicion | None:
    """Ranks that wait in a call of the same number, and not all in the same one."""
    first = _newest(waited)
    by_seq: dict[int, list[Waited]] = {}
    for each in first.values():
        by_seq.setdefault(each.seq or 0, []).append(each)
    for rows in by_seq.values():
        if len(rows) >= 2 and len(first) == len(rows):
            calls = Counter((row.op, row.numel) for row in rows)
            if len(calls) > 1:
                usual = calls.most_common(1)[0]
                odd = sorted(row.rank for row in rows if (row.op, row.numel) != usual[0])
                tied = len(calls) == 2 and usual[1] * 2 == len(rows)
                witness = next(row for row in rows if row.rank == odd[0])
                return Suspicion([] if tied and len(rows) > 2 else odd, "other-call", witness, rows[:3])
    return None


def _behind(waited: list[Waited]) -> Suspicion | None:
    """Ranks that had enqueued or finished fewer collectives of a group than its other ranks."""
    first = _newest(waited)
    seqs = {rank: each.seq or 0 for rank, each in first.items()}
    if len(set(seqs.values())) > 1:
        least = min(seqs.values())
        ranks = sorted(rank for rank, seq in seqs.items() if seq == least)
        if len(ranks) * 2 <= len(seqs):
            return Suspicion(ranks, "behind", first[ranks[0]], [first[rank] for rank in ranks[:3]])
    groups: dict[str, dict[int, Waited]] = {}
    for each in waited:
        if each.completed is not None:
            groups.setdefault(each.group, {}).setdefault(each.rank, each)
    for rows in groups.values():
        for key in ("completed", "enqueued"):
            values = {rank: getattr(row, key) for rank, row in rows.items() if getattr(row, key) is not None}
            if len(set(values.values())) > 1:
                least = min(values.values())
                ranks = sorted(rank for rank, value in values.items() if value == least)
                if len(ranks) * 2 <= len(values) and (key == "completed" or max(values.values()) - least >= 1):
                    return Suspicion(ranks, "behind", rows[ranks[0]], [rows[rank] for rank in ranks[:3]])
    return None
