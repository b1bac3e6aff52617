"""`report`: where the page goes, and what is on it; of a run folder, or of a log alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import trainyard_shell as shell
from goodput.of_view import history_of, summary_of
from run_folder.folder import open_run_folder
from run_health.restart import restart_warnings
from run_report.page import render
from run_report.target import report_target, write_report
from run_report.whole import log_alone, run_of_folder
from run_view.status import tally_note

if TYPE_CHECKING:
    from cluster_run.named import Named
    from goodput.account import Account
    from goodput.history import History
    from run_view.observe import Observation


def report_result(run: Named, output: str | None, dry_run: bool, stall_factor: float) -> shell.Result:
    if run.is_on_cluster:
        return _of_cluster(run, output, dry_run, stall_factor)
    alone = Path(run.folder).is_file()
    path = Path(run.folder) if alone else open_run_folder(run.folder)
    target = report_target(path.with_name(f"{path.name}.report.html") if alone else path / "report.html", output)
    if alone:
        view, history, booked = log_alone(path, stall_factor)
    else:
        view, history, booked = run_of_folder(path, stall_factor)
    more = [] if alone else restart_warnings(view)
    return _report(target, view, history, booked, [], more, dry_run, stall_factor)


def _of_cluster(run: Named, output: str | None, dry_run: bool, stall_factor: float) -> shell.Result:
    from cluster_run import whole

    with whole.whole_run(run, stall_factor) as (found, _):
        target = report_target(whole.report_target(found.run.name), output)
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
    changed = [] if dry_run else [write_report(target, page)]
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
