"""Which Python a project wants: named by a file, else the first usual one that its metadata and its torch take."""

from __future__ import annotations

from dataclasses import dataclass

from asked.versions import allows, minor, newest, version
from image_project import DEFAULT_PYTHON, Project
from image_tables import table

PYTHONS = (DEFAULT_PYTHON, "3.11", "3.13", "3.10", "3.14", "3.9", "3.8")
"""In the order of preference: what most packages have wheels for comes first."""


@dataclass(frozen=True)
class Python:
    """A line of Python and why."""

    value: str
    reason: str
    asked: bool = True
    """False: nothing in the project asks for it."""


def python_of(project: Project) -> Python:
    """What .python-version, runtime.txt or conda names; else one that requires-python and the wheels of torch and NumPy take."""
    if project.pythons:
        value, where = project.pythons[0]
        return Python(value, f"{where} asks for {value}")
    limits = [
        (str(each.python), f"{each.file}:{each.python_line} takes {each.python}") for each in project.metadata if each.python
    ]
    pins = [*_of_torch(project), *_of_numpy(project)]
    for needs in (limits + pins, limits):
        fits = next((each for each in PYTHONS if all(allows(text, each) for text, _ in needs)), None)
        if fits and needs:
            return Python(fits, f"{', '.join(why for _, why in needs)}, and {fits} fits")
    return Python(DEFAULT_PYTHON, "the project does not say; most packages have wheels for it", asked=False)


def _of_torch(project: Project) -> list[tuple[str, str]]:
    """The Pythons that the newest torch that is allowed has wheels for, where that is not the newest of all."""
    rows = table("package_rules")["torch"]
    found = []
    for each in project.named("torch"):
        taken = each.pin or newest(each.allowed, [str(row["newest"]) for row in rows.values()])
        row = rows.get(minor(taken)) if taken and version(taken) else None
        if row and str(each.allowed) and row is not list(rows.values())[-1]:
            found.append((str(row["python"]), f"torch {taken} has wheels for Python {row['python']}"))
    return found


def _of_numpy(project: Project) -> list[tuple[str, str]]:
    rows = table("package_rules")["numpy"]
    pins = [each.pin for each in project.named("numpy") if each.pin]
    lines = {minor(line): need for line, need in rows.items()}
    return [
        (lines[minor(pin)], f"NumPy {pin} is for Python {lines[minor(pin)]}")
        for pin in pins
        if version(pin) and minor(pin) in lines
    ]
