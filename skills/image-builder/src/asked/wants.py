"""What a project asks for: one package, its versions, and the line that says so."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from asked.versions import exact, specifiers
from packaging.markers import Marker
from packaging.requirements import InvalidRequirement, Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

WHEEL = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._]*)-(?P<version>[^-/]+)(?:-\d[^-/]*)?-(?P<python>[^-/]+)-(?P<abi>[^-/]+)-(?P<platform>[^-/]+)\.whl",
    re.ASCII,
)
MAX_REQUIREMENT_CHARS = 2000
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "platform_machine": "x86_64", "extra": ""}


@dataclass(frozen=True, order=True)
class Place:
    """Where something stands."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True)
class Want:
    """One requirement. Names are as PEP 503 normalises them, `asked` is what stands there."""

    name: str
    asked: str
    place: Place
    allowed: SpecifierSet = field(default_factory=SpecifierSet)
    extras: frozenset[str] = frozenset()
    marker: str | None = None
    url: str | None = None
    text: str = ""
    """The requirement as it stands in the file."""
    options: frozenset[str] = frozenset()
    """Of the command that installs it: --no-deps, --no-build-isolation, --pre."""
    indexes: tuple[str, ...] = ()
    group: int = 0
    """Which of the commands that install asks for it; what one command asks for is resolved together."""

    @property
    def pin(self) -> str | None:
        return exact(self.allowed)


class NoRequirement(ValueError):
    """The text is none; the message says why."""


def want(text: str, place: Place) -> Want:
    """A requirement of PEP 508, a URL of a wheel, or `git+https://...#egg=name`. Raises NoRequirement."""
    text = text.strip()
    if len(text) > MAX_REQUIREMENT_CHARS:
        raise NoRequirement(f"a requirement of {len(text)} characters")
    if re.match(r"(?:git\+|hg\+|bzr\+|svn\+)?(?:https?|file|ssh|s3)://", text) or text.endswith(".whl"):
        return _from_url(text, place)
    try:
        parsed = Requirement(text)
    except (InvalidRequirement, RecursionError) as error:
        raise NoRequirement(str(error).splitlines()[0] if str(error) else "not a requirement") from error
    marker = str(parsed.marker) if parsed.marker else None
    name = canonicalize_name(parsed.name)
    if parsed.url and (wheel := WHEEL.search(parsed.url)):
        return _of_wheel(wheel, text, place, parsed.url, marker)
    return Want(name, parsed.name, place, parsed.specifier, frozenset(parsed.extras), marker, parsed.url, text)


def _from_url(text: str, place: Place) -> Want:
    address, _, marker = text.partition(" ;")
    if wheel := WHEEL.search(address):
        return _of_wheel(wheel, text, place, address, marker.strip() or None)
    egg = re.search(r"[#&]egg=([A-Za-z0-9._-]+)", address)
    name = egg[1] if egg else _of_address(address)
    if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?", name):
        raise NoRequirement("a URL that names no package")
    return Want(canonicalize_name(name), name, place, url=address, text=text)


def _of_address(address: str) -> str:
    """The repository's name, or that of a source archive. A folder in the fragment or a branch with slashes says nothing of it."""
    _, _, path = re.split(r"[#?]", address, maxsplit=1)[0].partition("://")[2].partition("/")
    path = re.split(r"@|/(?:archive|tarball|zipball)/", path)[0].rstrip("/")
    name = path.rpartition("/")[2].removesuffix(".git")
    return re.sub(r"(?:-v?\d[A-Za-z0-9.+!]*)?\.(?:tar\.\w+|tgz|zip)$", "", name)


def _of_wheel(wheel: re.Match[str], text: str, place: Place, url: str, marker: str | None) -> Want:
    version = wheel["version"].replace("%2B", "+").replace("%2b", "+")
    allowed = specifiers(f"=={version}") or SpecifierSet()
    return Want(canonicalize_name(wheel["name"]), wheel["name"], place, allowed, frozenset(), marker, url, text)


def applies(each: Want, python: str) -> bool:
    """Whether its marker holds in an image of Linux x86_64 with this Python; a marker that cannot be read counts as yes."""
    if each.marker is None:
        return True
    here = {**LINUX, "python_version": python, "python_full_version": f"{python}.0", "implementation_name": "cpython"}
    try:
        return Marker(each.marker).evaluate({**here, "platform_python_implementation": "CPython"})
    except (ValueError, KeyError, RecursionError):
        return True


def told(wants: list[Want], **values: object) -> list[Want]:
    """The same wants with the command's options and indexes."""
    return [replace(each, **values) for each in wants]  # type: ignore[arg-type]
