"""A project: its Dockerfile, what it asks for, its Python. What is in force is decided here, the rules only judge it."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field, replace

import trainyard_shell as shell
from dockerfiles.installs import Install, copied_files, installs
from dockerfiles.stages import DOCKERFILES, Dockerfile, parse
from dockerfiles.text import NotADockerfile
from asked.conda import pip_want
from asked.conda import read as read_conda
from asked.files import Folder
from asked.imports import imported
from asked.metadata import Metadata, lock, pyproject, setup_py
from asked.requirements import Requirements
from asked.requirements import read as read_requirements
from asked.wants import Place, Want

CONDA_FILES = ("environment.yml", "environment.yaml", "conda.yml", "conda.yaml")


@dataclass
class Project:
    """What was read of a folder."""

    folder: Folder
    files: list[str]
    docker: Dockerfile | None = None
    installs: list[Install] = field(default_factory=list)
    """Of the stages that the image is made of."""
    wants: list[Want] = field(default_factory=list)
    """What is in force, in the order of the files."""
    constraints: list[Want] = field(default_factory=list)
    metadata: list[Metadata] = field(default_factory=list)
    indexes: list[tuple[str, Place]] = field(default_factory=list)
    wrong: list[tuple[Place, str]] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    """The files that the wants come from; `imports` where nothing is declared."""
    missing: list[tuple[Place, str]] = field(default_factory=list)
    """Requirement files that the Dockerfile installs and nobody finds."""

    def named(self, name: str) -> list[Want]:
        return [each for each in self.wants if each.name == name]


def read_project(folder: Folder, dockerfile: str | None = None) -> Project:
    """Raises SkillError usage: a Dockerfile that is named and not there, or does not parse."""
    project = Project(folder, folder.names())
    project.docker = _dockerfile(folder, dockerfile)
    if project.docker:
        for stage in project.docker.used():
            project.installs += installs(project.docker, stage)
    _declared(project)
    if not project.wants and not project.sources:
        project.wants = imported(folder, project.files)
        project.sources = ["imports"] if project.wants else []
    return project


def _dockerfile(folder: Folder, name: str | None) -> Dockerfile | None:
    names = (name,) if name else DOCKERFILES
    found = next((each for each in names if folder.exists(each)), None)
    if found is None:
        if name:
            raise shell.SkillError(
                "usage",
                f"no Dockerfile {shell.clean(name, 200)} in {folder.path.name}",
                hint="--dockerfile, relative to the folder",
            )
        return None
    text = folder.text(found)
    if text is None:
        why = folder.unread.get(shell.clean(found, 200), "it cannot be read")
        raise shell.SkillError(
            "usage", f"{shell.clean(found, 200)} cannot be used: {why}", hint="a Dockerfile is some pages of text"
        )
    try:
        return parse(text, posixpath.normpath(found))
    except NotADockerfile as error:
        message = f"{shell.clean(found, 200)} does not parse: {shell.clean(str(error), 300)}"
        raise shell.SkillError("usage", message, hint="correct that line; `docker build` would stop there too") from error


def _declared(project: Project) -> None:
    """What the Dockerfile installs, if it installs any file or the project; else what the folder's own files declare."""
    files = _installed_files(project)
    local = any(each.local for each in project.installs)
    for each in project.installs:
        project.wants += each.wants
        project.wrong += [(each.place, text) for text in each.wrong]
        project.indexes += [(url, each.place) for url in each.indexes]
        if each.wants and each.place.file not in project.sources:
            project.sources.append(each.place.file)
    for name, install in files:
        local = _add_requirements(project, name, install) or local
    silent = not files and not local
    if silent and not any(each.tool == "conda" and each.files for each in project.installs):
        local = _without_dockerfile(project)
    _add_metadata(project, in_force=local)
    for name in CONDA_FILES:
        if project.folder.exists(name) and (silent or any(name in each.files for each in project.installs)):
            _add_conda(project, name)


def _without_dockerfile(project: Project) -> bool:
    """requirements.txt, else requirements/*.txt and the like; whether pyproject.toml or setup.py is in force too."""
    named = ["requirements.txt"] if project.folder.exists("requirements.txt") else []
    if not named:
        pattern = re.compile(
            r"(?:requirements/)?[\w.-]*(?:requirements|base|train)[\w.-]*\.txt|requirements/[\w.-]+\.txt", re.ASCII
        )
        named = [each for each in project.files if pattern.fullmatch(each) and not re.search(r"dev|test|doc|lint", each)]
    local = not named
    for name in named[:20]:
        local = _add_requirements(project, name, None) or local
    return local


def _installed_files(project: Project) -> list[tuple[str, Install]]:
    """The requirement files that the RUNs name, found in the folder: by COPY, or by the end of their path."""
    found: list[tuple[str, Install]] = []
    for install in project.installs:
        copied = copied_files(project.docker.stages[install.stage]) if project.docker else {}
        for asked in install.files:
            if install.tool == "conda":
                continue
            name = _find(project, asked, copied)
            if name:
                found.append((name, install))
            else:
                project.missing.append((install.place, asked))
    return found


def _find(project: Project, asked: str, copied: dict[str, str]) -> str | None:
    parts = posixpath.normpath(asked).strip("/").split("/")
    tries = [copied[parts[-1]]] if parts[-1] in copied else []
    tries += ["/".join(parts[start:]) for start in range(len(parts))]
    return next((name for name in tries if project.folder.exists(name.lstrip("/"))), None)


def _add_requirements(project: Project, name: str, install: Install | None) -> bool:
    read: Requirements = read_requirements(project.folder, name)
    options = install.options if install else frozenset()
    urls = install.indexes if install else ()
    project.wants += [replace(each, options=options, indexes=urls + each.indexes) for each in read.wants]
    project.constraints += read.constraints
    project.indexes += read.indexes
    project.wrong += read.wrong
    project.sources += [each for each in read.files if each not in project.sources]
    return read.local


def _add_metadata(project: Project, *, in_force: bool) -> None:
    """pyproject.toml or setup.py; the versions in uv.lock stand for those that it locks."""
    for found in (pyproject(project.folder), setup_py(project.folder)):
        if found is None:
            continue
        project.metadata.append(found)
        if not in_force or (found.file == "setup.py" and any(each.wants for each in project.metadata[:-1])):
            found.computed = False
            continue
        extras = {extra for each in project.installs for extra in each.extras}
        wants = found.wants + [each for extra in sorted(extras) for each in found.extras.get(extra, [])]
        project.wrong += found.wrong
        project.indexes += found.indexes
        if wants or found.name:
            project.sources.append(found.file)
        project.wants += _locked(project, wants) if found.file == "pyproject.toml" else wants


def _locked(project: Project, wants: list[Want]) -> list[Want]:
    if not project.folder.exists("uv.lock"):
        return wants
    versions = lock(project.folder)
    names = {each.name for each in versions}
    if versions:
        project.sources.append("uv.lock")
    return [each for each in wants if each.name not in names] + versions


def _add_conda(project: Project, name: str) -> None:
    wants, lines = read_conda(project.folder, name)
    project.wants += wants + [each for line, place in lines if (each := pip_want(line, place))]
    if wants or lines:
        project.sources.append(name)
    for line, place in lines:
        if match := re.match(r"(?:-r|--requirement)[\s=]+(\S+)", line):
            _add_requirements(project, match[1], None)
        elif match := re.match(r"--(?:extra-)?index-url[\s=]+(\S+)", line):
            project.indexes.append((match[1], place))
