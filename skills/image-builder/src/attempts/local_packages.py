"""Packages of the project itself that a RUN installs by their folder: `./ops` in a requirements file, or as a word of pip's."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name

from asked.files import Folder
from asked.wants import Place, Want
from build_recipe import Recipe
from dockerfiles.installs import Install
from dockerfiles.shell import commands
from dockerfiles.text import Instruction

FOLDER = re.compile(r"(?:(?:-e|--editable)[= ]\s*)?(?P<path>\.{1,2}/[\w./-]+|[\w.-]+/)\s*(?:#.*)?")
BUILDS = ("setup.py", "pyproject.toml")


def local_wants(recipe: Recipe, install: Install, run: Instruction) -> list[Want]:
    """By the folder's name, which is what pip's log has. Paths are as they stand: pip reads them from where it runs."""
    folder = Folder(recipe.folder)
    found = []
    for asked in install.files:
        for number, line in enumerate((folder.text(asked.strip("/")) or "").splitlines(), 1):
            found.append(_want(folder, line.strip(), Place(asked, number)))
    for command in commands(run):
        if "install" in command.words:
            found += [_want(folder, word, Place(recipe.dockerfile_name, run.line)) for word in command.words]
    return [each for each in found if each]


def _want(folder: Folder, text: str, place: Place) -> Want | None:
    match = FOLDER.fullmatch(text)
    path = match["path"].rstrip("/") if match else ""
    inside = path.removeprefix("./")
    if not inside or ".." in inside.split("/") or not any(folder.exists(f"{inside}/{name}") for name in BUILDS):
        return None
    given = path if path.startswith(".") else f"./{path}"
    return Want(str(canonicalize_name(inside.rpartition("/")[2])), given, place, text=given)
