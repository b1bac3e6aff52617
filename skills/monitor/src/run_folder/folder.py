"""A run folder: is it one, and what are its checkpoints called?"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import trainyard_shell as shell
from run_folder.records import RUNNER, Runner
from trainyard_files import Unusable, check_nesting, read_object, read_regular, tail

MARKS = ("runner.json", "steps.jsonl", "events.jsonl", "run.json", "runner-spec.json")
STEP_FOLDER = re.compile(r"step_(\d{8,})")


def open_run_folder(text: str) -> Path:
    """The folder as a path; SkillError `not-found` that says what the folder is instead."""
    path = Path(text)
    if not path.exists():
        raise shell.SkillError("not-found", f"{text} does not exist", hint="deploy.py list names the runs of a job file")
    if not path.is_dir():
        hint = f"the run folder may be {path.parent}; a log alone: monitor_training.py metrics {text}"
        raise shell.SkillError("not-found", f"{text} is a file, not a run folder", hint=hint)
    try:
        names = {entry.name for entry in path.iterdir()}
    except PermissionError as error:
        raise shell.SkillError("permission", f"{text} cannot be read", hint=f"ls -ld {text}") from error
    if names.isdisjoint(MARKS) and not any((path / "logs").glob("attempt-*.log")):
        raise shell.SkillError(
            "not-found", f"{text} is not a run folder: none of {', '.join(MARKS[:3])} is there", hint=_hint(path)
        )
    return path


def _hint(path: Path) -> str:
    if (path / "tiers.json").exists() or any(STEP_FOLDER.fullmatch(entry.name) for entry in path.iterdir()):
        return f"this is a checkpoint folder; the run folder may be {path.resolve().parent}"
    below = [*path.glob("*/"), *path.glob(".trainyard/runs/*/")]
    runs = sorted(str(folder) for folder in below if any((folder / mark).exists() for mark in MARKS))
    return f"run folders in it: {', '.join(runs[:5])}" if runs else "give the folder that holds steps.jsonl"


def read_runner(path: Path) -> tuple[Runner | None, str | None]:
    """runner.json, and what is wrong with it (None: nothing; not being there is nothing wrong)."""
    try:
        raw = read_regular(path / "runner.json")
        check_nesting(raw)
        return RUNNER.decode(raw), None
    except FileNotFoundError:
        return None, None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, Unusable) as error:
        return None, f"runner.json cannot be used: {error}"


def log_pattern(path: Path) -> str | None:
    """`monitor.pattern` of the job file that the run was submitted with: how its log is read."""
    try:
        job = (read_object(path / "run.json") or {}).get("job")
    except (OSError, Unusable):
        return None
    monitor = job.get("monitor") if isinstance(job, dict) else None
    pattern = monitor.get("pattern") if isinstance(monitor, dict) else None
    return pattern if isinstance(pattern, str) and pattern else None


def read_command(path: Path) -> tuple[str, ...]:
    """The words that the run was submitted with; () where nothing tells them. Secrets among them are hidden already."""
    return tuple(read_spec(path).get("command") or ())


def read_spec(path: Path) -> dict[str, Any]:
    """What the local runner was asked for; {} where there is none, or it cannot be used."""
    try:
        return read_object(path / "runner-spec.json", {"command": "a list of texts"}) or {}
    except (OSError, Unusable):
        return {}


def original_of(path: Path, run_id: str) -> Path | None:
    """The folder that `path` is a copy of; None at home, and where the run was moved: then its old place is gone."""
    try:
        home = (read_object(path / "runner-spec.json", {"folder": "text"}) or {}).get("folder")
        if not home or (Path(home).exists() and path.samefile(home)):
            return None
        there = read_object(Path(home) / "runner-spec.json", {"run_id": "text"})
    except (OSError, Unusable):
        return None
    return Path(home) if there is not None and there.get("run_id") == run_id else None


def last_write(path: Path) -> float | None:
    """The newest modification time of the run's records."""
    times = [(path / mark).stat().st_mtime for mark in MARKS if (path / mark).exists()]
    return max(times, default=None)


@dataclass(frozen=True)
class Checkpoints:
    """Names and times only: that a checkpoint is intact is proven by verifying it."""

    steps: dict[int, float] = field(default_factory=dict)
    """Step -> time of its manifest, of every folder that has one."""
    tiers: dict[str, object] = field(default_factory=dict)
    latest: str | None = None
    problem: str | None = None


def read_checkpoints(folder: Path) -> Checkpoints:
    try:
        entries = list(folder.iterdir())
    except FileNotFoundError:
        return Checkpoints(problem="there is no checkpoint folder")
    except OSError as error:
        return Checkpoints(problem=f"the checkpoint folder cannot be read: {error}")
    steps = {}
    for entry in entries:
        match = STEP_FOLDER.fullmatch(entry.name)
        if match:
            try:
                steps[int(match[1])] = (entry / "manifest.json").stat().st_mtime
            except OSError:
                continue  # without a manifest it does not exist
    return Checkpoints(steps, _tiers(folder), _latest(folder))


def _tiers(folder: Path) -> dict[str, object]:
    try:
        tiers = read_object(folder / "tiers.json")
    except (OSError, Unusable):
        return {}
    return {name: tiers.get(name) for name in ("latest", "rolling", "epoch", "best")} if tiers else {}


def _latest(folder: Path) -> str | None:
    try:
        return shell.clean(tail(folder / "latest", 4096).decode(errors="replace").strip(), 80) or None
    except (OSError, Unusable):
        return None
