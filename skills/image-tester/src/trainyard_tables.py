"""A skill program's document as tables for people. Copied with trainyard_shell.py by `make kit`; edit it in skills/kit/ only."""

from __future__ import annotations

import json
from typing import Any

import click
from trainyard_calls import command
from trainyard_output import clean

LINE_CHARS = 300
"""Of a value that has a line to itself: an image with host and digest is copied from there."""
CELL_CHARS = 80
WHOLE_CHARS = 2000
"""Of a sentence: what a row says and what to do about it are told to the end."""
COLOURS = {"pass": "green", "warn": "yellow", "fail": "red", "unknown": "magenta", "skipped": "bright_black"}


def print_tables(document: dict[str, Any]) -> None:
    if "error" in document:
        error = document["error"]
        click.secho(f"{command or document['skill']}: {error['message']}", fg="red")
        if error["hint"]:
            click.echo(f"  next: {error['hint']}")
    _print_value(document["data"], indent="")
    for check in document["checks"]:
        click.echo(
            click.style(f"{check['status']:8}", fg=COLOURS.get(check["status"])) + f"{check['id']:24} {check['summary']}"
        )
        if check["fix"] and check["status"] not in ("pass", "skipped"):
            click.echo(f"{'':8}{'':24} fix: {check['fix']}")
    for line in document.get("changed", []):
        click.echo(f"changed: {line}")
    for line in document.get("next", []):
        click.echo(f"next: {line}")


def _print_value(data: dict[str, Any], indent: str) -> None:
    scalars = {key: value for key, value in data.items() if not isinstance(value, dict | list)}
    width = max((len(key) for key in scalars), default=0)
    for key, value in scalars.items():
        click.echo(f"{indent}{key:{width}}  {_cell(value, LINE_CHARS)}")
    for key, value in data.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            click.echo(f"{indent}{key}:")
            _print_rows(value, indent + "  ")
        elif isinstance(value, list) and sum(len(str(item)) + 2 for item in value) > 100:  # log lines, say: one a line
            click.echo("\n".join([f"{indent}{key}:", *(f"{indent}  {clean(str(item))}" for item in value)]))
        elif isinstance(value, list):
            click.echo(f"{indent}{key}: {', '.join(_cell(item) for item in value) or '-'}")
        elif isinstance(value, dict):
            click.echo(f"{indent}{key}:")
            _print_value(value, indent + "  ")


def _print_rows(rows: list[dict[str, Any]], indent: str) -> None:
    """A line a row. A column that holds a sentence somewhere stands under the rows instead, uncut, where its row has it."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    long = [column for column in columns if any(_is_long(row.get(column)) for row in rows)]
    if long and len(long) < len(columns):
        return _print_blocks(rows, [column for column in columns if column not in long], long, indent)
    cells = [columns] + [[_cell(row.get(column)) for column in columns] for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    for line in cells:
        click.echo(indent + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _print_blocks(rows: list[dict[str, Any]], short: list[str], long: list[str], indent: str) -> None:
    for row in rows:
        click.echo(indent + "  ".join(_cell(row.get(column)) for column in short))
        for column in long:
            if row.get(column) is not None:
                click.echo(f"{indent}  {column}: {_cell(row[column], WHOLE_CHARS)}")


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > CELL_CHARS


def _cell(value: Any, limit_chars: int = CELL_CHARS) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:.0f}"
    return clean(json.dumps(value) if isinstance(value, dict | list) else str(value), limit_chars)
