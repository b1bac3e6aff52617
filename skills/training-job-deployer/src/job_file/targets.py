"""The targets of this version: one file in places/ each, whose class `Place` says how a job runs there."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import trainyard_shell as shell

FOLDER = Path(__file__).resolve().parents[1] / "places"


def names() -> list[str]:
    """In alphabetical order."""
    return sorted(path.stem for path in FOLDER.glob("*.py"))


def place_class(target: str) -> Any:
    """The class `Place` of a target (deploy_place.Place). Raises SkillError conflict: a run.json may be of a later version."""
    if target not in names():
        told = f"target {shell.clean(target, 40)!r} is not known here; known: {', '.join(names())}"
        raise shell.SkillError("conflict", told, hint="use the version that started this run")
    try:
        return importlib.import_module(f"places.{target}").Place
    except (ImportError, AttributeError, SyntaxError) as error:
        raise faulty(target, error) from error


def faulty(target: str, error: Exception) -> shell.SkillError:
    """A file in places/ that is not what it must be."""
    told = f"places/{target}.py holds no usable class Place: {shell.clean(str(error), 300)}"
    return shell.SkillError("internal", told, hint="CONTRIBUTING.md, Add a target")
