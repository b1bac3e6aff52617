"""`compare`: several runs in the same charts, as figures, as one HTML file, and as a chart for a terminal."""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from goodput.of_view import summary_of
from run_folder.folder import open_run_folder, read_command
from run_report.chart import chart
from run_report.curves import kept_line, validation_line
from run_report.plots import Point, Series, plot
from run_report.target import report_target, write_report
from run_report.whole import log_alone, run_of_folder
from run_view.status import duration

if TYPE_CHECKING:
    from array import array

    from goodput.account import Account
    from goodput.history import History
    from run_view.observe import Observation

TEMPLATE = Path(__file__).resolve().parents[2] / "assets" / "compare.html"
MOST_RUNS = 6
"""As many as there are colours that are told apart."""
FIGURES = ("state", "steps", "last_loss", "least_val_loss", "loss_at", "step_s_median", "throughput", "wall_s", "goodput")


@dataclass(frozen=True)
class Compared:
    name: str
    view: Observation
    history: History
    booked: Account | None
    command: tuple[str, ...]

    def line(self, column: str) -> list[Point]:
        """(step, value) of the steps that count."""
        values: array[float] = getattr(self.history.steps, column)
        return kept_line(self.history, values)

    def loss_at(self, step: int) -> float | None:
        """Of the last step up to `step` that counts."""
        steps = self.history.steps
        rows = (row for row in reversed(range(len(steps))) if steps.step[row] <= step and not steps.undone[row])
        return next((steps.loss[row] for row in rows if math.isfinite(steps.loss[row])), None)

    @property
    def last_step(self) -> int:
        return max(self.history.steps.step, default=0)


def compare_result(runs: tuple[str, ...], output: str | None, dry_run: bool, stall_factor: float) -> shell.Result:
    """Raises SkillError usage (fewer than two runs, more than MOST_RUNS), not-found, and what reading a run raises."""
    if not 2 <= len(runs) <= MOST_RUNS:
        raise shell.SkillError("usage", f"{len(runs)} runs given; 2 to {MOST_RUNS} can be compared", hint="compare RUN RUN")
    found = [_read(run, stall_factor) for run in runs]
    found = [_renamed(one, found) for one in found]
    target = report_target(Path.cwd() / "compare.html", output)
    common = min(one.last_step for one in found)
    rows = [_row(one, common) for one in found]
    page = _page(found, rows, common)
    changed = [] if dry_run else [write_report(target, page)]
    data = {
        "runs": rows,
        "common_step": common,
        "differs": _differences(found),
        "path": str(target),
        "written": not dry_run,
        "chart": chart([(one.name, one.line("loss")) for one in found], y_name="loss"),
    }
    return shell.Result(data=data, changed=changed)


def _read(run: str, stall_factor: float) -> Compared:
    path = Path(run)
    if path.is_file():
        view, history, booked = log_alone(path, stall_factor)
        return Compared(path.stem, view, history, booked, ())
    path = open_run_folder(run)
    view, history, booked = run_of_folder(path, stall_factor)
    name = (view.runner.name if view.runner else "") or path.resolve().name
    return Compared(path.resolve().name if "@" in path.resolve().name else name, view, history, booked, read_command(path))


def _renamed(one: Compared, found: list[Compared]) -> Compared:
    """Two folders of one name are told apart by their paths."""
    if sum(other.name == one.name for other in found) == 1:
        return one
    return Compared(str(one.view.path), one.view, one.history, one.booked, one.command)


def _row(one: Compared, common: int) -> dict[str, Any]:
    summary = summary_of(one.view, one.history, one.booked)
    steps = one.history.steps
    rates = [value for _, value in one.line("tokens_per_s")]
    least = min((value for _, value in steps.val_loss if math.isfinite(value)), default=None)
    return {
        "run": one.name,
        "state": one.view.state.name,
        "steps": summary["steps"],
        "last_loss": summary["last_loss"],
        "least_val_loss": least,
        "loss_at": one.loss_at(common),
        "step_s_median": steps.median_step_s,
        "throughput": sorted(rates)[len(rates) // 2] if rates else None,
        "wall_s": summary["wall_s"],
        "goodput": summary["goodput"],
    }


def _differences(found: list[Compared]) -> list[dict[str, str]]:
    """The words of each command that another one lacks; [] where no command is known."""
    known = [one for one in found if one.command]
    shared = set.intersection(*(set(one.command) for one in known)) if known else set()
    rows = [{"run": one.name, "words": shlex.join(_apart(one.command, shared))} for one in known]
    return rows if any(row["words"] for row in rows) else []


def _apart(command: tuple[str, ...], shared: set[str]) -> list[str]:
    """The words that differ, each value with its option before it."""
    kept = []
    for at, word in enumerate(command):
        if word in shared:
            continue
        before = command[at - 1] if at else ""
        kept += [before, word] if before.startswith("-") and before in shared and not word.startswith("-") else [word]
    return kept


def _page(found: list[Compared], rows: list[dict[str, Any]], common: int) -> str:
    heads = ["run", "state", "steps", "last loss", "least validation loss", f"loss at step {common:,}", "seconds a step"]
    heads += ["throughput", "wall time", "goodput"]
    body = "".join(
        f'<tr><th scope="row"><span class="key c{at}">{escape(shell.clean(row["run"], 120))}</span></th>'
        + "".join(f'<td class="n">{escape(_cell(name, row[name]))}</td>' for name in FIGURES)
        + "</tr>"
        for at, row in enumerate(rows)
    )
    differing = "".join(
        f"<tr><th scope='row'>{escape(shell.clean(row['run'], 120))}</th><td><code>{escape(shell.clean(row['words'], 400)) or '-'}</code></td></tr>"
        for row in _differences(found)
    )
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        title=escape(shell.clean(" and ".join(one.name for one in found), 200)),
        heads="".join(f"<th>{escape(head)}</th>" for head in heads),
        rows=body,
        differs=f"<section><h2>What their commands do not share</h2><table><tbody>{differing}</tbody></table></section>"
        if differing
        else "",
        curves=_curves(found),
    )


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "unknown"
    if name == "wall_s":
        return duration(value)
    if name == "goodput":
        return f"{100 * value:.1f}%"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}" if isinstance(value, float) else str(value)


def _curves(found: list[Compared]) -> str:
    def series(lines: list[list[Point]], *, dots: bool = False) -> list[Series]:
        return [
            Series(one.name, f"c{at}", [line] if line else [], dots=dots)
            for at, (one, line) in enumerate(zip(found, lines, strict=True))
        ]

    units = {one.history.log.throughput_unit if one.history.log else "tokens/s" for one in found}
    plots = [
        ("Loss", series([one.line("loss") for one in found]), ""),
        ("Validation loss", series([validation_line(one.history) for one in found], dots=True), ""),
        ("Step time", series([[point for point in one.line("step_s") if point[1] > 0] for one in found]), "seconds"),
    ]
    if len(units) == 1:  # else one axis would hold two units
        plots.append(("Throughput", series([one.line("tokens_per_s") for one in found]), shell.clean(units.pop(), 60)))
    drawn = [each for each in plots if any(one.lines for one in each[1])]
    return "".join(plot(title, lines, x_name="step", y_name=y_name) for title, lines, y_name in drawn)
