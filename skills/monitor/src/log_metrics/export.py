"""Write the points of a log as CSV or JSON: all of them, atomically, and never over a file of somebody else's unasked."""

from __future__ import annotations

import csv
import json
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import trainyard_shell as shell
from log_formats.values import METRICS
from log_reading.notes import unit_of
from run_folder.records import shown
from trainyard_files import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from log_reading.reader import LogMetrics
    from log_reading.source import LogSource

MARK_COLUMN = "trainyard_log_format"
"""The last column: the format of the log, and the sign by which an export is known again."""
GENERATOR = "trainyard monitor metrics"


def export_target(text: str, source: LogSource, yes: bool) -> Path:
    """Where the export goes; SkillError where it must not go."""
    target = Path(text).absolute()
    if target.suffix not in (".csv", ".json"):
        raise shell.SkillError("usage", f"--export {text}: the name must end in .csv or .json", hint="--export metrics.csv")
    if target.is_dir():
        raise shell.SkillError("usage", f"{target} is a folder", hint=f"--export {target}/metrics.csv")
    if not target.parent.is_dir():
        raise shell.SkillError("not-found", f"the folder {target.parent} does not exist", hint=f"mkdir -p {target.parent}")
    if target.exists():
        if any(target.samefile(path) for path in source.paths):
            raise shell.SkillError("conflict", f"{target} is the log itself; it stays", hint="another --export")
        if not yes and not _is_ours(target):
            message = f"{target} is not an export of this program; it stays"
            raise shell.SkillError("conflict", message, hint="another --export, or --yes to replace it")
    return target


def _is_ours(target: Path) -> bool:
    if not target.is_file():
        return False
    with target.open("rb") as file:
        head = file.read(1024)
    return head.split(b"\n")[0].strip().endswith(b"," + MARK_COLUMN.encode()) or GENERATOR.encode() in head


def write_export(target: Path, found: LogMetrics) -> str:
    try:
        with replacing(target) as raw:
            file = io.TextIOWrapper(raw, encoding="utf-8", newline="")
            (_write_csv if target.suffix == ".csv" else _write_json)(file, found)
            file.detach()
    except OSError as error:
        raise shell.cannot_write(target, error, "free space, or --export into a folder that you may write to") from error
    return str(target)


def _write_csv(file: TextIO, found: LogMetrics) -> None:
    columns, unit = _columns(found), unit_of(found)
    names = [f"throughput [{unit}]" if column == "throughput" and unit else column for column in columns]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*names, MARK_COLUMN])
    for point in points_of(found):
        writer.writerow([*("" if point.get(column) is None else point[column] for column in columns), found.format])


def _write_json(file: TextIO, found: LogMetrics) -> None:
    head: dict[str, Any] = {"generator": GENERATOR, "format": found.format, "fields": found.fields.of}
    head |= {"throughput_unit": unit_of(found), "step_source": found.table.step_source}
    file.write(json.dumps(head)[:-1] + ', "points": [')
    for index, point in enumerate(points_of(found)):  # one at a time: there may be millions
        file.write((",\n" if index else "\n") + json.dumps(point))
    file.write("\n]}\n")


def _columns(found: LogMetrics) -> list[str]:
    table = found.table
    told = [name for name in METRICS if name in table.columns]
    return ["step", *(["time"] if table.has_times else []), *told, *(["eval_loss"] if table.eval_loss else [])]


def points_of(found: LogMetrics) -> Iterator[dict[str, Any]]:
    """Every row, and the evaluations in their place among them."""
    table, index = found.table, 0
    for row in range(-1, len(table)):
        point = table.point(row) if row >= 0 else None
        extra = []
        while index < len(table.eval_loss) and table.eval_row[index] <= row:
            step, value = table.eval_step[index], shown(table.eval_loss[index])
            if point is not None and point["step"] == step and "eval_loss" not in point:
                point["eval_loss"] = value
            else:
                extra.append({"step": step, "eval_loss": value})
            index += 1
        yield from ([point] if point is not None else []) + extra
