"""`status`, `health`, `progress` and `watch` of monitor_training.py, without their options; those of a cluster are in cluster_run."""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from log_reading.source import job_logs
from run_folder.folder import open_run_folder
from run_health.checks import health_checks
from run_health.limits import Limits
from run_health.losses import loss_check
from run_health.progress import progress_check
from run_health.restart import restart_point, restart_warnings
from run_health.validation import validation_check
from run_view.log_alone import is_log_alone, log_alone
from run_view.observe import Observation, observe
from run_view.status import notes, status_data
from run_view.waiting import until_let_go, until_news

if TYPE_CHECKING:
    from cluster_run.named import Named
    from run_view.listening import Listening
    from run_view.watch import Screen

WHOLE_UP_TO_BYTES = 24 << 20
"""`status` reads the whole history of a run whose step lines take less (about 100,000 steps); above, `report` does."""
WATCH_TIMEOUT_S = 600.0
INTERVAL_S = 2.0
HEALTH_KEYS = ("name", "state", "line", "step", "total_steps")


def status_result(run: Named, stall_factor: float) -> shell.Result:
    if run.is_on_cluster:
        from cluster_run.verbs import status_result as on_cluster

        return on_cluster(run, stall_factor)
    if is_log_alone(run.folder):
        return _status_of_log(log_alone(Path(run.folder)))
    path = open_run_folder(run.folder)
    view = observe(path, stall_factor=stall_factor)
    data = status_data(view)
    logs = job_logs(path, view.runner) if view.log else []
    size = sum(_size(file) for file in (path / "steps.jsonl", path / "events.jsonl", *logs))
    data["summary"] = _summary(view, stall_factor) if size <= WHOLE_UP_TO_BYTES else None
    data["restart_point"] = restart_point(view).data()
    data["notes"] = [*notes(view), *restart_warnings(view)]
    next_lines = [f"monitor_training.py health {run.folder}"]
    if data["summary"] is None:
        data["notes"].append("the run is too long to be read whole here: `report` has the summary")
        next_lines.append(f"monitor_training.py report {run.folder}")
    return shell.Result(data=data, next=next_lines, truncated=data["summary"] is None)


def _status_of_log(view: Observation) -> shell.Result:
    """The same members as of a run folder."""
    data = status_data(view) | {"summary": None, "restart_point": None, "notes": notes(view)}
    return shell.Result(data=data, next=[f"monitor_training.py report {view.path}"])


def _health_of_log(view: Observation, limits: Limits) -> shell.Result:
    """The checks that a log alone can answer."""
    checks = [progress_check(view, limits), loss_check(view, limits), validation_check(view)]
    data = {key: value for key, value in status_data(view).items() if key in HEALTH_KEYS}
    return shell.Result(data=data | {"notes": notes(view)}, checks=checks)


def _summary(view: Observation, stall_factor: float) -> dict[str, Any]:
    from goodput.of_view import history_of, summary_of

    history, booked = history_of(view, stall_factor)
    return summary_of(view, history, booked)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def health_result(run: Named, stall_factor: float, start_limit_s: float) -> shell.Result:
    if run.is_on_cluster:
        from cluster_run.verbs import health_result as on_cluster

        return on_cluster(run, stall_factor, start_limit_s)
    limits = Limits(stall_factor, start_limit_s, every_loss=True)
    if is_log_alone(run.folder):
        return _health_of_log(log_alone(Path(run.folder)), limits)
    view = observe(open_run_folder(run.folder), stall_factor=stall_factor)
    checks = health_checks(view, limits)
    data = status_data(view)
    wrong = any(check.status == "fail" for check in checks)
    next_lines = [f"diagnose_training.py doctor {run.folder}"] if wrong else []
    return shell.Result(data={key: data[key] for key in HEALTH_KEYS} | {"notes": notes(view)}, checks=checks, next=next_lines)


def progress_result(run: Named) -> shell.Result:
    from run_view.progress import progress_data

    if run.is_on_cluster:
        from cluster_run.verbs import progress_result as on_cluster

        return on_cluster(run)
    return shell.Result(data=progress_data(open_run_folder(run.folder)))


def watch_result(
    run: Named,
    interval_s: float | None,
    once: bool,
    timeout_s: float | None,
    stall_factor: float,
    start_limit_s: float,
    listening: Listening,
) -> shell.Result:
    from run_view.watch import JsonLines, Terminal

    limits = Limits(stall_factor, start_limit_s)
    if run.is_on_cluster:
        from cluster_run.verbs import watch_result as on_cluster

        return on_cluster(run, interval_s, once, timeout_s, limits, listening)
    path, live = open_run_folder(run.folder), sys.stdout.isatty() and shell.wants_table(sys.argv[1:])
    if timeout_s is None and not sys.stdout.isatty():
        timeout_s = WATCH_TIMEOUT_S
    every_s = INTERVAL_S if interval_s is None else interval_s
    with listening.around(Terminal() if live else JsonLines(), interval_s=every_s, stall_factor=stall_factor) as screen:
        data = _look_until_end(path, screen, limits, every_s, once, timeout_s)
    data |= screen.data()
    if live:  # the view stays on the screen: do not say it all again
        data = {"name": data["name"], "state": data["state"]}
    return shell.Result(data=data, ok=once or data["state"] in ("finished", "stopped"))


def _look_until_end(
    path: Path, screen: Screen, limits: Limits, interval_s: float, once: bool, timeout_s: float | None
) -> dict[str, Any]:
    deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
    while True:
        view = observe(path, stall_factor=limits.stall_factor)
        data = status_data(view)
        screen.show(view, data, health_checks(view, limits))
        if view.state.ended:
            until_let_go(view, deadline)
        if once or view.state.ended:
            return data
        if time.monotonic() >= deadline:
            message = f"the run is still {view.state.name} after {timeout_s:g} s"
            raise shell.SkillError("timeout", message, hint="the same call, or a longer --timeout-s", retryable=True, data=data)
        until_news(view, min(interval_s, deadline - time.monotonic()))
