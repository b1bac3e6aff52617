"""Where in its life a run is at this moment: read while its ranks are held still, so that the answer stays true."""

from __future__ import annotations

import os
from pathlib import Path

from tests.training.exact.runs import Run


def phase_of(run: Run) -> str:
    """between | starting | restoring | step N | saving: what is on disk of it | closing"""
    alive = {process.pid for process in run.processes("rank")}
    if not alive:
        return "between"
    events = run.events("start", "restored", "training", "closed")
    starts = [number for number, event in enumerate(events) if event["type"] == "start"]
    if not starts or not alive <= set(events[starts[-1]]["pids"]):
        return "starting"
    told = {event["type"]: event for event in events[starts[-1] :]}
    if "training" not in told:
        return "restoring"
    if saving := save_in_progress(run.checkpoints):
        return f"saving: {saving}"
    if "closed" in told:
        return "closing"
    last = run.step_lines()[-1:] or [{"incarnation": 0, "step": 0}]
    is_new = last[0]["incarnation"] == told["training"]["incarnation"]
    return f"step {(last[0] if is_new else told['training'])['step'] + 1}"


def save_in_progress(checkpoints: Path) -> str:
    """What there is of a save: the files in its temporary folder, or what is missing after the rename; "" for no save."""
    names = sorted(_listed(checkpoints))
    for name in names:
        if name.endswith(".removed.tmp"):
            return "removing an old step"
        if name.endswith(".tmp"):
            files = [_short(file) for file in sorted(_listed(checkpoints / name))]
            return "+".join(files) or "empty folder"
    steps = [name for name in names if name.startswith("step_") and "." not in name]
    if steps and _text(checkpoints / "latest") != steps[-1]:
        return "renamed, latest is older"
    return ""


def _short(name: str) -> str:
    """shard-00001-model-00001-of-00001.safetensors -> shard1; part-00000.json -> part1 (ranks counted alike)."""
    if name.startswith("shard-"):
        return f"shard{int(name[6:11])}"
    if name.startswith("part-"):
        return f"part{int(name[5:10]) + 1}"
    return "unrenamed " + name.split(".")[1] if name.startswith(".") else name.partition(".")[0]


def _listed(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []  # renamed while we looked: the next look sees it


def _text(path: Path) -> str:
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        return ""
