"""The verbs of monitor_training.py, without their options."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from log_reading.source import job_logs
from run_folder.folder import open_run_folder
from run_health.checks import health_checks
from run_health.limits import Limits
from run_health.restart import restart_check, restart_point, trained_check
from run_view.observe import Observation, observe
from run_view.status import notes, status_data

if TYPE_CHECKING:
    from goodput.account import Account
    from goodput.history import History
    from run_view.watch import Screen

WHOLE_UP_TO_BYTES = 24 << 20
"""`status` reads the whole history of a run whose step lines take less (about 100,000 steps); above, `report` does."""
MARKER = '<meta name="generator" content="trainyard monitor">'
WATCH_TIMEOUT_S = 600.0


def status_result(run_dir: str, stall_factor: float) -> shell.Result:
    path = open_run_folder(run_dir)
    view = observe(path, stall_factor=stall_factor)
    data = status_data(view)
    logs = job_logs(path, view.runner) if view.log else []
    size = sum(_size(file) for file in (path / "steps.jsonl", path / "events.jsonl", *logs))
    data["summary"] = _summary(view, stall_factor) if size <= WHOLE_UP_TO_BYTES else None
    data["restart_point"] = restart_point(view).data()
    data["notes"] = [*notes(view), *_warnings(view)]
    next_lines = [f"monitor_training.py health {run_dir}"]
    if data["summary"] is None:
        data["notes"].append("the run is too long to be read whole here: `report` has the summary")
        next_lines.append(f"monitor_training.py report {run_dir}")
    return shell.Result(data=data, next=next_lines, truncated=data["summary"] is None)


def _warnings(view: Observation) -> list[str]:
    """What a restart costs, and whether anything was trained, in words; [] where all is well."""
    checks = [restart_check(view), trained_check(view)]
    return [check.summary for check in checks if check.status == "warn"]


def _summary(view: Observation, stall_factor: float) -> dict[str, Any]:
    history, booked = _account(view, stall_factor)
    return _figures(view, history, booked)


def _account(view: Observation, stall_factor: float) -> tuple[History, Account | None]:
    """The whole history, and where its time went; None where nothing was recorded, or a log has no times."""
    from goodput.account import account
    from goodput.from_records import read_history

    history = read_history(view.path)
    if view.log is not None:
        from goodput.from_logs import history_of_logs

        history = history_of_logs(job_logs(view.path, view.runner), history, view.runner, view.now)
    if history.log is not None and not history.log.has_times:
        return history, None
    return history, account(history, now=view.now if view.state.alive else None, stall_factor=stall_factor)


def _figures(view: Observation, history: History, booked: Account | None) -> dict[str, Any]:
    from goodput.summary import summarize

    return summarize(history, booked, view.runner.restarts if view.runner else None)


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
    from run_view.watch import JsonLines, Terminal

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
    from run_report.page import render
    from run_view.status import tally_note

    alone = Path(run_dir).is_file()
    path = Path(run_dir) if alone else open_run_folder(run_dir)
    target = _target(path, output)
    if alone:
        view, history, booked = _log_alone(path, stall_factor)
    else:
        view = observe(path, stall_factor=stall_factor)
        history, booked = _account(view, stall_factor)
    found = [view.runner_problem, *(tally_note(tally) for tally in history.tallies)]
    found += history.log.notes if history.log else []
    if history.clock_jumps:
        found.append(f"the clock went backwards {history.clock_jumps} times; times around there are not to be trusted")
    summary = _figures(view, history, booked)
    told = [*(note for note in found if note), *([] if alone else _warnings(view))]
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


def _log_alone(path: Path, stall_factor: float) -> tuple[Observation, History, Account | None]:
    """A log file without a run folder: its curves, and the account if it has times."""
    from goodput.account import account
    from goodput.from_logs import history_of_logs
    from goodput.history import History, StepTable
    from log_metrics.verb import read_source, unknown_format
    from log_reading.source import LogSource, refuse_compressed
    from run_folder.folder import Checkpoints
    from run_folder.lines import Tally
    from run_view.state import RunState

    refuse_compressed(path)
    nothing = History(StepTable(), [], [], (Tally(""), Tally("")), 0)
    history = history_of_logs([path], nothing, None, time.time())
    if not len(history.steps):
        source = LogSource(str(path), (path,), growing=True)
        raise unknown_format(read_source(source, "auto", None), source, "auto", None)
    state = RunState("unknown", "the log", "a log alone does not tell whether its run lives")
    view = Observation(
        *(path, time.time(), None, None, state, [], None, [], Checkpoints(), history.tallies, path.stat().st_mtime, None)
    )
    times = history.log is not None and history.log.has_times
    return view, history, account(history, stall_factor=stall_factor) if times else None


def _target(path: Path, output: str | None) -> Path:
    """Where the report goes; never over something that is no report of ours."""
    beside = path.with_name(f"{path.name}.report.html") if path.is_file() else path / "report.html"
    target = (Path(output) if output else beside).absolute()
    if target.is_dir():
        raise shell.SkillError("usage", f"{target} is a folder", hint=f"--output {target}/report.html")
    if not target.parent.is_dir():
        raise shell.SkillError("not-found", f"the folder {target.parent} does not exist", hint=f"mkdir -p {target.parent}")
    if target.exists():
        with target.open("rb") as file:
            if MARKER.encode() not in file.read(1024):
                raise shell.SkillError(
                    "conflict", f"{target} is not a report of this program; it stays", hint="another --output"
                )
    return target


def _write(target: Path, page: str) -> str:
    part = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        part.write_text(page, encoding="utf-8")
        part.replace(target)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise shell.cannot_write(target, error, "free space, or --output in a folder that you may write to") from error
    return str(target)
