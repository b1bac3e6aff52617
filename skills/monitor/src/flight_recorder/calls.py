"""The dumps of all ranks side by side: who is in which group, who called what, and who waits for whom."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Set

from flight_recorder.dump import Dump, Entry

ALIKE = ("all_reduce", "allreduce", "broadcast", "all_gather_base", "allgather_base", "reduce_scatter_base", "barrier")
"""Collectives that want the same sizes on every rank. A gather's differ by nature, those of all_to_all may."""
TOGETHER = ("all_reduce", "allreduce", "all_gather", "allgather", "reduce_scatter", "barrier", "all_to_all", "alltoall")
"""Collectives that no rank completes before every other one has called them. A broadcast's source may."""
DEFAULT = "default_pg"


def differing(met: Mapping[int, Entry]) -> dict[str, list[int]]:
    """What was called -> ranks, of one collective; several keys where the calls do not fit together."""
    names: dict[str, list[int]] = {}
    for rank, entry in met.items():
        names.setdefault(entry.op, []).append(rank)
    if len(names) > 1 or not all(_wants_alike(entry.op) for entry in met.values()):
        return names
    shapes: dict[str, list[int]] = {}
    for rank, entry in met.items():
        shapes.setdefault(f"{entry.op} of {entry.shape}", []).append(rank)
    return shapes


def _wants_alike(op: str) -> bool:
    backend, _, name = op.partition(":")
    return name.strip("_").startswith((*ALIKE, *(("all_gather", "allgather") if backend == "gloo" else ())))


class Calls:
    def __init__(self, dumps: Mapping[int, Dump], named: Set[int] = frozenset()) -> None:
        self.dumps, self._named = dumps, named
        self._by_place: dict[tuple[str, int], dict[int, Entry]] = {}
        self._last: dict[tuple[int, str], int] = {}
        self.pipelines: set[str] = set()
        """Groups with sends and receives: their collectives say little."""
        for rank, dump in dumps.items():
            for entry in dump.entries:
                if entry.is_p2p:
                    self.pipelines.add(entry.group)
                    continue
                self._by_place.setdefault((entry.group, entry.seq), {})[rank] = entry
                self._last[rank, entry.group] = max(entry.seq, self._last.get((rank, entry.group), -1))
            for name, seq in dump.enqueued.items():
                self._last[rank, name] = max(seq, self._last.get((rank, name), -1))

    @functools.cached_property
    def world(self) -> frozenset[int]:
        """Every rank that anybody names; ranks are counted from 0 without a gap."""
        sizes = [dump.world_size for dump in self.dumps.values() if dump.world_size]
        named = {rank for dump in self.dumps.values() for ranks in dump.groups.values() for rank in ranks}
        return frozenset(
            {
                *self.dumps,
                *named,
                *self._named,
                *range(min(max([*sizes, *(rank + 1 for rank in self.dumps)], default=0), 100_000)),
            }
        )

    @property
    def absent(self) -> tuple[int, ...]:
        return tuple(sorted(self.world - self.dumps.keys()))

    @functools.cache  # noqa: B019 - it lives as long as one verdict
    def members(self, group: str) -> frozenset[int]:
        """Of the group: as its dumps say, else who has called something in it."""
        said = {dump.groups[group] for dump in self.dumps.values() if group in dump.groups}
        if said:
            return frozenset().union(*said)
        entries = {rank: entry for (name, _), met in self._by_place.items() if name == group for rank, entry in met.items()}
        is_whole = any(entry.desc == DEFAULT for entry in entries.values())
        return self.world if is_whole else frozenset(entries)

    def met(self, group: str, seq: int) -> dict[int, Entry]:
        return self._by_place.get((group, seq), {})

    def open_ones(self) -> Iterator[tuple[str, int]]:
        """Collectives in which somebody waits, the oldest first."""
        places = [(place, met) for place, met in self._by_place.items() if any(entry.is_open for entry in met.values())]
        for place, _ in sorted(places, key=lambda each: min(entry.created_s for entry in each[1].values())):
            yield place

    def has_called(self, rank: int, group: str, seq: int) -> bool:
        return rank in self.met(group, seq) or self._last.get((rank, group), -1) >= seq

    def waits(self) -> dict[int, set[int]]:
        """Rank -> those that have not come to a collective in which it waits. A rank whose dump is missing may have come."""
        found: dict[int, set[int]] = {}
        for group, seq in self.open_ones():
            if group in self.pipelines:
                continue
            missing = {rank for rank in self.members(group) if not self.has_called(rank, group, seq)}
            for rank, entry in self.met(group, seq).items():
                if entry.is_open and missing - {rank}:
                    found.setdefault(rank, set()).update(missing - {rank})
        return found

    def waits_for_unknown(self, rank: int) -> bool:
        """Whether it waits in a collective itself, though for whom is not told: a gloo group names its ranks in the runtime's dumps alone."""
        return rank in self.dumps and any(entry.op.startswith("gloo:") for entry in self.dumps[rank].open)

    def blocked(self, absent: set[int], guilty: set[int]) -> bool:
        """Whether somebody waits for a rank without a dump, and for no other one that is guilty."""
        others = guilty - absent
        return any(missing & absent and not missing & others for missing in self.waits().values())

    def moves(self) -> bool:
        """Whether a rank has completed what another one, by its own dump, has not called yet: then these are dumps of two moments."""
        for (group, seq), met in self._by_place.items():
            done = [entry for entry in met.values() if not entry.is_open]
            if group in self.pipelines or not done or not done[0].op.partition(":")[2].strip("_").startswith(TOGETHER):
                continue
            if any(rank in self.dumps and self._is_before(rank, group, seq) for rank in self.members(group)):
                return True
        return False

    def _is_before(self, rank: int, group: str, seq: int) -> bool:
        """By its own count, and not because its buffer holds less."""
        return self.dumps[rank].enqueued.get(group, seq) < seq

    def all_on_gpus(self) -> bool:
        """Whether every rank has called something that its GPU has not done."""
        return all(dump.open and all(entry.op.startswith("nccl:") for entry in dump.open) for dump in self.dumps.values())

    def behind(self) -> set[int]:
        """Ranks that have completed fewer collectives of a group than another of its ranks; groups with pipelines are left out."""
        counts: dict[str, dict[int, int]] = {}
        for rank, dump in self.dumps.items():
            for group, count in dump.completed.items():
                if group not in self.pipelines:
                    counts.setdefault(group, {})[rank] = count
        return {rank for each in counts.values() for rank, count in each.items() if count < max(each.values())}
