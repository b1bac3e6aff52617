"""`report`: where the page goes, and what is on it; of a run folder, or of a log alone."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import trainyard_shell as shell
from trainyard_files import replace_file
from goodput.account import Account, account
from goodput.from_logs import history_of_logs
from goodput.history import History, StepTable
from goodput.of_view import history_of, summary_of
from log_metrics.verb import read_source, unknown_format
from log_reading.source import LogSource, refuse_compressed
from run_folder.folder import Checkpoints, open_run_folder
from run_folder.lines import Tally
from run_health.restart import restart_warnings
from run_report.page import render
from run_view.observe import Observation, observe
from run_view.state import RunState
from run_view.status import tally_note

if TYPE_CHECKING:
    from cluster_run.named import Named

MARKER = '<meta name="generator" content="trainyard monitor">'


def report_result(run: Named, output: str | None, dry_run: bool, stall_factor: float) -> shell.Result:
    if run.is_on_cluster:
        return _of_cluster(run, output, dry_run, stall_factor)
    alone = Path(run.folder).is_file()
    path = Path(run.folder) if alone else open_run_folder(run.folder)
    target = _target(path.with_name(f"{path.name}.report.html") if alone else path / "report.html", output)
    if alone:
        view, history, booked = _log_alone(path, stall_factor)
    else:
        view = observe(path, stall_factor=stall_factor)
        history, booked = history_of(view, stall_factor)
    more = [] if alone else restart_warnings(view)
    return _report(target, view, history, booked, [], more, dry_run, stall_factor)


def _of_cluster(run: Named, output: str | None, dry_run: bool, stall_factor: float) -> shell.Result:
    from cluster_run.whole import report_target, whole_run

    with whole_run(run, stall_factor) as (found, _):
        target = _target(report_target(found.run.name), output)
        view = found.observation
        history, booked = history_of(view, stall_factor)
        return _report(target, view, history, booked, found.notes(), restart_warnings(view), dry_run, stall_factor)


def _report(
    target: Path,
    view: Observation,
    history: History,
    booked: Account | None,
    before: list[str],
    behind: list[str],
    dry_run: bool,
    stall_factor: float,
) -> shell.Result:
    """`before` and `behind`: notes around those about the records."""
    found = [*before, view.runner_problem, *(tally_note(tally) for tally in history.tallies)]
    found += history.log.notes if history.log else []
    if history.clock_jumps:
        found.append(f"the clock went backwards {history.clock_jumps} times; times around there are not to be trusted")
    summary = summary_of(view, history, booked)
    told = [*(note for note in found if note), *behind]
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


def _target(usual: Path, output: str | None) -> Path:
    """Where the report goes; never over something that is no report of ours."""
    target = (Path(output) if output else usual).absolute()
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
    try:
        replace_file(target, page.encode())
    except OSError as error:
        raise shell.cannot_write(target, error, "free space, or --output in a folder that you may write to") from error
    return str(target)
