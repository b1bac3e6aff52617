"""What the rules judge: the project, its base image, and the torch, CUDA and Python that the image will have."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field

from bases.images import Base, known
from trainyard_gpus import Target
from image_project import Project
from image_tables import table
from asked.versions import minor, newest, specifiers, version
from asked.wants import Place, Want, applies
from packaging.specifiers import SpecifierSet

CUDA_TAG = re.compile(r"(?:^|[/+_.-])(cu\d{3}|cpu)(?:$|[/._-]|torch)")
DEFAULT_PYTHON = "3.12"


@dataclass(frozen=True)
class Torch:
    """The torch of the image."""

    version: str
    """A release; the newest that is allowed where it is not pinned."""
    place: Place | None
    """Where it is asked for; None: it comes with the base image."""
    pinned: bool
    cuda: str | None
    """CUDA build, or cpu; None: nobody knows."""
    cuda_why: str

    @property
    def line(self) -> str:
        return minor(self.version)


@dataclass
class Scene:
    """Everything together."""

    project: Project
    target: Target | None
    driver: str | None
    today: datetime.date
    image: str | None = None
    """The reference behind the last FROM that is no stage."""
    image_place: Place | None = None
    base: Base | None = None
    """None: there is no Dockerfile, or nothing is known of its image."""
    python: str | None = None
    python_why: str = ""
    torch: Torch | None = None
    wants: list[Want] = field(default_factory=list)
    """Of the project, those whose markers hold in the image."""

    def named(self, *names: str) -> list[Want]:
        return [each for each in self.wants if each.name in names]


def scene(project: Project, target: Target | None, driver: str | None, today: datetime.date) -> Scene:
    found = Scene(project, target, driver, today)
    _base(found)
    _python(found)
    found.wants = [each for each in project.wants if applies(each, found.python or DEFAULT_PYTHON)]
    found.torch = _torch(found)
    return found


def _base(found: Scene) -> None:
    docker = found.project.docker
    if docker is None:
        return
    last = docker.chain(docker.stages[-1])[-1]
    found.image_place = Place(docker.file, last.line)
    if not last.missing and last.image:
        found.image = last.image
        found.base = known(last.image)


def _python(found: Scene) -> None:
    """The base image's, else what .python-version or conda's environment pins; a range is none."""
    if found.base and found.base.python:
        found.python, found.python_why = found.base.python, f"{found.base.image} has it"
        return
    for each in found.project.named("python"):
        if match := re.search(r"==(\d+\.\d+)", str(each.allowed)):
            found.python, found.python_why = match[1], f"{each.place} asks for it"
            return
    said = found.project.folder.text(".python-version") if found.base is None else None
    if said and (match := re.match(r"\s*(\d+\.\d+)", said)):
        found.python, found.python_why = match[1], ".python-version:1 asks for it"


def chosen(want: Want, releases: list[str]) -> str | None:
    """The version that an installer takes: the pin, else the newest release of the table that is allowed."""
    return want.pin or newest(want.allowed, releases)


def releases() -> list[str]:
    return [str(row["newest"]) for row in table("package_rules")["torch"].values()]


def torch_row(text: str) -> dict[str, str] | None:
    """The table's row for a torch version; None for a line that it does not have."""
    parsed = version(text)
    rows: dict[str, dict[str, str]] = table("package_rules")["torch"]
    return rows.get(minor(text)) if parsed else None


def _torch(found: Scene) -> Torch | None:
    """The base image's where it satisfies what is asked, as pip leaves it in place; else what is asked for."""
    asked = found.named("torch")
    held = found.base.torch if found.base and found.base.has_torch else None
    if held and all(each.allowed.contains(held, prereleases=True) and not each.url for each in asked):
        assert found.base is not None
        return Torch(held, None, True, found.base.cuda, f"{found.base.image} has it")
    if not asked:
        return None
    allowed = SpecifierSet()
    for each in asked + [each for each in found.project.constraints if each.name == "torch"]:
        allowed &= each.allowed
    first = next((each for each in asked if each.pin), asked[0])
    whole = Want("torch", "torch", first.place, allowed)
    version_ = chosen(whole, releases())
    if version_ is None or version(version_) is None:
        return None
    cuda, why = _cuda(found, first, version_)
    return Torch(version_, first.place, whole.pin is not None, cuda, why)


def _cuda(found: Scene, asked: Want, version_: str) -> tuple[str | None, str]:
    """The CUDA build of the wheel: its local version, the wheel's URL, the index, else what PyPI's wheel of that line has."""
    if asked.place.file.endswith((".yml", ".yaml")) and (conda := found.named("pytorch-cuda")):
        return str(conda[0].allowed).strip("=.*") or None, f"{conda[0].place} asks for it"
    for text, why in ((version_, f"{asked.place} names it"), (asked.url or "", f"{asked.place} names it")):
        if match := CUDA_TAG.search(text):
            return tagged(match[1]), why
    backends = [(each.torch_backend, each.place) for each in found.project.installs if each.torch_backend]
    indexes = (
        [(url, asked.place) for url in asked.indexes] + found.project.indexes + [(str(name), place) for name, place in backends]
    )
    for text, place in indexes:
        if match := CUDA_TAG.search(text.rstrip("/")):
            return tagged(match[1]), f"the index that {place} names has it"
    row = torch_row(version_)
    return (row["cuda"], f"the wheel of torch {minor(version_)} on PyPI has it") if row else (None, "")


def tagged(tag: str) -> str:
    """`cu128` -> 12.8."""
    return tag if tag == "cpu" else f"{tag[2:-1]}.{tag[-1]}"


def allows(text: str, python: str) -> bool:
    """Whether a specifier takes this line of Python (3.12), at its first patch or a late one."""
    allowed = specifiers(text)
    return allowed is None or any(allowed.contains(f"{python}.{patch}") for patch in (0, 9, 30))
