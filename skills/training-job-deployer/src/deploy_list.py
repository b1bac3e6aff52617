"""`list`: the runs of a folder, newest first, with how far each came. Only files are read: `status` asks whoever knows."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import Any

import deploy_place
import trainyard_shell as shell
from deploy_place import ABSENT
from run_state import store
from run_state.record import Run
from trainyard_files import Unusable, parse, tail

TAIL_BYTES = 64 << 10


def list_runs(folder: Path, limit: int) -> shell.Result:
    """Those set aside by --fresh included."""
    found = [path.parent for path in folder.glob("*/run.json")]
    rows = sorted((_row(path) for path in found), key=lambda row: (-(row["begun"] or 0.0), row["run"]))
    for row in rows:
        begun = row.pop("begun")
        row["started"] = time.strftime("%Y-%m-%d %H:%MZ", time.gmtime(begun)) if begun else None
    data = {"folder": str(folder), "total": len(found), "runs": [_ordered(row) for row in rows[:limit]]}
    return shell.Result(data=data, truncated=len(found) > limit)


def _row(run_dir: Path) -> dict[str, Any]:
    row: dict[str, Any] = {"run": run_dir.name, "state": ABSENT, "run_id": None, "job_file": None, "note": None, "begun": None}
    row |= {"step": None, "loss": None, "seconds": None}
    try:
        run = store.load(run_dir)
        if run is not None:
            row |= {"run_id": run.run_id, "job_file": run.job_file}
            row["state"], row["note"] = deploy_place.of(run.target, run_dir).listed(run)
            row["note"] = row["note"] or (f"-- {shlex.join(run.added)}" if run.added else None)
            row |= _how_far(run_dir, run)
    except shell.SkillError as error:  # one damaged folder must not hide the others
        row["state"], _ = deploy_place.of("local", run_dir).listed(None)
        row["note"] = shell.clean(str(error), 200)
    return row


def _how_far(run_dir: Path, run: Run) -> dict[str, Any]:
    """By the last step line in the run folder: on a cluster that is what was fetched when the run ended."""
    begun = run.submission.begun if run.submission else None
    step, loss, last = _last_step(run_dir / "steps.jsonl")
    watch = run.stages.get("watch")
    if step is None and watch is not None:
        step, loss = watch.result.get("step"), watch.result.get("loss")
    end = watch.ended if watch is not None and watch.ended is not None else last
    seconds = round(end - begun, 1) if begun is not None and end is not None and end >= begun else None
    return {"step": step, "loss": loss, "begun": begun, "seconds": seconds}


def _last_step(path: Path) -> tuple[int | None, float | None, float | None]:
    """(step, loss, time), None where no line tells."""
    try:
        lines = tail(path, TAIL_BYTES).split(b"\n")
    except (OSError, Unusable):
        return None, None, None
    for line in reversed(lines):
        try:
            told = parse(line)
            step, at = told["step"], told["time"]
        except (ValueError, KeyError, TypeError):
            continue
        if type(step) is int and isinstance(at, int | float):
            loss = told.get("loss")
            return step, float(loss) if isinstance(loss, int | float) and not isinstance(loss, bool) else None, float(at)
    return None, None, None


def _ordered(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in ("run", "state", "step", "loss", "started", "seconds", "run_id", "note", "job_file")}
