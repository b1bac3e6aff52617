"""A path that the build context lacks, looked for in the project's folder: left out by the ignore file, spelled otherwise, elsewhere, nowhere."""

from __future__ import annotations

import difflib
import os
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from build_context.ignore import Pattern
from build_recipe import Recipe
from dockerfiles.copy_sources import Source

MAX_LOOKED, MAX_MATCHED = 50_000, 1000
NOT_LOOKED = {".git", ".venv", "node_modules", "__pycache__"}


@dataclass(frozen=True)
class Lost:
    """A path of the project that the build cannot see under the name it uses."""

    path: str
    """Relative to the folder; of a source that is nowhere, as it is asked for."""
    why: str
    """ignored | spelled | elsewhere | outside | absent"""
    pattern: Pattern | None = None
    near: str | None = None
    """Where the folder has it."""


def lost(recipe: Recipe, source: Source) -> Lost | None:
    """Why COPY would not find a source; None where it would."""
    path = source.path
    if path == "." or source.is_pattern:
        return _lost_pattern(recipe, source) if source.is_pattern else None
    if os.path.lexists(recipe.folder / path) and _spelled(recipe, path):
        pattern = recipe.ignore.leaves_out(path)
        if pattern is None or (recipe.ignore.may_hold(path) and _has_kept(recipe, path)):
            return None
        return Lost(path, "ignored", pattern)
    if any(name == path or name.startswith(f"{path}/") for name, _ in recipe.files):
        return None
    if source.leads_out:
        return Lost(source.asked, "outside", near=_near(recipe, path)[1])
    why, near = _near(recipe, path)
    return Lost(path, why, near=near)


def _lost_pattern(recipe: Recipe, source: Source) -> Lost | None:
    """A pattern that takes nothing, because the ignore file leaves out all that it would take: BuildKit copies nothing then, and says nothing."""
    matched = islice(recipe.folder.glob(source.path), MAX_MATCHED) if _plain(source.path) else ()
    found = [path.relative_to(recipe.folder).as_posix() for path in matched]
    decided = [recipe.ignore.leaves_out(path) for path in found]
    return Lost(source.path, "ignored", decided[0]) if found and decided[0] and all(decided) else None


def _plain(pattern: str) -> bool:
    return "**" not in pattern and "[" not in pattern


def _spelled(recipe: Recipe, path: str) -> bool:
    """Whether the folder has this very name: a disk of macOS or Windows finds others too."""
    parent, _, name = path.rpartition("/")
    return name in os.listdir(recipe.folder / parent)


def _has_kept(recipe: Recipe, folder: str) -> bool:
    names = (posixpath.join(folder, name) for name in _below(recipe, folder))
    return any(recipe.ignore.leaves_out(name) is None for name in names)


def _below(recipe: Recipe, folder: str) -> Iterator[str]:
    """Files below a folder, relative to it; at most so many."""
    count = 0
    for place, folders, files in os.walk(recipe.folder / folder):
        folders[:] = sorted(set(folders) - NOT_LOOKED)
        for name in sorted(files):
            count += 1
            if count > MAX_LOOKED:
                return
            yield os.path.relpath(os.path.join(place, name), recipe.folder / folder).replace(os.sep, "/")


def _near(recipe: Recipe, path: str) -> tuple[str, str | None]:
    """The one path of the folder that was meant: in another case, nearly the same beside it, or of the same name elsewhere."""
    files = list(_below(recipe, "."))
    names = {*files, *(folder for name in files for folder in _folders(name))}
    beside = [name for name in names if name.rpartition("/")[0] == path.rpartition("/")[0]]
    for why, same in (
        ("spelled", [name for name in names if name.lower() == path.lower()]),
        ("elsewhere", [name for name in names if name.rpartition("/")[2] == path.rpartition("/")[2]]),
        ("spelled", difflib.get_close_matches(path, beside, n=2, cutoff=0.8)),
    ):
        if len(same) == 1:
            return why, same[0]
    return "absent", None


def _folders(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]
