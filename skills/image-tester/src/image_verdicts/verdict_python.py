"""Does it start, does everything declared import in the version asked for, does the entry point compile?"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from image_verdicts.verdict_of import Scene, Verdict, evidence, failed, first_line, of, passed, warned
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from tester_answer import Outcome
from tester_causes import MEMORY, cause_of
from tester_project import Declared
from trainyard_shell import Check

SHOWN = 10


def quick(scene: Scene) -> Iterator[Verdict]:
    """The checks of level quick."""
    yield of(scene, "python", "image.python", lambda found: passed("image.python", _python(found)))
    yield from imports(scene)
    yield of(scene, "entry", "entry", lambda found: passed("entry", _entry(found)))
    yield of(
        scene,
        "scripts",
        "scripts",
        lambda found: passed("scripts", f"{found.get('scripts')} console scripts have interpreter and module"),
    )


def _python(found: dict[str, Any]) -> str:
    return f"Python {found.get('version')} at {found.get('executable')}, {found.get('machine')}, {found.get('libc') or 'C library unknown'}"


def _entry(found: dict[str, Any]) -> str:
    told = f"{found.get('path')} compiles, and what it imports is there" if found.get("path") else ""
    return "; ".join(each for each in (told, f"its program is {found['program']}" if found.get("program") else "") if each)


def imports(scene: Scene) -> Iterator[Verdict]:
    """`imports`: of all that is declared for this Python; `imports.versions`: what is installed meets what was asked."""
    if not scene.asked.packages:
        unread = "\n".join(scene.asked.unread[:SHOWN])
        summary = "nothing that the project declares was understood" if unread else "no package is named or declared"
        status = "warn" if unread else "skipped"
        yield Verdict(Check("imports", status, summary, unread or None, "--project FOLDER, or --package NAME"))
        return
    wanted = _wanted(scene)
    wrong = [(each, outcome) for each, outcome in wanted if outcome.state != "done"]
    if not wrong:
        yield _all_import(scene, wanted)
    elif all(outcome.state == "missing" for _, outcome in wrong):
        yield Verdict(
            Check("imports", "unknown", "the container ended before all imports were tried", None, "see the checks before")
        )
    else:
        yield _import_failed(wanted, [each for each in wrong if each[1].state != "missing"])
    yield from _versions(wanted)


def _wanted(scene: Scene) -> list[tuple[Declared, Outcome]]:
    """Without those whose marker does not hold in the image's Python."""
    environment = marker_environment(scene.answers.data("python"))
    pairs = zip(scene.asked.packages, scene.answers.of("imports"), strict=True)
    return [(each, outcome) for each, outcome in pairs if not environment or each.wanted(environment)]


def marker_environment(python: dict[str, Any]) -> dict[str, str]:
    """PEP 508's variables of the image; {} where its Python did not answer."""
    version = str(python.get("version") or "")
    if version.count(".") < 1:
        return {}
    return {
        "python_version": ".".join(version.split(".")[:2]),
        "python_full_version": version,
        "sys_platform": "linux",
        "platform_system": "Linux",
        "os_name": "posix",
        "platform_machine": str(python.get("machine")),
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }


def _all_import(scene: Scene, wanted: list[tuple[Declared, Outcome]]) -> Verdict:
    summary = f"all {len(wanted)} declared packages import"
    if scene.asked.unread:
        return warned(
            "imports",
            f"{summary}; {len(scene.asked.unread)} lines were not understood",
            "write them as name==version",
            "\n".join(scene.asked.unread[:SHOWN]),
        )
    empty = [each.name for each, outcome in wanted if not outcome.data.get("modules")]
    note = f"without a module to import: {', '.join(empty[:SHOWN])}" if empty else None
    return passed("imports", summary, note)


def _import_failed(wanted: list[tuple[Declared, Outcome]], wrong: list[tuple[Declared, Outcome]]) -> Verdict:
    first, outcome = wrong[0]
    cause = MEMORY if outcome.state == "memory" else cause_of(outcome.said())
    what = cause.what if cause else first_line(outcome.text)
    summary = f"{len(wrong)} of {len(wanted)} declared packages do not import; {first.name}: {what} (in: {outcome.step})"
    lines = [f"{each.name}: {first_line(found.text)} (in: {found.step})" for each, found in wrong[:SHOWN]]
    fix = cause.fix if cause else f"install {first.name} in the image; `docker run` it and import it by hand"
    return failed("imports", summary, fix, "\n".join([*lines, evidence(outcome) or ""]).strip())


def _versions(wanted: list[tuple[Declared, Outcome]]) -> Iterator[Verdict]:
    other, seen = [], 0
    for each, outcome in wanted:
        version = str(outcome.data.get("version") or "")
        if each.specifier and version:
            seen += 1
            if meets(version, each.specifier) is False:
                other.append(f"{each.name} {version} is installed, {each.where} asks for {each.specifier}")
    if other:
        yield failed(
            "imports.versions",
            other[0],
            "install what the project asks for, behind the base image's own",
            "\n".join(other[:SHOWN]),
        )
    elif seen:
        yield passed("imports.versions", f"{seen} installed versions meet what the project asks for")


def meets(version: str, specifier: str) -> bool | None:
    """None where it cannot be said."""
    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except (InvalidSpecifier, InvalidVersion):
        return None
