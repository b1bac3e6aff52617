"""A project without a Dockerfile -> its source with one, the reasons, and with `--write` the files in the project."""

from __future__ import annotations

import re
from pathlib import Path

import trainyard_files
import trainyard_shell as shell
from asked.files import Folder
from build_context import ignore
from build_source import Source, Wanted, Wishes, sourced
from generated import base, dependencies, entry, runtime_wheel, text
from image_project import Project, read_project
from image_python import Python, python_of

NAME = "Dockerfile"


def generated(folder: Folder, wanted: Wanted, wishes: Wishes) -> Source:
    """Raises SkillError usage: nothing in the folder is Python, the entry point is not there, no base image fits."""
    project = read_project(folder)
    if not any(name.endswith(".py") for name in project.files) and not project.sources:
        message = f"{folder.path.name} has no Dockerfile, no Python file and no requirements: there is nothing to make one from"
        raise shell.SkillError("usage", message, hint="name the project's folder, or write a Dockerfile")
    parts, wheel, notes = _parts(folder, project, wishes)
    own = (folder.path / ".dockerignore").is_file()
    environments = [
        name for name in ("env", "conda") if folder.exists(f"{name}/pyvenv.cfg") or folder.exists(f"{name}/conda-meta/history")
    ]
    made = text.ignore_text(project.files, environments).encode()
    left_out = ignore.read(folder.path, None) if own else ignore.parse(made, "the generated ignore file")
    files = [(f"{text.WHEELS}/{wheel.name}", wheel.data)] if wheel else []
    return sourced(folder, left_out, text.dockerfile(parts), NAME, wanted, generated=True, files=files, notes=notes)


def _parts(folder: Folder, project: Project, wishes: Wishes) -> tuple[text.Parts, runtime_wheel.Wheel | None, list[str]]:
    user = _user(wishes.user)
    python = python_of(project)
    start = _named_entry(folder, wishes.entry) if wishes.entry else entry.entry_point(project)
    install = dependencies.installation(project)
    chosen = base.choose(project, python, wishes.base, wishes.instance_type, wishes.job_network)
    wheel = runtime_wheel.find(wishes.runtime_wheel)
    notes = [
        f"base image {chosen.image}: {chosen.reason}",
        _python(chosen.python, python),
        f"packages: {install.reason}",
        f"starts {start.value or 'nothing'}: {start.reason}",
        f"runtime: {wheel.reason}" if wheel else f"runtime: trainyard is not in the image ({runtime_wheel.GET_IT})",
    ]
    notes += [f"conda's alone, left out: {', '.join(install.left_out[:20])}"] if install.left_out else []
    notes += [f"not pinned, pip chooses: {', '.join(install.unpinned[:20])}"] if install.unpinned else []
    why = tuple(shell.clean(note, 300).replace("\n", " ") for note in notes)
    has_src = any(name.startswith("src/") and name.endswith(".py") for name in project.files)
    return text.Parts(chosen, install, start.value, wheel.name if wheel else None, has_src, why, user), wheel, list(why)


def _python(held: str | None, wanted: Python) -> str:
    if held is None or held == wanted.value:
        return (
            f"Python {wanted.value}: {wanted.reason}" if held else f"Python of the base image; {wanted.value}: {wanted.reason}"
        )
    return f"Python {held}: the base image has it" + (f", where {wanted.reason}" if wanted.asked else "")


def _user(asked: str | None) -> str:
    if asked is None:
        return text.USER
    if not re.fullmatch(r"\d{1,9}(:\d{1,9})?", asked, re.ASCII):
        raise shell.SkillError(
            "usage", f"--user {shell.clean(asked, 60)!r} is not a number", hint="--user 1000:1000; --user 0 is root"
        )
    return asked if ":" in asked else f"{asked}:{asked}"


def _named_entry(folder: Folder, name: str) -> entry.Found:
    if not folder.exists(name):
        raise shell.SkillError(
            "usage", f"--entry: no file {shell.clean(name, 200)} in {folder.path.name}", hint="--entry train.py"
        )
    return entry.Found(name, "--entry names it")


def checks(source: Source) -> list[shell.Check]:
    """What the user should know of a Dockerfile that nobody has read yet."""
    found = [
        shell.Check("generated.dockerfile", "pass", note)
        for note in source.notes
        if not note.startswith(("not pinned", "conda's alone", "runtime: trainyard is"))
    ]
    for note in source.notes:
        if note.startswith("not pinned"):
            found.append(shell.Check("generated.pins", "warn", note, fix="write versions (`pip freeze`, or uv lock)"))
        if note.startswith("conda's alone"):
            fix = "nothing where torch's wheels bring them; else a Dockerfile of your own that installs them"
            found.append(shell.Check("generated.conda", "warn", note, fix=fix))
        if note.startswith("runtime: trainyard is"):
            found.append(shell.Check("generated.runtime", "warn", note, fix=runtime_wheel.GET_IT))
    return found


def write(source: Source) -> list[str]:
    """The generated files in the project; returns their names. Nothing that is there is replaced. Raises SkillError conflict."""
    root = source.folder.path
    files = {NAME: source.recipe.dockerfile.encode(), **dict(source.recipe.files)}
    if not (root / ".dockerignore").exists():
        files[f"{NAME}.dockerignore"] = source.recipe.ignore_file
    there = [name for name, data in files.items() if (root / name).exists() and (root / name).read_bytes() != data]
    if there:
        raise shell.SkillError(
            "conflict", f"{', '.join(there)} is there already and differs", hint="remove it, or build without --write"
        )
    return [name for name, data in files.items() if _write(root / name, data)]


def _write(path: Path, data: bytes) -> bool:
    if path.exists():
        return False
    made = trainyard_files.missing(path.parent)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        trainyard_files.replace_file(path, data)
    except OSError as error:
        trainyard_files.remove_empty(made)
        raise shell.cannot_write(path, error, "chmod, or build without --write") from error
    return True
