"""What every place asks of the monitor about a run folder on this machine."""

from __future__ import annotations

from pathlib import Path

import trainyard_shell as shell
from deploy_siblings import Answer, call
from deploy_stage import MONITOR

LESSONS = ("restart.point", "run.trained")
"""Checks of the monitor that say what a run was worth, beside how it ended."""


def monitor_lessons(run_dir: Path, stall_factor: float) -> list[shell.Check]:
    """The monitor's warnings about a run that has ended; [] where it has none or does not answer."""
    try:
        checks = call(MONITOR, ["health", str(run_dir), "--stall-factor", f"{stall_factor:g}"]).checks
    except shell.SkillError:
        return []
    return lessons_in(checks)


def lessons_in(checks: list[shell.Check]) -> list[shell.Check]:
    return [check for check in checks if check.id in LESSONS and check.status in ("warn", "fail")]


def monitor_report(run_dir: Path, output: str | None, stall_factor: float, *, dry_run: bool) -> Answer:
    more = [*(["--output", output] if output else []), *(["--dry-run"] if dry_run else [])]
    return call(MONITOR, ["report", str(run_dir), "--stall-factor", f"{stall_factor:g}", *more]).or_raise()
