"""The measurements as text for a terminal, as Markdown and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.measuring import Bound, Comparison, Group, Series

COMPARISON_HEAD = ("ratio", "min .. max", "goal", "verdict", "what", "trainyard's", "peer's", "peer")
BOUND_HEAD = ("median", "min .. max", "goal", "verdict", "what")
SERIES_HEAD = ("median s", "min .. max", "runs", "who")


def machine(file_system: str) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "cpus": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "file_system": file_system,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "safetensors", "click")},
        "load_at_start": round(os.getloadavg()[0], 2),
    }


def group_as_text(group: Group) -> str:
    """Ratios, bounds, seconds and notes of one group, in aligned columns."""
    tables = [_aligned(head, rows) for head, rows in _tables(group)]
    return "\n".join([f"== {group.title}", *tables, *(f"  {note}" for note in group.notes)])


def _tables(group: Group) -> list[tuple[tuple[str, ...], list[list[str]]]]:
    """Those that have rows."""
    tables = [
        (COMPARISON_HEAD, [_comparison_row(each) for each in group.comparisons]),
        (BOUND_HEAD, [_bound_row(each) for each in group.bounds]),
        (SERIES_HEAD, [_series_row(each) for each in group.series]),
    ]
    return [(head, rows) for head, rows in tables if rows]


def as_markdown(document: dict[str, Any], groups: list[Group]) -> str:
    """A page to keep."""
    lines = ["# Benchmarks", "", f"Command: `{document['command']}`. Machine: {_words(document['machine'])}."]
    lines += [f"Note: {document['note']}"] if document["note"] else []
    lines += ["", summary(groups)]
    for group in groups:
        lines += ["", f"## {group.title}"]
        for head, rows in _tables(group):
            lines += [*_pipes(head, rows), ""]
        lines += [f"- {note}" for note in group.notes]
    return "\n".join(lines) + "\n"


def as_document(machine: dict[str, Any], command: str, note: str, groups: list[Group]) -> dict[str, Any]:
    return {"command": command, "note": note, "machine": machine, "groups": [group.as_json() for group in groups]}


def write(path: Path, document: dict[str, Any], groups: list[Group]) -> None:
    """JSON for `.json`, Markdown for anything else."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1) + "\n" if path.suffix == ".json" else as_markdown(document, groups)
    path.write_text(text, encoding="utf-8")


def summary(groups: list[Group]) -> str:
    judged = [each for group in groups for each in [*group.comparisons, *group.bounds] if each.goal is not None]
    missed = [each for each in judged if each.verdict == "MISS"]
    return f"{len(judged) - len(missed)} of {len(judged)} goals met" + (f", {len(missed)} MISSED" if missed else "")


def _comparison_row(each: Comparison) -> list[str]:
    return [
        f"{each.ratio:.2f}",
        f"{min(each.ratios):.2f} .. {max(each.ratios):.2f}",
        "-" if each.goal is None else f"<= {each.goal:g}",
        each.verdict,
        each.what,
        f"{each.ours.median_s:.4f} s",
        f"{each.peer.median_s:.4f} s",
        each.peer.name,
    ]


def _bound_row(each: Bound) -> list[str]:
    spread = f"{min(each.values):.4f} .. {max(each.values):.4f}"
    return [f"{each.median:.4f} {each.unit}", spread, f"<= {each.goal:g} {each.unit}", each.verdict, each.what]


def _series_row(each: Series) -> list[str]:
    spread = f"{min(each.seconds):.4f} .. {max(each.seconds):.4f}"
    return [f"{each.median_s:.4f}", spread, str(len(each.seconds)), each.name]


def _aligned(head: tuple[str, ...], rows: list[list[str]]) -> str:
    cells = [list(head), *rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
    )


def _pipes(head: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    line: Callable[[list[str]], str] = lambda row: f"| {' | '.join(row)} |"  # noqa: E731
    return [line(list(head)), "|---" * len(head) + "|", *map(line, rows)]


def _words(machine: dict[str, Any]) -> str:
    return ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in machine.items())
