"""`metrics`: the figures of anybody's training log."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from log_formats.known import FORMATS
from log_reading.notes import MAX_NAME_CHARS, notes_of, unit_of
from log_reading.pattern import PATTERN_HINT
from log_reading.reader import LogMetrics, read_log
from log_reading.source import LogSource, find_source
from log_reading.table import MAX_RESTARTS_TOLD
from run_folder.records import shown

if TYPE_CHECKING:
    from cluster_run.named import Named
    from log_reading.table import LogTable

MAX_EVALS_TOLD = 10


def metrics_result(
    run: Named, log_format: str, pattern: str | None, limit: int, export: str | None, dry_run: bool, yes: bool
) -> shell.Result:
    if not run.is_on_cluster:
        return _of_source(find_source(run.folder), log_format, pattern, limit, export, dry_run, yes)
    from cluster_run.whole import source_of

    with source_of(run) as source:
        return _of_source(source, log_format, pattern, limit, export, dry_run, yes)


def _of_source(
    source: LogSource, log_format: str, pattern: str | None, limit: int, export: str | None, dry_run: bool, yes: bool
) -> shell.Result:
    from log_metrics.export import export_target, write_export

    target = export_target(export, source, yes) if export else None
    found = read_source(source, log_format, pattern)
    if found.format is None:
        raise unknown_format(found, source, log_format, pattern)
    table = found.table
    data = metrics_data(found, source) | {"points": _last_points(table, limit), "total": len(table)}
    changed = [write_export(target, found)] if target and not dry_run else []
    data["export"] = {"path": str(target), "written": bool(changed)} if target else None
    return shell.Result(data=data, changed=changed, truncated=len(table) > limit)


def read_source(source: LogSource, log_format: str, pattern: str | None) -> LogMetrics:
    file = source.open()
    pattern = source.pattern if pattern is None and log_format == "auto" else pattern
    try:
        return read_log(file, format=log_format, pattern=pattern, growing=source.growing)
    except OSError as error:
        message = f"{source.name} cannot be read: {error.strerror}"
        raise shell.SkillError("permission", message, hint=f"ls -l {source.name}") from error
    finally:
        file.close()


def unknown_format(found: LogMetrics, source: LogSource, log_format: str, pattern: str | None) -> shell.SkillError:
    """Nothing was recognised: say what was looked for, and show a few lines as data."""
    if pattern is not None:
        what = "that --pattern finds"
    elif source.pattern is not None and log_format == "auto":
        what = "that monitor.pattern of the job file finds"
    elif log_format != "auto":
        what = f"in the format {log_format}"
    else:
        what = f"in a known format ({', '.join(FORMATS)})"
    message = f"{source.name}: none of {found.count.lines} lines is {what}"
    if found.count.lines == 0:
        message = f"{source.name} holds no whole line yet"
    data = {"lines": found.count.lines, "samples": [shell.clean(line, 160) for line in found.count.samples]}
    return shell.SkillError("usage", message, hint=f"give a pattern: {PATTERN_HINT}", data=data)


def metrics_data(found: LogMetrics, source: LogSource) -> dict[str, Any]:
    table = found.table
    summary = summary_of(found)
    return {
        "source": source.name,
        "format": found.format,
        "line": _line(found, summary),
        "step_source": table.step_source,
        "throughput_unit": unit_of(found),
        "fields": {metric: shell.clean(name, MAX_NAME_CHARS) for metric, name in found.fields.of.items()},
        "lines": found.count.lines,
        "summary": summary,
        "evals": _evals(table),
        "notes": notes_of(found),
    }


def summary_of(found: LogMetrics) -> dict[str, Any]:
    table = found.table
    steps, ended = table.step, table.end
    return {
        "first_step": steps[0] if steps else None,
        "last_step": steps[-1] if steps else None,
        "total_steps": table.total,
        **_losses(table),
        "last_lr": _last(table, "lr"),
        "last_grad_norm": _last(table, "grad_norm"),
        "last_reward": _last(table, "reward"),
        "last_throughput": _last(table, "throughput")
        if "throughput" in table.columns
        else shown(ended.throughput if ended else None),
        "median_throughput": _median(table, "throughput"),
        "median_step_s": table.median_step_s,
        "eta_s": _eta_s(table),
        "evals": len(table.eval_loss),
        **_best_eval(table),
        "restarts": len(table.restarts),
        "restart_steps": [{"from": one.from_step, "to": one.to_step} for one in table.restarts[-MAX_RESTARTS_TOLD:]],
        "ended": ended is not None,
    }


def _eta_s(table: LogTable) -> float | None:
    """As the log says itself, else by its usual time a step."""
    if table.eta_s is not None or table.end or not len(table) or table.total is None or table.median_step_s is None:
        return table.eta_s
    return max(0, table.total - table.step[-1]) * table.median_step_s


def _losses(table: LogTable) -> dict[str, Any]:
    first: tuple[int, float] | None = None
    last: tuple[int, float] | None = None
    least: tuple[int, float] | None = None
    bad, first_bad = 0, None
    for row, value in table.values("loss"):
        first, last = first or (row, value), (row, value)
        if not math.isfinite(value):
            bad, first_bad = bad + 1, row if first_bad is None else first_bad
        elif least is None or value < least[1]:
            least = row, value
    return {
        "first_loss": shown(first[1]) if first else None,
        "last_loss": shown(last[1]) if last else None,
        "min_loss": shown(least[1]) if least else None,
        "min_loss_step": table.step[least[0]] if least else None,
        "losses_not_finite": bad,
        "first_not_finite_step": None if first_bad is None else table.step[first_bad],
    }


def _best_eval(table: LogTable) -> dict[str, Any]:
    finite = [(value, index) for index, value in enumerate(table.eval_loss) if math.isfinite(value)]
    best = min(finite, default=None)
    return {
        "last_eval_loss": shown(table.eval_loss[-1]) if table.eval_loss else None,
        "best_eval_loss": best[0] if best else None,
        "best_eval_step": table.eval_step[best[1]] if best else None,
    }


def _last(table: LogTable, name: str) -> float | str | None:
    if name not in table.columns:
        return None
    return next((shown(value) for row in range(len(table) - 1, -1, -1) if (value := table.value(name, row)) is not None), None)


def _median(table: LogTable, name: str) -> float | None:
    values = [value for _, value in table.values(name) if math.isfinite(value)]
    return statistics.median(values) if values else None


def _last_points(table: LogTable, limit: int) -> list[dict[str, Any]]:
    return [table.point(row) for row in range(max(0, len(table) - limit), len(table))]


def _evals(table: LogTable) -> list[dict[str, Any]]:
    rows = range(max(0, len(table.eval_loss) - MAX_EVALS_TOLD), len(table.eval_loss))
    return [{"step": table.eval_step[row], "eval_loss": shown(table.eval_loss[row])} for row in rows]


def _line(found: LogMetrics, summary: dict[str, Any]) -> str:
    """All of it in one sentence."""
    table, what = found.table, "point" if found.table.step_source == "order" else "step"
    of = f" of {summary['total_steps']}" if summary["total_steps"] else ""
    parts = [f"{found.format}: {len(table)} points" + (f", {what} {summary['last_step']}{of}" if len(table) else "")]
    if summary["first_loss"] is not None:
        parts.append(f"loss {_short(summary['first_loss'])} to {_short(summary['last_loss'])}")
    if summary["last_eval_loss"] is not None:
        parts.append(f"eval {_short(summary['last_eval_loss'])}")
    if summary["losses_not_finite"]:
        parts.append(f"{summary['losses_not_finite']} losses are not finite")
    if summary["restarts"]:
        parts.append(f"{summary['restarts']} restart{'s' if summary['restarts'] > 1 else ''}")
    if summary["last_throughput"] is not None:
        parts.append(f"{_short(summary['last_throughput'])} {unit_of(found)}")
    return ", ".join(parts)


def _short(value: float | str) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float) and abs(value) < 10_000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else value
    )
