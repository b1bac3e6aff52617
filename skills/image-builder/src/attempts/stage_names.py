"""A stage that the Dockerfile names and does not define: the builder takes the name for an image's and asks a registry for it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import trainyard_shell as shell
from attempts.causes import Cause, classified
from build_recipe import Recipe
from dockerfiles.stages import Dockerfile, Stage

WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|\d+")
"""No dot, colon or slash: of images only those of Docker's library are named so."""
IMAGES = "alpine|amazonlinux|bash|busybox|conda|debian|fedora|gcc|golang|httpd|maven|nginx|node|openjdk|python|redis|rust|scratch|ubuntu|uv"
KINDS = ("base-image", "registry-login", "registry-denied", "rate-limit", "network", "syntax", "certificate")
"""What the failure of such a pull looks like."""
CLOSE = 0.6


@dataclass(frozen=True)
class Unknown:
    """A name that is none of the stages'."""

    name: str
    line: int
    said: str
    """`COPY --from=build`."""
    near: Stage | None
    """The one stage that was meant."""


def unknown(docker: Dockerfile) -> list[Unknown]:
    """Plain words behind COPY --from, RUN --mount=from and FROM that name no stage and are no image that everybody knows."""
    return [
        Unknown(name, line, said, near)
        for stage, name, line, said in _named(docker)
        if WORD.fullmatch(name) and docker.stage(name) is None and not re.fullmatch(IMAGES, name.lower())
        for near in [_near(docker, stage, name)]
        if near or not said.startswith("FROM")
    ]


def _named(docker: Dockerfile) -> Iterator[tuple[Stage, str, int, str]]:
    for stage in docker.stages:
        if stage.index and not stage.missing:
            yield stage, stage.image, stage.line, f"FROM {stage.image}"
        for each, _ in stage.body:
            names = [each.flags["from"]] if each.keyword in ("COPY", "ADD") and "from" in each.flags else []
            names += [found["from"] for found in each.mounts if "from" in found]
            yield from (
                (stage, name, each.line, f"{each.keyword} {'--mount=...,from=' if each.keyword == 'RUN' else '--from='}{name}")
                for name in names
            )


def _near(docker: Dockerfile, stage: Stage, name: str) -> Stage | None:
    """One that stands before it, and is the only one that its name is like."""
    earlier = {each.name.lower(): each for each in docker.stages[: stage.index] if each.name}
    name = name.lower()
    like = [
        each
        for each in earlier
        if each.startswith(name) or name.startswith(each) or each.endswith(f"-{name}") or name.endswith(f"-{each}")
    ]
    like = like or difflib.get_close_matches(name, earlier, n=2, cutoff=CLOSE)
    return earlier[like[0]] if len(like) == 1 else None


def told(docker: Dockerfile, each: Unknown) -> str:
    stages = ", ".join(f"{stage.name} (line {stage.line})" for stage in docker.stages if stage.name) or "none has a name"
    meant = f"did you mean {each.near.name} (line {each.near.line})?" if each.near else f"its stages: {stages}."
    return f"line {each.line}: {each.said} names no stage of this file; {meant} The builder takes {each.name} for an image and asks a registry for it"


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    """Only for the name that the log is about, whatever the registry, or the way to it, answered."""
    if cause.kind not in KINDS:
        return None
    docker = recipe.parsed
    text = "\n".join([cause.line, *cause.evidence, *cause.cut.lines[-20:]])
    for each in unknown(docker):
        if each.name.isdigit() or re.search(rf"(?:library/|[\s\"']){re.escape(each.name)}(?:[\s:\"',]|$)", text):
            fix = f"{told(docker, each)}; no login or network is missing"
            found = classified(cause, "missing-stage", fix=fix, places=[f"{recipe.dockerfile_name}:{each.line}: {each.said}"])
            return replace(found, remedies=("near_stage",))
    return None


def near_stage(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """Every such name with one stage that it is like, corrected."""
    if cause.kind != "missing-stage":
        return None
    lines = recipe.dockerfile.split("\n")
    made = []
    for each in unknown(recipe.parsed):
        if each.near is None or each.near.name is None:
            continue
        pattern = re.compile(rf"(?i)((?:from=|^\s*FROM\s+(?:--\S+\s+)*)[\"']?){re.escape(each.name)}(?![\w.:/-])")
        for number in range(each.line - 1, min(len(lines), each.line + 20)):
            new = pattern.sub(rf"\g<1>{each.near.name}", lines[number])
            if new != lines[number]:
                lines[number] = new
                made.append(f"{each.near.name} in the place of {each.name}")
                break
    return (shell.clean(f"the stage {', '.join(made)}", 300), replace(recipe, dockerfile="\n".join(lines))) if made else None
