"""Where a run was submitted, held against where its folder lies now: at home, moved, or a copy of a run that is elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trainyard_files import Unusable

from local_folder import RunFolder, read_spec
from trainyard_process import same_place

PATHS = ("workdir", "python", "checkpoints")


def original_of(folder: RunFolder, stored: dict[str, Any]) -> Path | None:
    """The folder that this one is a copy of; None at home, and where the run was moved: then its old place is gone.

    A copy has the id, the processes and the checkpoint paths of the original on paper; it must not act on any of them.
    """
    home = stored.get("folder")
    if not home or same_place(home, folder.path):
        return None
    there = RunFolder(Path(home))
    try:
        other = read_spec(there)
    except (Unusable, OSError):  # something is there that nobody can read: it may well be the run
        return there.path
    return there.path if other is not None and other.get("run_id") == stored.get("run_id") else None


def at_home(folder: RunFolder, stored: dict[str, Any]) -> dict[str, Any]:
    """`stored` with the paths that it would have if the run had been submitted where it lies now."""
    home = stored.get("folder")
    if not home or home == str(folder.path) or original_of(folder, stored):
        return stored
    old, new = _roots(Path(home), folder.path)

    def moved(text: str) -> str:
        return new + text[len(old) :] if text == old or text.startswith(old + os.sep) else text

    paths = {name: moved(stored[name]) for name in PATHS if stored.get(name)}
    words = {"command": [moved(word) for word in stored["command"]]} if stored.get("command") else {}
    env = {"env": {name: moved(value) for name, value in stored["env"].items()}} if stored.get("env") else {}
    return {**stored, **paths, **words, **env, "folder": str(folder.path)}


def _roots(home: Path, here: Path) -> tuple[str, str]:
    """The folder that was moved as a whole, before and after: what is left when the common end of both paths is taken off."""
    while home.name == here.name and home.name:
        home, here = home.parent, here.parent
    return str(home), str(here)
