"""Where the dumps and stacks of a run lie: of a run folder, a folder of evidence, or a folder of nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from flight_recorder.dump import rank_of

ATTEMPT = re.compile(r"attempt-\d{4,9}")
OWN = {"flight": re.compile(r"rank-\d{1,6}\.bin"), "stacks": re.compile(r"rank-\d{1,6}\.txt")}
OTHERS = re.compile(r"(?:_dump_|nccl_trace_rank_|.{0,80}rank[-_]?)\d{1,6}(?:\.bin|\.pkl|\.pickle)?")
"""As torch's watchdog and others name them."""
MAX_FILES = 4096


def newest_files(run: Path, kind: str) -> dict[int, Path]:
    """By rank, of the newest attempt that has any; `kind`: flight or stacks. Raises OSError only where `run` itself cannot be read."""
    for folder in _folders(run / kind):
        files = _matching(folder, OWN[kind])
        if files:
            return files
    return {}


def dumps_in(folder: Path) -> dict[int, Path]:
    """By rank. Raises OSError where the folder cannot be read."""
    list(folder.iterdir())
    return newest_files(folder, "flight") or _matching(folder, OWN["flight"]) or _matching(folder, OTHERS)


def _folders(place: Path) -> list[Path]:
    """Newest attempt first; then the place itself, as a folder of evidence has it."""
    try:
        attempts = sorted(
            (entry for entry in place.iterdir() if ATTEMPT.fullmatch(entry.name)), key=lambda entry: int(entry.name[8:])
        )
    except OSError:
        return []
    return [*reversed(attempts), place]


def _matching(folder: Path, pattern: re.Pattern[str]) -> dict[int, Path]:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if pattern.fullmatch(entry.name))[:MAX_FILES]
    except OSError:
        return {}
    return {rank: folder / name for name in names if (rank := rank_of(folder / name)) is not None}
