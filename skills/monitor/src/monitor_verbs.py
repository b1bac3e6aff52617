"""The verbs of monitor_training.py, without their options."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from monitor_folder import open_run_folder
from monitor_health import Limits, health_checks
from monitor_observe import Observation, observe
from monitor_status import notes, status_data

if TYPE_CHECKING:
    from monitor_watch import Screen

WHOLE_UP_TO_BYTES = 24 << 20
"""`status` reads the whole history of a run whose step lines take less (about 100,000 steps); above, `report` does."""
MARKER = '<meta name="generator" content="trainyard monitor">'
WATCH_TIMEOUT_S = 600.0


def status_result(run_dir: str, stall_factor: float) -> shell.Result:
    path = open_run_folder(run_dir)
    view = observe(path, stall_factor=stall_factor)
    data = status_data(view)
    size = sum(_size(path / name) for name in ("steps.jsonl", "events.jsonl"))
    data["summary"] = _summary(view, stall_factor) if size <= WHOLE_UP_TO_BYTES else None
    data["notes"] = notes(view)
    next_lines = [f"monitor_training.py health {run_dir}"]
    if data["summary"] is None:
        data["notes"].append("the run is too long to be read whole here: `report` has the summary")
        next_lines.append(f"monitor_training.py report {run_dir}")
    return shell.Result(data=data, next=next_lines, truncated=data["summary"] is None)


def _summary(view: Observation, stall_factor: float) -> dict[str, Any]:
    from goodput_account import account
    from goodput_history import read_history
    from monitor_summary import summarize

    history = read_history(view.path)
    now = view.now if view.state.alive else None
    return summarize(history, account(history, now=now, stall_factor=stall_factor))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def health_result(run_dir: str, stall_factor: float, start_limit_s: float) -> shell.Result:
    view = observe(open_run_folder(run_dir), stall_factor=stall_factor)
    checks = health_checks(view, Limits(stall_factor, start_limit_s))
    data = status_data(view)
    keep = ("name", "state", "line", "step", "total_steps")
    return shell.Result(data={key: data[key] for key in keep} | {"notes": notes(view)}, checks=checks)


def watch_result(
    run_dir: str, interval_s: float, once: bool, timeout_s: float | None, stall_factor: float, start_limit_s: float
) -> shell.Result:
    from monitor_watch import JsonLines, Terminal

    path, live = open_run_folder(run_dir), sys.stdout.isatty() and shell.wants_table(sys.argv[1:])
    if timeout_s is None and not sys.stdout.isatty():
        timeout_s = WATCH_TIMEOUT_S
    limits = Limits(stall_factor, start_limit_s)
    with Terminal() if live else JsonLines() as screen:
        data = _look_until_end(path, screen, limits, interval_s, once, timeout_s)
    if live:  # the view stays on the screen: do not say it all again
        data = {"name": data["name"], "state": data["state"]}
    return shell.Result(data=data, ok=once or data["state"] in ("finished", "stopped"))


def _look_until_end(
    path: Path, screen: Screen, limits: Limits, interval_s: float, once: bool, timeout_s: float | None
) -> dict[str, Any]:
    deadline = time.monotonic() + timeout_s if timeout_s is not None else None
    while True:
        view = observe(path, stall_factor=limits.stall_factor)
        data = status_data(view)
        screen.show(view, data, health_checks(view, limits))
        if once or view.state.ended:
            return data
        if deadline is not None and time.monotonic() + interval_s > deadline:
            message = f"the run is still {view.state.name} after {timeout_s:g} s"
            raise shell.SkillError("timeout", message, hint="the same call, or a longer --timeout-s", retryable=True, data=data)
        time.sleep(interval_s)


def report_result(run_dir: str, output: str | None, dry_run: bool, stall_factor: float) -> shell.Result:
    from goodput_account import account
    from goodput_history import read_history
    from monitor_status import tally_note
    from monitor_summary import summarize
    from report_page import render

    path = open_run_folder(run_dir)
    target = _target(path, output)
    view = observe(path, stall_factor=stall_factor)
    history = read_history(path)
    booked = account(history, now=view.now if view.state.alive else None, stall_factor=stall_factor)
    found = [view.runner_problem, *(tally_note(tally) for tally in history.tallies)]
    if history.clock_jumps:
        found.append(f"the clock went backwards {history.clock_jumps} times; times around there are not to be trusted")
    summary = summarize(history, booked)
    told = [note for note in found if note]
    page = render(view, history, booked, summary, told, stall_factor)
    changed = [] if dry_run else [_write(target, page)]
    data = {
        "path": str(target),
        "state": view.state.name,
        "goodput": summary["goodput"],
        "account": summary["account"],
        "summary": summary,
        "bytes": len(page),
        "written": not dry_run,
        "notes": told,
    }
    return shell.Result(data=data, changed=changed)


def _target(path: Path, output: str | None) -> Path:
    """Where the report goes; never over something that is no report of ours."""
    target = (Path(output) if output else path / "report.html").absolute()
    if target.is_dir():
        raise shell.SkillError("usage", f"{target} is a folder", hint=f"--output {target}/report.html")
    if not target.parent.is_dir():
        raise shell.SkillError("not-found", f"the folder {target.parent} does not exist", hint=f"mkdir -p {target.parent}")
    if target.exists():
        with target.open("rb") as file:
            if MARKER.encode() not in file.read(1024):
                raise shell.SkillError("conflict", f"{target} is no report of this program; it stays", hint="another --output")
    return target


def _write(target: Path, page: str) -> str:
    part = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(target)
    except OSError as error:
        part.unlink(missing_ok=True)
        message = f"{target} cannot be written: {error.strerror}"
        raise shell.SkillError("permission", message, hint="--output in a folder that you may write to") from error
    return str(target)
