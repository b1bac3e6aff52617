"""How a generated Dockerfile installs what the project asks for: the file itself where pip reads it, else the requirements one by one."""

from __future__ import annotations

from dataclasses import dataclass, field

from asked.wants import Want
from image_project import Project


@dataclass(frozen=True)
class Installation:
    """What is copied, and the words behind `pip install`."""

    files: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    """One list for each call of pip; none where nothing is needed."""
    reason: str
    unpinned: tuple[str, ...] = field(default=())
    """What pip chooses on the day of the build."""
    uses_uv: bool = False
    project: bool = False
    """Whether the project itself is installed: it has commands of its own."""


def installation(project: Project) -> Installation:
    unpinned = tuple(sorted({each.asked for each in project.wants if not each.pin and not each.url and each.name != "python"}))
    own = any(each.name for each in project.metadata) and _has_commands(project)
    texts = [name for name in project.sources if name.endswith((".txt", ".in"))]
    if "uv.lock" in project.sources:
        return Installation(("pyproject.toml", "uv.lock"), (), "uv.lock holds every version", (), True, own)
    if texts:
        named = [name for name in texts if name == "requirements.txt"] or _included_by_none(project, texts)
        constraints = [each.place.file for each in project.constraints if each.place.file not in texts]
        words = tuple(word for name in named for word in ("-r", name))
        return Installation(
            tuple(dict.fromkeys(texts + constraints)), (words,), f"{', '.join(named)} says it", unpinned, False, own
        )
    wanted = [each for each in project.wants if each.name not in ("python", "pip")]
    if not wanted:
        return Installation((), (), "the project needs no package", (), False, own)
    sources = ", ".join(project.sources) or "imports"
    told = "the imports say it: no file of the project does" if project.sources == ["imports"] else f"{sources} says it"
    return Installation((), (tuple(_text(each) for each in wanted),), told, unpinned, False, own)


def _included_by_none(project: Project, names: list[str]) -> list[str]:
    """Those files that no other of them includes."""
    included = set()
    for name in names:
        text = project.folder.text(name) or ""
        included |= {each for each in names if each != name and f"-r {each.rpartition('/')[2]}" in text}
    return [name for name in names if name not in included] or names


def _text(each: Want) -> str:
    """As pip takes it, whichever file it comes from."""
    extras = f"[{','.join(sorted(each.extras))}]" if each.extras else ""
    marker = f" ; {each.marker}" if each.marker else ""
    if each.url:
        return f"{each.asked}{extras} @ {each.url}{marker}" if "egg=" not in each.url else each.url
    name = each.name if each.place.file.endswith((".yml", ".yaml")) else each.asked
    return f"{name}{extras}{each.allowed}{marker}"


def _has_commands(project: Project) -> bool:
    text = project.folder.text("pyproject.toml") or ""
    return "[project.scripts]" in text or "entry_points" in (project.folder.text("setup.py") or "")
