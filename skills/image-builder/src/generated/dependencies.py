"""How a generated Dockerfile installs what the project asks for: the file itself where pip or uv reads it, else the requirements one by one."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from asked.conda import on_index
from asked.wants import Want
from image_project import Project
from image_tables import table

BARE = re.compile(r"(?:[a-z]+\+)?[a-z0-9]+://")
"""A requirement that is an address alone: pip reads the package's name there, which need not be the repository's."""


@dataclass(frozen=True)
class Installation:
    """What is copied, and the words behind `pip install`."""

    files: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    """One list for each call of pip; none where nothing is needed."""
    reason: str
    unpinned: tuple[str, ...] = field(default=())
    """What pip chooses on the day of the build."""
    left_out: tuple[str, ...] = ()
    """Packages of conda that pip has no equal of."""
    uv: tuple[str, ...] | None = None
    """Options of `uv sync` where uv.lock says all."""
    indexes: tuple[str, ...] = ()
    """Options that name further indexes."""
    whole: bool = False
    """Whether the project itself has to be there: `-e .`, `./wheels`."""
    project: tuple[str, ...] | None = None
    """Words that install the project itself: it has commands of its own."""


def installation(project: Project) -> Installation:
    wants = [each for each in project.wants if each.name not in ("python", "pip")]
    unpinned = tuple(sorted({each.asked for each in wants if not each.pin and not each.url}))
    left_out = tuple(each.asked for each in wants if not on_index(each))
    own = _own(project)
    indexes = tuple(dict.fromkeys(url for url in _indexes(project) if "pypi.org" not in url))
    options = tuple(word for url in indexes for word in ("--extra-index-url", url))
    if "uv.lock" in project.sources:
        groups = {name for each in project.metadata for name in each.groups}
        words = tuple(word for extra in project.extras for word in ("--group" if extra in groups else "--extra", extra))
        return Installation(
            ("pyproject.toml", "uv.lock"), (), "uv.lock holds every version", uv=words, indexes=options, project=own
        )
    texts = {name for name in project.sources if re.search(r"\.(?:txt|in|pip|lock)$", name)}
    files = tuple(dict.fromkeys([*project.tops, *sorted(texts), *(each.place.file for each in project.constraints)]))
    single = [each for each in wants if each.place.file not in files and on_index(each)]
    if not files and not single:
        return Installation((), (), "the project needs no package", left_out=left_out, project=own)
    told = "from the imports: no file names any" if project.sources == ["imports"] else f"from {_said(project)}"
    words = tuple(word for name in project.tops for word in ("-r", name))
    calls = _calls(words, [] if project.paths and files else single, () if files else options)
    return Installation(files, calls, told, unpinned, left_out, None, options, project.paths and bool(files), own)


def _said(project: Project) -> str:
    return ", ".join(project.tops or project.sources)


def _calls(words: tuple[str, ...], single: list[Want], options: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """What is compiled against the torch that is there comes last, in a call of its own."""
    late = [each for each in single if each.name in table("package_rules")["needs_nvcc"] and each.url is None]
    first = (*words, *(_text(each) for each in single if each not in late), *options)
    return tuple(call for call in (first, ("--no-build-isolation", *map(_text, late)) if late else ()) if call)


def _indexes(project: Project) -> list[str]:
    """Without those that hold a password: that would stand in the image's history."""
    urls = [url for each in project.wants for url in each.indexes] + [url for url, _ in project.indexes]
    return [url for url in urls if "@" not in url]


def _text(each: Want) -> str:
    """As pip takes it, whichever file it comes from."""
    extras = f"[{','.join(sorted(each.extras))}]" if each.extras else ""
    marker = f" ; {each.marker}" if each.marker else ""
    if each.url and (BARE.match(each.text or "") or "egg=" in each.url):
        return f"{each.url}{marker}"
    if each.url:
        return f"{each.asked}{extras} @ {each.url}{marker}"
    name = each.name if each.place.file.endswith((".yml", ".yaml")) else each.asked
    return f"{name}{extras}{each.allowed}{marker}"


def _own(project: Project) -> tuple[str, ...] | None:
    """A version that is made from git's history is not to be had: the context holds no .git."""
    if not any(each.name and each.commands for each in project.metadata):
        return None
    text = (project.folder.text("pyproject.toml") or "") + (project.folder.text("setup.py") or "")
    scm = re.search(r"setuptools[-_]scm|hatch-vcs|versioneer|poetry-dynamic-versioning", text)
    return (
        *(("env", "SETUPTOOLS_SCM_PRETEND_VERSION=0") if scm else ()),
        "python3",
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-cache-dir",
        ".",
    )
