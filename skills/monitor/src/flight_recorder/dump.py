"""One rank's flight recorder dump, checked and cut down to what a verdict needs. Written by torch, or by Trainyard's runtime, which adds a line.

{"version": "2.10", "pg_config": {...}, "pg_status": {"0": {"last_enqueued_collective": 4, "last_completed_collective": 3, ...}},
 "entries": [{"process_group": ("0", "default_pg"), "collective_seq_id": 4, "profiling_name": "gloo:all_reduce", "retired": False, ...}]}
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flight_recorder.pickled import NotPlain, plain
from trainyard_files import Unusable, read_regular
from trainyard_shell import clean

MAX_FILE_BYTES = 64 << 20
MAX_RANKS, MAX_KEPT = 100_000, 256
"""Ranks that a file may name; newest entries that are kept of one rank, beside those that are open."""
SHOWN = 8
"""Tensors of one call, and sizes of one tensor."""
RANK = re.compile(r"(?:^|[^0-9])([0-9]{1,6})(?:\.gloo)?(?:\.bin|\.txt|\.pkl|\.pickle)?$")


@dataclass(frozen=True, slots=True)
class Entry:
    """One collective that the rank called, or one send or receive."""

    group: str
    desc: str
    seq: int
    """Number of the collective in its group, the same on all of the group's ranks."""
    op: str
    shape: str
    """Sizes and types of what goes in."""
    is_open: bool
    is_p2p: bool
    created_s: float
    line: str
    """Where the script called it, as file:line in function; "" where that is not known."""


@dataclass(frozen=True)
class Dump:
    rank: int
    file: str
    made_s: float | None
    """When; None where nobody says."""
    world_size: int | None
    entries: list[Entry]
    groups: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Ranks of each group that the file names."""
    enqueued: dict[str, int] = field(default_factory=dict)
    """Last collective that was called in a group, by torch's own count."""
    completed: dict[str, int] = field(default_factory=dict)

    @property
    def open(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.is_open]


def rank_of(path: Path) -> int | None:
    """From the file's name: rank-0003.bin, nccl_trace_rank_3, _dump_3."""
    found = RANK.search(path.name)
    return int(found[1]) if found else None


def read_dump(path: Path) -> Dump:
    """Raises Unusable, OSError."""
    raw = read_regular(path, MAX_FILE_BYTES)
    try:
        document, end = plain(raw)
        if not isinstance(document, dict) or not isinstance(document.get("entries"), list):
            raise NotPlain("there are no entries in it")
        return _dump(path, document, _note(raw[end:]))
    except (NotPlain, KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise Unusable(f"{path.name} is not a flight recorder's dump: {error}") from None


def _note(rest: bytes) -> dict[str, Any]:
    """The line that the runtime adds."""
    try:
        said = json.loads(rest) if len(rest) < 4 << 20 else {}
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) and said.get("trainyard") == 1 else {}


def _dump(path: Path, document: dict[Any, Any], note: dict[str, Any]) -> Dump:
    rank = note["rank"] if isinstance(note.get("rank"), int) else rank_of(path)
    if rank is None:
        raise NotPlain("neither its name nor its end says which rank wrote it")
    raw = document["entries"]
    newest = raw[-MAX_KEPT:]
    kept = [row for row in raw[:-MAX_KEPT] if _is_open(row)][:MAX_KEPT] + newest
    entries = [_entry(row) for row in kept]
    numbers = {str(row["pg_id"]): _group(row)[0] for row in raw if isinstance(row, dict) and "pg_id" in row}
    status = {key: value for key, value in (document.get("pg_status") or {}).items() if isinstance(value, dict)}
    named = {numbers[str(key)]: value for key, value in status.items() if str(key) in numbers}
    return Dump(
        rank,
        path.name,
        float(note["time"]) if isinstance(note.get("time"), float | int) else None,
        note["world_size"] if isinstance(note.get("world_size"), int) else None,
        entries,
        {**_configured(document.get("pg_config")), **_noted(note.get("groups"))},
        {name: value["last_enqueued_collective"] for name, value in named.items()},
        {name: value["last_completed_collective"] for name, value in named.items()},
    )


def _entry(row: dict[str, Any]) -> Entry:
    name, desc = _group(row)
    return Entry(
        name,
        desc,
        int(row["collective_seq_id"]),
        _text(row["profiling_name"]),
        _shape(row.get("input_sizes"), row.get("input_dtypes")),
        _is_open(row),
        bool(row.get("is_p2p")),
        int(row["time_created_ns"]) / 1e9,
        _line(row.get("frames")),
    )


def _is_open(row: Any) -> bool:
    # gloo's stay "scheduled" for ever: `retired` tells the end; NCCL's may be completed and not yet retired.
    return not row.get("retired", False) and row.get("state") != "completed"


def _group(row: dict[str, Any]) -> tuple[str, str]:
    found = row.get("process_group") or ("", "")
    return _text(found[0]), _text(found[1])


def _text(value: Any) -> str:
    if not isinstance(value, str):  # never what a list of lists of lists would look like in words
        raise NotPlain("something is there in place of a text")
    return clean(value, 80)


def _shape(sizes: Any, types: Any) -> str:
    """`[8] Float`; of several tensors the first ones."""
    shapes = [_numbers(one) for one in sizes[:SHOWN]] if isinstance(sizes, list) else []
    names = [_text(one) for one in types[:SHOWN]] if isinstance(types, list) else []
    words = [f"{shape} {name}".strip() for shape, name in itertools.zip_longest(shapes, names, fillvalue="")]
    return ", ".join(words) + (f" and {len(sizes) - SHOWN} more" if len(shapes) == SHOWN < len(sizes) else "")


def _numbers(value: Any) -> str:
    if not isinstance(value, list) or not all(type(each) is int for each in value[:SHOWN]):
        raise NotPlain("something is there in place of a tensor's sizes")
    return str(value[:SHOWN])


def _line(frames: Any) -> str:
    """The innermost line that is not torch's own."""
    for frame in frames[:64] if isinstance(frames, list) else ():
        name = frame.get("filename") if isinstance(frame, dict) else None
        if isinstance(name, str) and name and "/torch/" not in name and "/trainyard/" not in name:
            line, function = frame.get("line"), frame.get("name")
            return clean(f"{name}:{line if type(line) is int else '?'} in {function if type(function) is str else '?'}", 200)
    return ""


def _configured(config: Any) -> dict[str, tuple[int, ...]]:
    """NCCL's groups. gloo's have no name there, and their ranks are counted within the group."""
    found = {}
    for name, group in config.items() if isinstance(config, dict) else ():
        if name and isinstance(group, dict) and (ranks := _ranks(group.get("ranks"))):
            found[str(name)] = ranks
    return found


def _noted(groups: Any) -> dict[str, tuple[int, ...]]:
    items = groups.items() if isinstance(groups, dict) else ()
    return {name: ranks for name, group in items if isinstance(group, dict) and (ranks := _ranks(group.get("ranks")))}


def _ranks(value: Any) -> tuple[int, ...]:
    if isinstance(value, str):
        value = [int(word) for word in re.findall(r"\d{1,6}", value[: 8 * MAX_RANKS])]
    if not isinstance(value, list) or len(value) > MAX_RANKS or not all(type(rank) is int for rank in value):
        return ()
    return tuple(sorted(value))
