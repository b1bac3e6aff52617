"""What apt would bring: the package that holds a header, a program or a library, and names that a distribution does not have."""

from __future__ import annotations

import difflib
import re
from dataclasses import replace
from typing import Any

from attempts import edits
from attempts.causes import Cause, classified
from attempts.context_files import place
from build_recipe import Recipe
from dockerfiles.shell import bare, commands
from dockerfiles.stages import Stage
from dockerfiles.text import Instruction
from image_tables import table

TABLE = "system_packages"
INSTALL = (
    "RUN if command -v apt-get >/dev/null; then apt-get update && apt-get install -y --no-install-recommends {apt} && rm -rf /var/lib/apt/lists/*;"
    " elif command -v dnf >/dev/null; then dnf install -y {dnf} && dnf clean all; else apk add --no-cache {apk}; fi"
)
APT = "RUN apt-get update && apt-get install -y --no-install-recommends {apt} && rm -rf /var/lib/apt/lists/*"
NO_APT = re.compile(r"alpine|amazonlinux|centos|rocky|almalinux|fedora|ubi\d|redhat|busybox|scratch|distroless|oraclelinux")
UPDATE = re.compile(r"\bapt(?:-get)?\s+(?:-\S+\s+)*update\b")


def wanted(cause: Cause) -> str | None:
    """The packages for what is missing, in apt's names."""
    found: dict[str, dict[str, str]] = table(TABLE)
    if header := cause.said.get("header"):
        same = [
            name
            for name in found["headers"]
            if header == name or header.endswith(f"/{name}") or (name.endswith("/") and f"/{name}" in f"/{header}")
        ]
        return found["headers"][same[0]] if same else None
    if library := cause.said.get("library"):
        return found["libraries"].get(re.sub(r"(?<=\.so)(?:\.\d+)*$", "", library))
    return found["programs"].get(cause.said.get("program", ""))


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    """For what apt has under another name, and for names that apt does not have."""
    found = edits.failed(recipe, cause.cut)
    if found is None:
        return None
    if cause.kind == "no-distribution" and cause.id == "apt":
        return _unknown_name(recipe, cause, *found)
    if not {"header", "program", "library"} & cause.said.keys():
        return None
    return _missing(recipe, cause, *found)


def _missing(recipe: Recipe, cause: Cause, stage: Stage, run: Instruction) -> Cause:
    packages = wanted(cause)
    what = cause.said.get("header") or cause.said.get("library") or cause.said.get("program")
    here = [place(recipe, run)]
    image = recipe.parsed.chain(stage)[-1].image
    if cause.said.get("program") in ("conda", "mamba", "uv", "poetry", "nvcc", "node", "npm"):
        return replace(
            cause,
            places=tuple(here),
            fix=f"{what} is not in {image}: install it in a RUN before line {run.line}, or take a base image that has it",
        )
    if packages is None:
        return replace(
            cause,
            places=tuple(here),
            fix=f"the system's package that holds {what}, before line {run.line} (`apt-file search {what}` names it)",
        )
    if NO_APT.search(image):
        return replace(
            cause,
            places=tuple(here),
            fix=f"install it before line {run.line}; Debian calls the package {packages}, {image} has another name for it",
        )
    compilers = " build-essential" if cause.kind == "compiler" else ""
    fix = f"before line {run.line}, as root: RUN apt-get update && apt-get install -y --no-install-recommends {packages}{compilers}"
    if cause.id == "config" and cause.said.get("program") == "pg_config":
        fix += "; or psycopg2-binary in the place of psycopg2, which is a wheel"
    return replace(cause, places=tuple(here), fix=fix)


def install_system(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    packages, found = wanted(cause), edits.failed(recipe, cause.cut)
    if packages is None or found is None or NO_APT.search(recipe.parsed.chain(found[0])[-1].image):
        return None
    more = " build-essential" if cause.kind == "compiler" else ""
    line = APT.format(apt=packages + more)
    if line in recipe.dockerfile:
        return None
    text = edits.before_as_root(recipe, cause.cut, [line])
    return (f"{packages} is installed before that step", replace(recipe, dockerfile=text)) if text else None


# --- names that apt does not have ---------------------------------------------------------------------------------


def row_of(name: str) -> dict[str, Any] | None:
    rows: list[dict[str, Any]] = table(TABLE)["apt"]
    return next((row for row in rows if re.fullmatch(row["name"], name)), None)


def instead_of(name: str) -> str | None:
    row = row_of(name)
    if row is None or row["instead"] is None:
        return None
    return str(row["instead"]).replace("{rest}", name.partition("-")[2])


def _unknown_name(recipe: Recipe, cause: Cause, stage: Stage, run: Instruction) -> Cause:
    name = cause.said.get("package", "").partition("=")[0]
    line = next(
        (
            line
            for each in commands(run)
            for word, line in zip(each.words, each.lines, strict=True)
            if word.partition("=")[0] == name
        ),
        run.line,
    )
    places = [f"{recipe.dockerfile_name}:{line}: {name}", place(recipe, run)]
    image = recipe.parsed.chain(stage)[-1].image
    if not UPDATE.search(run.value) and not any(UPDATE.search(here.body) for here in run.heredocs):
        return replace(
            cause,
            places=tuple(places),
            fix=f"images come without package lists: apt-get update && apt-get install in this RUN; if {name} is unknown then, the release of {image} does not have it",
        )
    row, new = row_of(name), instead_of(name)
    updated = "apt-get update did run and the mirror answered"
    if row is None:
        like = _like(name)
        hint = (
            f"did you mean {like}?"
            if like
            else f"look for the name that the release of {image} has: packages.debian.org, packages.ubuntu.com"
        )
        return classified(
            cause,
            "no-distribution",
            what=cause.what,
            fix=f"{updated}; the release of {image} has no package {name}: {hint}",
            places=places,
        )
    told = f"{updated}; {name} {row['why']}" + (f": {new}" if new else "")
    found = classified(cause, "no-distribution", what=cause.what, fix=told, places=places)
    return replace(found, remedies=("renamed_packages",))


def _like(name: str) -> str | None:
    known = {
        word
        for part in ("headers", "programs", "libraries")
        for value in table(TABLE)[part].values()
        for word in str(value).split()
    }
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return close[0] if close else None


def renamed_packages(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Names of the RUN that failed that have one name in their place."""
    found = edits.failed(recipe, cause.cut)
    if found is None:
        return None
    lines = recipe.dockerfile.split("\n")
    made = []
    for command in commands(found[1]):
        if "install" not in bare(command).words[:4]:
            continue
        for word, number in zip(command.words, command.lines, strict=True):
            new = instead_of(word)
            if new:
                lines[number - 1] = re.sub(rf"(?<![\w.+-]){re.escape(word)}(?![\w.+-])", new, lines[number - 1], count=1)
                made.append(f"{new} in the place of {word}")
    return (", ".join(made), replace(recipe, dockerfile="\n".join(lines))) if made else None


def apt_update(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Base images come without apt's lists, and those of an earlier RUN age in the cache."""
    found = edits.failed(recipe, cause.cut)
    if found is None or UPDATE.search(found[1].value) or any(UPDATE.search(here.body) for here in found[1].heredocs):
        return None
    text = edits.before_as_root(
        recipe, cause.cut, [f"RUN apt-get update # {cause.id}" if cause.id == "stale" else "RUN apt-get update"]
    )
    return ("apt-get update before that step", replace(recipe, dockerfile=text)) if text and text != recipe.dockerfile else None


def archived_sources(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Releases of Debian and Ubuntu past their end lie in an archive, which gives no security updates."""
    found = edits.failed(recipe, cause.cut)
    if found is None or NO_APT.search(recipe.parsed.chain(found[0])[-1].image) or "archive.debian.org" in recipe.dockerfile:
        return None
    line = (
        r"RUN sed -ri -e 's#https?://(deb|security|httpredir)\.debian\.org#http://archive.debian.org#' -e '/-updates|-backports/d'"
        r" -e 's#https?://(archive|security)\.ubuntu\.com#http://old-releases.ubuntu.com#'"
        " $(ls /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null)"
        " && echo 'Acquire::Check-Valid-Until \"false\";' > /etc/apt/apt.conf.d/99archive"
    )
    text = edits.before_as_root(recipe, cause.cut, [line])
    return (
        (
            "apt asks the archive of old releases, which gets no security updates: a newer base image is better",
            replace(recipe, dockerfile=text),
        )
        if text
        else None
    )


def answered(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """-y for apt in the RUN that asked, and debconf takes its defaults."""
    found = edits.failed(recipe, cause.cut)
    if found is None or "ARG DEBIAN_FRONTEND=" in recipe.dockerfile:
        return None
    lines = recipe.dockerfile.split("\n")
    for number in range(found[1].line - 1, edits.last_line(found[1])):
        lines[number] = re.sub(r"\b(apt(?:-get)?\s+(?:-\S+\s+)*(?:install|upgrade))\b(?!.*\s-y)", r"\1 -y", lines[number])
    text = edits.inserted("\n".join(lines), found[1].line, ["ARG DEBIAN_FRONTEND=noninteractive"])
    return "apt takes yes and its defaults for an answer", replace(recipe, dockerfile=text)
