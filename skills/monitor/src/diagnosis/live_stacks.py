"""The stacks of a run that makes no step just now, taken when its cause is asked for: they name a stopped or a straying rank.

Of a run that moves none are taken: its ranks are in different places at every moment, which proves nothing.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diagnosis.case import Case
from diagnosis.pauses import is_paused, is_quiet, wall_now
from rank_stacks import look
from rank_stacks.written import text_of
from run_folder.folder import read_runner
from trainyard_shell import SkillError

if TYPE_CHECKING:
    from cluster_run.named import Named

INTERVAL_S = 0.5
FRESH_S = 60.0
"""Older evidence is not of now."""


def add_live_stacks(run: Named, case: Case, folder: Path) -> None:
    """Into `folder`, a file each rank, and to the evidence. What cannot be read is a note: the rest is still evidence."""
    now = wall_now(case)
    if case.outcome != "running" or now is None or abs(time.time() - now) > FRESH_S or not (is_paused(case) or is_quiet(case)):
        return
    try:
        rows = _in_pods(run, case) if run.is_on_cluster else _here(case)
    except SkillError as error:
        case.problems.append(f"no stacks: {error}")
        return
    folder.mkdir(mode=0o700, exist_ok=True)
    case.has_live_stacks = True
    for row in rows:
        if row["state"] == "gone":  # it stands nowhere
            continue
        path = folder / f"rank-{int(row['rank']):04d}.txt"
        path.write_text(text_of(row))
        case.evidence.stacks.append(path)


def _here(case: Case) -> list[dict[str, Any]]:
    folder = case.history.folder if case.history else None
    runner = read_runner(folder)[0] if folder else None
    if folder is None or runner is None or not runner.run_id:
        return []
    rows: list[dict[str, Any]] = look.look(runner.run_id, str(folder), INTERVAL_S)["ranks"]
    return rows


def _in_pods(run: Named, case: Case) -> list[dict[str, Any]]:
    from rank_stacks.in_pods import look_in_pods

    seen = look_in_pods(run.find(), INTERVAL_S, may_ask=True)
    case.problems += [f"{check.summary}" for check in seen.unread]
    return list(seen.rows.values())
