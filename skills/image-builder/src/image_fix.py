"""Edits -> a unified diff, and the files with it. Only lines that a finding names are changed."""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Iterable

import trainyard_files
import trainyard_shell as shell
from image_files import MAX_FILE_BYTES, Folder
from image_findings import Edit


def edited(folder: Folder, edits: Iterable[Edit]) -> dict[str, tuple[str, str]]:
    """File -> its text before and after. An edit whose text does not stand exactly once in its line is left out."""
    wanted: dict[str, list[Edit]] = defaultdict(list)
    for each in edits:
        wanted[each.place.file].append(each)
    found = {}
    for name, own in sorted(wanted.items()):
        before = _raw(folder, name)
        after = _apply(before, own) if before is not None else None
        if before is not None and after is not None and after != before:
            found[name] = (before, after)
    return found


def _raw(folder: Folder, name: str) -> str | None:
    """As it stands: line ends and a byte-order mark stay."""
    try:
        return (
            trainyard_files.read_regular(folder.path / name, MAX_FILE_BYTES).decode("utf-8")
            if folder.text(name) is not None
            else None
        )
    except (OSError, ValueError):
        return None


def _apply(text: str, edits: list[Edit]) -> str:
    lines = text.splitlines(keepends=True)
    done: set[tuple[int, str]] = set()
    for each in edits:
        index = each.place.line - 1
        if index < len(lines) and each.old and lines[index].count(each.old) == 1 and (index, each.old) not in done:
            lines[index] = lines[index].replace(each.old, each.new)
            done.add((index, each.old))
    return "".join(lines)


def diff(changes: dict[str, tuple[str, str]]) -> str:
    """One unified diff of all files."""
    out: list[str] = []
    for name, (before, after) in changes.items():
        out += difflib.unified_diff(before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}")
    return "".join(line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in out)


def write(folder: Folder, changes: dict[str, tuple[str, str]]) -> list[str]:
    """Replaces each file as a whole, its mode kept; returns their names. Raises SkillError where one cannot be written."""
    for name, (before, after) in changes.items():
        path = (folder.path / name).resolve()
        if _raw(folder, name) != before:
            raise shell.SkillError(
                "conflict", f"{name} changed while it was judged; nothing was written to it", hint="the same call again"
            )
        try:
            mode = path.stat().st_mode & 0o7777
            with trainyard_files.replacing(path) as file:
                file.write(after.encode("utf-8"))
                file.flush()
                _chmod(file.fileno(), mode)
        except OSError as error:
            raise shell.cannot_write(name, error, "chmod, or `--fix` and apply the diff yourself") from error
    return list(changes)


def _chmod(handle: int, mode: int) -> None:
    import os

    os.fchmod(handle, mode)
