"""Edits -> a unified diff, and the files with it. Only lines that a finding names are changed."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import trainyard_files
import trainyard_shell as shell
from asked.files import MAX_FILE_BYTES, Folder
from conflicts.findings import Edit


@dataclass
class Changes:
    """File -> its text before and after, and the edits that are in it."""

    files: dict[str, tuple[str, str]] = field(default_factory=dict)
    made: set[Edit] = field(default_factory=set)


def edited(folder: Folder, edits: Iterable[Edit]) -> Changes:
    """An edit whose text does not stand exactly once in its line, as a word of its own, is left out."""
    wanted: dict[str, list[Edit]] = defaultdict(list)
    for each in edits:
        wanted[each.place.file].append(each)
    found = Changes()
    for name, own in sorted(wanted.items()):
        before = _raw(folder, name)
        after = _apply(before, own, found.made) if before is not None else None
        if before is not None and after is not None and after != before:
            found.files[name] = (before, after)
    return found


def _raw(folder: Folder, name: str) -> str | None:
    """As it stands: line ends and a byte-order mark stay. None for a file that was not read."""
    try:
        return (
            trainyard_files.read_regular(folder.path / name, MAX_FILE_BYTES).decode("utf-8")
            if folder.text(name) is not None
            else None
        )
    except (OSError, ValueError):
        return None


def _apply(text: str, edits: list[Edit], made: set[Edit]) -> str:
    lines = text.splitlines(keepends=True)
    for each in edits:
        index = each.place.line - 1
        found = (
            list(re.finditer(rf"(?<![\w.-]){re.escape(each.old)}(?![\w.-])", lines[index]))
            if index < len(lines) and each.old
            else []
        )
        if len(found) == 1:
            lines[index] = lines[index][: found[0].start()] + each.new + lines[index][found[0].end() :]
            made.add(each)
    return "".join(lines)


def diff(changes: Changes) -> list[str]:
    """The lines of one unified diff of all files."""
    out: list[str] = []
    for name, (before, after) in changes.files.items():
        for line in difflib.unified_diff(
            before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{name}", f"b/{name}"
        ):
            out += [line.removesuffix("\n")] if line.endswith("\n") else [line, "\\ No newline at end of file"]
    return out


def write(folder: Folder, changes: Changes) -> list[str]:
    """Replaces each file as a whole, its mode and owner kept; returns their names. Raises SkillError where one cannot be written: then none is."""
    for name, (before, _) in changes.files.items():
        if _raw(folder, name) != before:
            raise shell.SkillError(
                "conflict", f"{name} changed while it was judged; nothing was written", hint="the same call again"
            )
    done: list[str] = []
    for name, (_, after) in changes.files.items():
        try:
            _replace(folder, name, after)
        except OSError as error:
            for other in done:
                with contextlib.suppress(OSError):
                    _replace(folder, other, changes.files[other][0])
            raise shell.cannot_write(name, error, "chmod, or `--fix` and apply the diff yourself") from error
        done.append(name)
    return done


def _replace(folder: Folder, name: str, text: str) -> None:
    path = (folder.path / name).resolve()
    there = path.stat()
    with trainyard_files.replacing(path) as file:
        with contextlib.suppress(PermissionError):  # only root gives files away
            os.fchown(file.fileno(), there.st_uid, there.st_gid)
        os.fchmod(file.fileno(), there.st_mode & 0o7777)
        file.write(text.encode("utf-8"))
