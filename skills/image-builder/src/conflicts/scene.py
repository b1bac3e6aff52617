"""What the rules judge: the project, its base image, and the torch, CUDA and Python that the image will have."""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field

from bases.images import Base, known
from trainyard_gpus import Target
from conflicts.resolution import Resolution, resolve
from image_project import Project
from image_python import python_of
from image_tables import table
from asked.versions import allows, exact, minor, newest, version
from asked.wants import Place, Want, applies
from packaging.specifiers import SpecifierSet

OTHER_PYTHON = re.compile(
    r"deadsnakes|conda|mamba|pyenv|uv (?:python|venv|sync)|python3?[.-]?\d\.?\d|python3\d\d|PYTHON_VERSION|Python-3|--python"
)
"""What a Dockerfile says that installs a Python besides the distribution's."""
CUDA_TAG = re.compile(r"(?:^|[/+_.-])(cu\d{3}|cpu)(?:$|[/._-]|torch)")


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
    kept: str | None = None
    """What an index is told of the base image's torch."""
    torch: Torch | None = None
    wants: list[Want] = field(default_factory=list)
    """Of the project, those whose markers hold in the image."""
    resolution: Resolution = field(default_factory=Resolution)
    """What an installer would take, where an index was asked."""

    def named(self, *names: str) -> list[Want]:
        return [each for each in self.wants if each.name in names]

    def taken(self, each: Want) -> str | None:
        """The version that an installer takes: as the index says, else the pin; None: nobody knows."""
        return self.resolution.chosen.get(each.group, {}).get(each.name) or each.pin

    @property
    def torch_is_unknown(self) -> bool:
        """Whether the base image may hold a torch that nobody here knows."""
        return self.project.docker is not None and (self.base is None or (self.base.has_torch and self.base.torch is None))


def scene(project: Project, target: Target | None, driver: str | None, today: datetime.date, ask_s: float = 0.0) -> Scene:
    """`ask_s`: how long an index may be asked, in seconds; 0: not at all."""
    found = Scene(project, target, driver, today)
    _base(found)
    _python(found)
    python = found.python or python_of(project).value
    found.wants = [each for each in project.wants if applies(each, python)]
    found.kept = _kept(found, python)
    if ask_s and found.wants:
        found.resolution = resolve(
            found.wants, project.constraints, python, found.base.glibc if found.base else None, found.kept, ask_s
        )
    found.torch = _torch(found)
    return found


def _kept(found: Scene, python: str) -> str | None:
    """The torch of the base image, where the index has the same release for this Python.

    No index has NVIDIA's pre-releases: the release before stands for one, since what takes that and newer ones takes it too.
    """
    held = version(found.base.torch) if found.base and found.base.has_torch else None
    if held is None:
        return None
    stands = newest(SpecifierSet(f"<{held.base_version}"), releases(python, None)) if held.is_prerelease else held.public
    row = torch_row(stands) if stands else None
    return stands if row and allows(row["python"], python) else None


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
    """The base image's; else what conda installs, or without a Dockerfile what a file names; a range is none."""
    if found.base and found.base.python:
        found.python, found.python_why = found.base.python, f"{found.base.image} has it"
        return
    for each in found.project.named("python"):
        if match := re.search(r"==(\d+\.\d+)", str(each.allowed)):
            found.python, found.python_why = match[1], f"{each.place} asks for it"
            return
    if found.project.pythons and found.image is None:
        found.python, where = found.project.pythons[0]
        found.python_why = f"{where} asks for it"
    elif found.base and found.project.docker and not OTHER_PYTHON.search(found.project.docker.text):
        system = table("base_images")["system_python"]
        found.python = next((system[name] for name in system if name in (found.base.system or "")), None)
        found.python_why = f"{found.base.system} has it"


def releases(python: str | None, cuda: str | None) -> list[str]:
    """The releases of torch whose line has wheels for this Python and this CUDA build."""
    rows: dict[str, dict[str, str]] = table("package_rules")["torch"]
    fitting = {line: row for line, row in rows.items() if python is None or allows(row["python"], python)} or rows
    fitting = {line: row for line, row in fitting.items() if cuda in (None, "cpu", *row["builds"])} or fitting
    patches = [str(each) for each in table("package_rules")["torch_patches"] if minor(str(each)) in fitting]
    return [*patches, *(str(row["newest"]) for row in fitting.values())]


def torch_row(text: str) -> dict[str, str] | None:
    """The table's row for a torch version, with the partners of that very release; None for a line that it does not have."""
    parsed = version(text)
    row: dict[str, str] | None = table("package_rules")["torch"].get(minor(text)) if parsed else None
    if parsed is None or row is None:
        return None
    release = f"{parsed.major}.{parsed.minor}.{parsed.micro}"
    return {**row, **{name: str(each) for name, each in table("package_rules")["torch_patches"].get(release, {}).items()}}


def _torch(found: Scene) -> Torch | None:
    """The base image's where it satisfies what is asked, as pip leaves it in place; else what the last command takes that replaces it."""
    held = found.base.torch if found.base and found.base.has_torch else None
    torch = Torch(held, None, True, found.base.cuda, f"{found.base.image} has it") if held and found.base else None
    for group in sorted({each.group for each in found.wants}):
        asked = [each for each in found.named("torch") if each.group == group]
        taken = found.resolution.chosen.get(group, {}).get("torch")
        kept = held and torch and torch.version == held and taken == found.kept
        if torch and taken and (kept or version(torch.version) == version(taken)):
            continue
        if (
            torch is None
            and found.torch_is_unknown
            and not any(each.pin for each in found.named("torch", "torchvision", "torchaudio") if each.group == group)
        ):
            continue  # the image may have one that fits, whatever an index would give
        stays = torch and all(each.allowed.contains(torch.version, prereleases=True) and not each.url for each in asked)
        if not (stays and taken is None) and (made := _asked(found, group, asked, taken)) is not None:
            torch = made
    return torch


def _asked(found: Scene, group: int, asked: list[Want], taken: str | None) -> Torch | None:
    """What one command takes: the version that uv says, the pin, else the newest release of the table that its Python has."""
    if not asked and not taken:
        return None
    allowed = SpecifierSet()
    for each in asked + [each for each in found.project.constraints if each.name == "torch" and each.group == group]:
        allowed &= each.allowed
    pin = exact(allowed)
    if pin is None and taken is None and found.torch_is_unknown:
        return None  # the image may have one that fits
    if pin is None and taken is None and not asked[0].url:
        tag = _tag(found, asked[0])[0]
        taken = newest(allowed, _that_partners_pin(found, group)) or newest(allowed, releases(found.python, tag))
        taken = taken or newest(allowed, releases(None, None))
    version_ = pin if pin and "+" in pin else taken or pin
    if version_ is None or version(version_) is None:
        return None
    first = next((each for each in asked if each.pin), next(iter(asked), None))
    cuda, why = _cuda(found, first, version_)
    return Torch(version_, first.place if first else None, pin is not None, cuda, why)


def _that_partners_pin(found: Scene, group: int) -> list[str]:
    """The releases of torch that a pinned torchvision of the same command asks for; an installer then takes one of these."""
    pins = [version(each.pin) for each in found.named("torchvision") if each.group == group and each.pin and not each.url]
    rows = [(release, torch_row(release)) for release in releases(None, None)]
    return [release for release, row in rows if row and pins and version(str(row["torchvision"])) == pins[0]]


def _cuda(found: Scene, asked: Want | None, version_: str) -> tuple[str | None, str]:
    """The CUDA build of the wheel: its local version, what the project says of its index, else what PyPI's wheel of that line has."""
    row = torch_row(version_)
    default = (row["cuda"], f"the wheel of torch {minor(version_)} on PyPI has it") if row else (None, "")
    if asked is None:
        return default
    if match := CUDA_TAG.search(version_):
        return tagged(match[1]), f"{asked.place} names it"
    tag, why = _tag(found, asked)
    return (tag, why) if tag else default


def _tag(found: Scene, asked: Want) -> tuple[str | None, str]:
    """The CUDA build that conda's pytorch-cuda, the wheel's URL, the index or --torch-backend names."""
    if "conda" in asked.options and (conda := found.named("pytorch-cuda")):
        return str(conda[0].allowed).strip("=.*") or None, f"{conda[0].place} asks for it"
    install = found.project.installs[asked.group : asked.group + 1]
    texts = [(asked.url or "", f"{asked.place} names it")]
    texts += [(url, f"the index that {asked.place} names has it") for url in asked.indexes]
    texts += [(each.torch_backend or "", f"--torch-backend of {each.place} names it") for each in install]
    texts += [(url, f"the index that {place} names has it") for url, place in found.project.indexes if not found.project.docker]
    for text, why in texts:
        if match := CUDA_TAG.search(text.rstrip("/")):
            return tagged(match[1]), why
    return None, ""


def tagged(tag: str) -> str:
    """`cu128` -> 12.8."""
    return tag if tag == "cpu" else f"{tag[2:-1]}.{tag[-1]}"
