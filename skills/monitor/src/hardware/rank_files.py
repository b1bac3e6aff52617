"""ranks/rank-0003.jsonl of a run folder: what each rank told of its own work, newest incarnation only."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from msgspec import Meta, Struct, json
from run_folder.lines import Tally, decoded, tail_lines

if TYPE_CHECKING:
    from pathlib import Path

NAME = re.compile(r"rank-(\d{4,7})\.jsonl")
MAX_RANKS = 16_384
TAIL_BYTES = 8 << 10
"""Some forty windows."""


class Window(Struct, frozen=True, gc=False):
    """About ten seconds of one rank; times are medians over the steps in it."""

    time: Annotated[float, Meta(gt=0)]
    step: Annotated[int, Meta(ge=1)]
    step_s: float = 0.0
    own_s: float | None = None
    """From the end of a step to the last gradient of the next; None where that cannot be had."""
    steps: int = 1
    incarnation: int = 1
    group: str = ""
    """Ranks of one group hold the same parts of the model."""
    host: str = ""


WINDOW = json.Decoder(Window)


def read_ranks(folder: Path) -> tuple[dict[int, list[Window]], Tally]:
    """Rank -> its windows, oldest first. The first one of an incarnation is left out: compiling and warming up are no pace."""
    tally, found = Tally("ranks"), {}
    files = sorted(path for path in (folder / "ranks").glob("rank-*.jsonl") if NAME.fullmatch(path.name))
    for path in files[:MAX_RANKS]:
        match = NAME.fullmatch(path.name)
        windows = list(decoded(tail_lines(path, TAIL_BYTES, tally), WINDOW, tally))
        if match and windows:
            found[int(match[1])] = windows
    newest = max((windows[-1].incarnation for windows in found.values()), default=0)
    return {rank: _of(windows, newest) for rank, windows in found.items() if windows[-1].incarnation == newest}, tally


def _of(windows: list[Window], incarnation: int) -> list[Window]:
    own = [window for window in windows if window.incarnation == incarnation]
    began_here = len(own) < len(windows) or own[0].step <= 2 * own[0].steps
    return own[1:] if began_here else own
