"""A project: its Dockerfile, what it asks for, its Python. What is in force is decided here, the rules only judge it."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import trainyard_shell as shell
from dockerfiles.copies import copies
from dockerfiles.installs import Install, installs
from dockerfiles.stages import DOCKERFILES, Dockerfile, parse
from dockerfiles.text import NotADockerfile
from asked.conda import read as read_conda
from asked.files import Folder
from asked.imports import imported
from asked.locked import lock
from asked.metadata import Metadata, pyproject
from asked.requirements import Requirements
from asked.requirements import read as read_requirements
from asked.setup_files import setup_cfg, setup_py
from asked.wants import Place, Want

CONDA_FILES = ("environment.yml", "environment.yaml", "conda.yml", "conda.yaml")
FOR_TRAINING = re.compile(r"requirements[-_.]train(?:ing)?\.txt")
SOME = re.compile(r"(?:requirements/)?[\w.-]*(?:requirements|base|train)[\w.-]*\.txt|requirements/[\w.-]+\.txt", re.ASCII)
MAIN = re.compile(r"requirements/(?:requirements|base|main|core|common|prod|train(?:ing)?)\.txt")
NOT_FOR_RUNS = re.compile(r"dev|test|doc|lint|format|ci\b")
TOOLS = frozenset({"pip", "setuptools", "wheel", "uv", "build", "poetry", "packaging", "ninja", "cmake", "hatchling", "awscli"})
"""Installed by Dockerfiles whose own packages come from elsewhere."""
DEFAULT_PYTHON = "3.12"


@dataclass
class Project:
    """What was read of a folder."""

    folder: Folder
    files: list[str]
    docker: Dockerfile | None = None
    installs: list[Install] = field(default_factory=list)
    """Of the stages that the image is made of; a want's `group` is its place here."""
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
    tops: list[str] = field(default_factory=list)
    """Requirement files that are named themselves, not by another one."""
    paths: bool = False
    """Whether a requirement file takes something from the folder itself (`-e .`, `./wheels`)."""
    computed: list[str] = field(default_factory=list)
    """Files in force whose list a program makes."""
    extras: list[str] = field(default_factory=list)
    """Of the project's own, in force."""
    pythons: list[tuple[str, str]] = field(default_factory=list)
    """Lines of Python (`3.11`) that files name, and where; the first counts."""

    def named(self, name: str) -> list[Want]:
        return [each for each in self.wants if each.name == name]


def read_project(folder: Folder, dockerfile: str | None = None) -> Project:
    """Raises SkillError usage: a Dockerfile that is named and not there, or does not parse."""
    project = Project(folder, folder.names())
    project.docker = _dockerfile(folder, dockerfile)
    if project.docker:
        for stage in project.docker.used():
            project.installs += installs(project.docker, stage)
    project.metadata = [each for each in (pyproject(folder), setup_cfg(folder), setup_py(folder)) if each is not None]
    _pythons(project)
    if not _installed(project):
        _declared(project)
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


# --- what the Dockerfile installs --------------------------------------------------------------------------------


def _installed(project: Project) -> bool:
    """Takes over what the RUNs install; False where that is nothing but tools."""
    of_weight = False
    for group, each in enumerate(project.installs):
        wants = [replace(want, group=group) for want in each.wants]
        project.wants += wants
        project.wrong += [(each.place, text) for text in each.wrong]
        project.indexes += [(url, each.place) for url in each.indexes]
        _source(project, each.place.file if each.wants else "")
        local = each.local
        for asked in each.named:
            local = _installed_file(project, asked, each, group) or local
        for asked in each.constraints:
            _limits(project, asked, each, group)
        if local:
            _own(project, group, each.extras, each.tool)
        of_weight = of_weight or local or bool(each.files) or any(want.name not in TOOLS for want in wants)
    return of_weight


def _installed_file(project: Project, asked: str, install: Install, group: int) -> bool:
    """A requirement or environment file that a RUN names; whether it installs the project too."""
    name = _find(project, asked, install)
    if name is None:
        project.missing.append((install.place, asked))
        return False
    if install.tool == "conda":
        return _conda(project, name, group)
    if name.rpartition("/")[2] in ("pyproject.toml", "setup.cfg", "setup.py"):  # uv pip install -r pyproject.toml
        return True
    return _requirements(project, name, group, install)


def _limits(project: Project, asked: str, install: Install, group: int) -> None:
    """A file of constraints that a RUN names."""
    if name := _find(project, asked, install):
        read = read_requirements(project.folder, name)
        project.constraints += [replace(each, group=group) for each in read.wants + read.constraints]


def _find(project: Project, asked: str, install: Install) -> str | None:
    """By what was copied to that place, else by the end of the path."""
    assert project.docker is not None
    lies = copies(project.docker, project.docker.stages[install.stage])
    place = posixpath.normpath(posixpath.join(install.folder, asked))
    parts = place.strip("/").split("/")
    tries = lies.sources(place) + ["/".join(parts[start:]) for start in range(len(parts))]
    return next((name for name in tries if not name.startswith("../") and project.folder.exists(name)), None)


# --- what the folder's own files declare -------------------------------------------------------------------------


def _declared(project: Project) -> None:
    """The first that is there: requirements.txt, pyproject.toml, conda's file, setup.cfg or setup.py, other requirement files, imports."""
    conda = next((name for name in CONDA_FILES if project.folder.exists(name)), None)
    own = next((each for each in project.metadata if each.wants or each.files), None)
    if project.folder.exists("requirements.txt"):
        names = ["requirements.txt", *(name for name in project.files if FOR_TRAINING.fullmatch(name))]
        local = _all(project, names)
    elif own and (own.file == "pyproject.toml" or conda is None):
        local = True
    elif conda:
        local = _conda(project, conda, 0)
    else:
        names = [each for each in project.files if SOME.fullmatch(each) and not NOT_FOR_RUNS.search(each)]
        names = [each for each in names if MAIN.fullmatch(each)] or names
        local = _all(project, names[:20]) or not names
    if local:
        _own(project, 0, _with_torch(own))
    if not project.wants and not project.installs and not any(name.endswith((".txt", ".in")) for name in project.sources):
        project.wants = imported(project.folder, project.files)
        project.sources = ["imports"] if project.wants else project.sources


def _all(project: Project, names: list[str]) -> bool:
    """Reads every file, then says whether one of them installs the project too."""
    found = [_requirements(project, name, 0, None) for name in names]
    return any(found)


def _with_torch(own: Metadata | None) -> list[str]:
    """The extra that brings torch, where the list itself has none: `gpu`, `cu128`, `train`."""
    if own is None or any(each.name == "torch" for each in own.wants):
        return []
    usual = [name for name in own.extras if re.fullmatch(r"gpu|cuda|cu\d+|torch|pytorch|train(?:ing)?", name)]
    return [name for name in usual if any(each.name == "torch" for each in own.extras[name])][:1]


def _requirements(project: Project, name: str, group: int, install: Install | None) -> bool:
    project.tops += [] if name in project.tops else [name]
    return _take(project, read_requirements(project.folder, name), group, install)


def _take(project: Project, read: Requirements, group: int, install: Install | None) -> bool:
    """Whether the project itself is installed too."""
    options = install.options if install else frozenset()
    urls = install.indexes if install else ()
    project.wants += [replace(each, options=options, indexes=urls + each.indexes, group=group) for each in read.wants]
    project.constraints += [replace(each, group=group) for each in read.constraints]
    project.indexes += read.indexes
    project.wrong += read.wrong
    project.paths = project.paths or read.paths
    _source(project, *read.files)
    return read.local


def _own(project: Project, group: int, extras: Iterable[str], tool: str = "uv-sync") -> None:
    """The project's own metadata: the first file that has a list, with its extras; for `uv sync` uv.lock holds the versions."""
    found = next((each for each in project.metadata if each.asks), next(iter(project.metadata), None))
    if found is None:
        return
    extras = sorted(extras)
    project.extras += extras
    wants = found.wants + [each for extra in extras for each in found.extras.get(extra, [])]
    project.wrong += found.wrong
    project.indexes += found.indexes if tool.startswith("uv") else []
    _source(project, found.file if found.asks or found.name or extras else "")
    project.computed += [found.file] if found.computed else []
    for name in found.files:
        _requirements(project, name, group, None)
    python = project.pythons[0][0] if project.pythons else DEFAULT_PYTHON
    locked = lock(project.folder, extras, python) if tool == "uv-sync" else []
    _source(project, "uv.lock" if locked and found.file == "pyproject.toml" else "")
    if "uv.lock" in project.sources:
        names = {each.name for each in locked}
        wants = [each for each in wants if each.name not in names] + locked
    keys = (*extras, "") if tool.startswith("uv") else ()
    index = next((found.torch_indexes[key] for key in keys if key in found.torch_indexes), None)
    wants = [replace(each, indexes=(index, *each.indexes)) if index and each.name == "torch" else each for each in wants]
    project.wants += [replace(each, group=group) for each in wants]


def _conda(project: Project, name: str, group: int) -> bool:
    """conda's file: whether its part for pip installs the project too."""
    wants, pip = read_conda(project.folder, name)
    project.wants += [replace(each, group=group) for each in wants]
    local = _take(project, pip, group, None)
    _source(project, name if wants or pip.wants or pip.files or local else "")
    return local


def _source(project: Project, *names: str) -> None:
    project.sources += [name for name in dict.fromkeys(names) if name and name not in project.sources]


# --- Python ------------------------------------------------------------------------------------------------------


def _pythons(project: Project) -> None:
    """.python-version, runtime.txt and conda's file name one line of Python; a range in the metadata is none."""
    for name in (".python-version", "runtime.txt"):
        said = project.folder.text(name) or ""
        head = r"(?:c?python-)?" if name == ".python-version" else "python-"
        if match := re.search(rf"(?m)^\s*{head}(3\.\d{{1,2}})(?:\.\d+)?\s*$", said):
            project.pythons.append((match[1], f"{name}:{said[: match.start(1)].count(chr(10)) + 1}"))
    for name in CONDA_FILES:
        for each in read_conda(project.folder, name)[0] if project.folder.exists(name) else []:
            if each.name == "python" and (match := re.search(r"==(3\.\d{1,2})", str(each.allowed))):
                project.pythons.append((match[1], str(each.place)))
