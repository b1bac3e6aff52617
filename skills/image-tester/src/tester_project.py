"""What a project declares: names, versions and markers of requirements.txt, else of pyproject.toml. Read within bounds, nothing is run."""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainyard_files
import trainyard_shell as shell
from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement

MAX_FILE_BYTES = 1 << 20
MAX_FILES, MAX_NAMES = 20, 300
COMMENT = re.compile(r"(?:^|\s)#.*$")
LOGIN = re.compile(r"//[^/@\s]+@")
"""In an address: a password may stand there."""
EDITABLE = re.compile(r"-e\b|--editable\b")
"""A package without a name that could be looked for, as are a path and an address: not understood. Other options bring none."""
INCLUDE = re.compile(r"(?:-r|--requirement)[\s=]*(\S+)")


@dataclass(frozen=True)
class Declared:
    """One package that the project asks for."""

    name: str
    specifier: str = ""
    marker: str = ""
    where: str = ""
    """file:line"""

    def wanted(self, environment: dict[str, str]) -> bool:
        """Whether its marker holds where the image's Python is."""
        try:
            return not self.marker or Marker(self.marker).evaluate(environment)
        except (InvalidMarker, KeyError, ValueError):
            return True


@dataclass
class Reading:
    """All of a folder."""

    folder: Path
    found: dict[str, Declared] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    """Lines and files that were not understood."""

    def add(self, text: str, where: str) -> None:
        try:
            each = Requirement(text)
        except InvalidRequirement:
            self.unread.append(f"{where}: {shell.clean(LOGIN.sub('//***@', text), 80)}")
            return
        if len(self.found) >= MAX_NAMES:
            self.unread.append(f"{where}: {each.name}: more than {MAX_NAMES} packages are not tried")
        else:
            name = re.sub(r"[-_.]+", "-", each.name).lower()
            marker = str(each.marker) if each.marker else ""
            self.found.setdefault(f"{name} {marker}", Declared(name, str(each.specifier), marker, where))


def declared(path: str) -> Reading:
    """What nothing in the folder declares is said in `unread`. Raises SkillError usage: no folder, a file that cannot be read."""
    folder = Path(path)
    if not folder.is_dir():
        raise shell.SkillError(
            "usage", f"{shell.clean(path, 200)} is not a folder", hint="--project FOLDER with requirements.txt"
        )
    reading = Reading(folder.resolve())
    _requirements(reading, "requirements.txt")
    if not reading.files:
        _pyproject(reading)
    if not reading.files:
        reading.unread.append("the project has neither requirements.txt nor pyproject.toml with dependencies")
    return reading


def _requirements(reading: Reading, name: str) -> None:
    if name in reading.files or len(reading.files) >= MAX_FILES:
        return
    text = _text(reading, name)
    if text is None:
        return
    reading.files.append(name)
    for number, line in enumerate(text.replace("\\\n", " ").splitlines(), start=1):
        line = COMMENT.sub("", line).strip()
        if match := INCLUDE.fullmatch(line):
            _requirements(reading, os.path.normpath(os.path.join(os.path.dirname(name), match[1])))
        elif EDITABLE.match(line) or (line and not line.startswith("-")):
            reading.add(re.split(r"\s--", line)[0].strip(), f"{name}:{number}")


def _pyproject(reading: Reading) -> None:
    text = _text(reading, "pyproject.toml")
    try:
        found: Any = tomllib.loads(text) if text else {}
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise shell.SkillError(
            "usage", f"pyproject.toml cannot be read: {shell.clean(str(error), 200)}", hint="correct it"
        ) from error
    project = found.get("project")
    names = project.get("dependencies") if isinstance(project, dict) else None
    if isinstance(names, list):
        reading.files.append("pyproject.toml")
        for each in names:
            reading.add(str(each), "pyproject.toml")


def _text(reading: Reading, name: str) -> str | None:
    path = Path(os.path.realpath(reading.folder / name))
    if not path.is_relative_to(reading.folder):
        reading.unread.append(f"{shell.clean(name, 100)} leads out of the folder")
        return None
    try:
        return trainyard_files.read_regular(path, MAX_FILE_BYTES).decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:  # Unusable is a ValueError, and so is what is not UTF-8
        raise shell.SkillError(
            "usage", f"{shell.clean(name, 100)} cannot be read: {error}", hint="chmod, or repair the file"
        ) from error
