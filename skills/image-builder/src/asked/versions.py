"""Versions and specifiers: what PEP 440 says of them, as far as the rules ask."""

from __future__ import annotations

from collections.abc import Iterable

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version


def version(text: str | None) -> Version | None:
    """None for what is no version of PEP 440."""
    try:
        return Version(text) if text else None
    except InvalidVersion:
        return None


def specifiers(text: str) -> SpecifierSet | None:
    """None for what is no specifier."""
    try:
        return SpecifierSet(text)
    except InvalidSpecifier:
        return None


def minor(text: str) -> str:
    """`2.13` of `2.13.0+cu130`. Raises InvalidVersion."""
    parsed = Version(text)
    return f"{parsed.major}.{parsed.minor}"


def allows(text: str, python: str) -> bool:
    """Whether a specifier takes this line of Python (3.12), at its first patch or a late one; what is no specifier takes all."""
    allowed = specifiers(text)
    return allowed is None or any(allowed.contains(f"{python}.{patch}") for patch in (0, 9, 30))


def newest(allowed: SpecifierSet, releases: Iterable[str]) -> str | None:
    """The newest of `releases` that `allowed` takes; pre-releases only where it names one."""
    taken = [each for each in map(Version, releases) if allowed.contains(each)]
    return str(max(taken)) if taken else None


def exact(allowed: SpecifierSet) -> str | None:
    """The one version of `==X` or `===X`, its local part included; `==1.2.3.*` (conda's `=1.2.3`) counts as 1.2.3."""
    pins = [each.version for each in allowed if each.operator in ("==", "===")]
    pins = [pin.removesuffix(".*") for pin in pins if not pin.endswith(".*") or pin.count(".") >= 3]
    return pins[0] if pins and version(pins[0]) else None
