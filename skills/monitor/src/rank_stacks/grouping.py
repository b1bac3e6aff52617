"""Ranks with the same stack are one line; those that differ from most come first, with the parallel group that they share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from rank_stacks.reading import Frame, Stack


@dataclass(frozen=True)
class Group:
    ranks: tuple[int, ...]
    doing: str
    """waits, spins, works, stopped, ...: see states.py."""
    stack: Stack
    """Of the first of them, main thread."""
    is_outlier: bool

    @property
    def where(self) -> str:
        """The script's own line; without one the innermost frame."""
        frame = next((frame for frame in self.stack if frame.is_the_scripts), self.stack[0] if self.stack else None)
        return str(frame) if frame else ""


def grouped(stacks: Mapping[int, Stack], doing: Mapping[int, str]) -> list[Group]:
    """Outliers first, then by size. `doing`: of every rank; one without a stack is grouped by that alone."""
    keys = {
        rank: (doing[rank] if doing[rank] in ("stopped", "gone", "zombie", "traced") else "", _key(stacks.get(rank, ())))
        for rank in doing
    }
    if len(set(keys.values())) > max(3, len(keys) // 2):  # all at work, each somewhere else: functions alone
        keys = {rank: (word, tuple((frame[0], frame[1], None) for frame in key)) for rank, (word, key) in keys.items()}
    sizes = Counter(keys.values())
    most = sizes.most_common(1)[0][1] if sizes else 0
    found = []
    for key, size in sizes.items():
        ranks = tuple(sorted(rank for rank in keys if keys[rank] == key))
        words = Counter(doing[rank] for rank in ranks)
        is_outlier = size < most and size <= len(keys) // 2
        found.append(Group(ranks, words.most_common(1)[0][0], stacks.get(ranks[0], ()), is_outlier))
    return sorted(
        found,
        key=lambda group: (not group.is_outlier, len(group.ranks) if group.is_outlier else -len(group.ranks), group.ranks),
    )


def _key(stack: Stack) -> tuple[tuple[str, str, int | None], ...]:
    """What is below torch's collectives differs by moments only."""
    at = next((n for n, frame in enumerate(stack) if frame.file.endswith("torch/distributed/distributed_c10d.py")), 0)
    return tuple(_place(frame, n == 0) for n, frame in enumerate(stack[at:]))


def _place(frame: Frame, is_innermost: bool) -> tuple[str, str, int | None]:
    # A loop that computes stands at another line each time; the line of a collective is its script's, one frame further out.
    is_in_collective = is_innermost and frame.file.endswith("distributed_c10d.py")
    return frame.file, frame.function, None if is_in_collective else frame.line


def shared_group(ranks: Sequence[int], world: int, known: Mapping[str, tuple[int, ...]]) -> str | None:
    """The smallest known group with all of `ranks` (name -> ranks), else the arithmetic that they share; None for one rank, and for all."""
    odd = set(ranks)
    if len(odd) < 2 or len(odd) >= world:
        return None
    fitting = [(len(members), name) for name, members in known.items() if odd <= set(members) and len(set(members)) < world]
    if fitting:
        size, name = min(fitting)
        return f"{name}, ranks {ranges(known[name])}" + ("" if size == len(odd) else f" ({len(odd)} of its {size})")
    for size in (n for n in range(2, world) if world % n == 0):
        blocks = {rank // size for rank in odd}
        if len(blocks) == 1:
            (block,) = blocks
            return f"the block of {size} ranks {ranges(range(block * size, (block + 1) * size))}"
        if (len({rank % size for rank in odd}) == 1 and len(odd) > 2) or odd == set(range(min(odd), world, size)):
            return f"every {size}th rank from {min(odd) % size}"
    return None


def ranges(ranks: Iterable[int]) -> str:
    """`0-2, 5`."""
    parts = []
    for _, run in groupby(enumerate(sorted(set(ranks))), key=lambda pair: pair[1] - pair[0]):
        numbers = [rank for _, rank in run]
        parts.append(f"{numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else str(numbers[0]))
    return ", ".join(parts)
