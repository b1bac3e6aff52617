"""A Dockerfile's stages: where each begins, what ARG and ENV stand in it, and which image it goes back to in the end."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from dockerfiles.expand import CannotExpand, expand, filled
from dockerfiles.text import Instruction, NotADockerfile, instructions

DOCKERFILES = ("Dockerfile", "dockerfile", "docker/Dockerfile")
"""Where one is looked for in a project."""
PLATFORM = {
    "TARGETPLATFORM": "linux/amd64",
    "TARGETOS": "linux",
    "TARGETARCH": "amd64",
    "BUILDPLATFORM": "linux/amd64",
    "BUILDARCH": "amd64",
}


@dataclass
class Stage:
    """From one FROM to the next."""

    index: int
    line: int
    image: str
    """Behind FROM, variables filled in; another stage's name, or a reference."""
    name: str | None
    missing: frozenset[str]
    """Variables of FROM that have no value in the file."""
    body: list[tuple[Instruction, dict[str, str]]] = field(default_factory=list)
    """The instructions with the values of ARG and ENV that hold at each."""
    environment: dict[str, str] = field(default_factory=dict)
    """ENV at the end of the stage; a stage that is built from it begins with that."""


@dataclass
class Dockerfile:
    """All stages; the last one is the image."""

    file: str
    text: str
    stages: list[Stage]

    def stage(self, name: str) -> Stage | None:
        """By name, in any case, or by number."""
        named = [each for each in self.stages if each.name and each.name.lower() == name.lower()]
        if named:
            return named[-1]
        return (
            self.stages[int(name)]
            if name.isascii() and name.isdigit() and len(name) < 6 and int(name) < len(self.stages)
            else None
        )

    def parent(self, stage: Stage) -> Stage | None:
        """The stage that this one is built from, None where that is an image."""
        earlier = [each for each in self.stages[: stage.index] if each.name and each.name.lower() == stage.image.lower()]
        return earlier[-1] if earlier else None

    def chain(self, stage: Stage) -> list[Stage]:
        """The stage and those it is built from; the last one's `image` is a real one."""
        found = [stage]
        while (before := self.parent(found[-1])) is not None:
            found.append(before)
        return found

    def user(self, stage: Stage) -> str | None:
        """As the last USER before the end of a stage says it; None: that of its base image, which only the image tells."""
        users = ((each, values) for part in self.chain(stage) for each, values in reversed(part.body) if each.keyword == "USER")
        found = next(users, None)
        try:
            return expand(found[0].value, found[1]).strip() if found else None
        except CannotExpand:
            return None

    def first_workdir(self, stage: Stage) -> str:
        """WORKDIR at the start of a stage; where the image alone decides it is taken for `/`."""
        return _workdir("/", [row for part in reversed(self.chain(stage)[1:]) for row in part.body])

    def workdir(self, stage: Stage, before: Instruction | None = None) -> str:
        """The folder in which an instruction of the stage runs; without one that of its end."""
        body = [row for row in stage.body if before is None or row[0].line < before.line]
        return posixpath.normpath(_workdir(self.first_workdir(stage), body))

    def used(self) -> list[Stage]:
        """The stages whose files may be in the image: the last one's chain and, again and again, what these copy from."""
        waiting, found = list(self.chain(self.stages[-1])), []
        while waiting:
            stage = waiting.pop(0)
            if stage in found:
                continue
            found.append(stage)
            for source in self.copied(stage):
                waiting += self.chain(source)
        return sorted(found, key=lambda each: each.index)

    def copied(self, stage: Stage) -> Iterator[Stage]:
        """The stages that it copies from, or mounts."""
        for each, _ in stage.body:
            mounted = [mount["from"] for mount in each.mounts if "from" in mount]
            for name in [each.flags.get("from", ""), *mounted] if each.keyword in ("COPY", "RUN") else []:
                if (source := self.stage(name)) and source.index < stage.index:
                    yield source


def _workdir(folder: str, body: list[tuple[Instruction, dict[str, str]]]) -> str:
    for each, values in body:
        folder = posixpath.join(folder, filled(each.value, values)) if each.keyword == "WORKDIR" else folder
    return folder


def parse(text: str, file: str = "Dockerfile", build_args: dict[str, str] | None = None) -> Dockerfile:
    """Raises NotADockerfile with the line."""
    known = {**PLATFORM}
    stages: list[Stage] = []
    found = Dockerfile(file, text, stages)
    values: dict[str, str] = {}
    for each in instructions(text):
        try:
            if each.keyword == "FROM":
                stages.append(_stage(each, known, len(stages)))
                before = found.parent(stages[-1])
                values = stages[-1].environment = dict(before.environment) if before else {}
            elif not stages and each.keyword == "ARG":
                known.update(_arguments(each, known, build_args or {}, {}))
            elif not stages:
                raise NotADockerfile(f"line {each.line}: {each.keyword} before the first FROM")
            else:
                stages[-1].body.append((each, dict(values)))
                values = _after(each, values, known, build_args or {})
                if each.keyword == "ENV":
                    stages[-1].environment = {**stages[-1].environment, **{key: values[key] for key, _ in pairs(each.value)}}
        except CannotExpand as error:
            raise NotADockerfile(f"line {each.line}: {error}") from error
    if not stages:
        raise NotADockerfile("it has no FROM")
    return found


def _stage(each: Instruction, known: dict[str, str], index: int) -> Stage:
    words = each.value.split()
    if len(words) not in (1, 3) or (len(words) == 3 and words[1].lower() != "as"):
        raise NotADockerfile(f"line {each.line}: FROM takes an image, or an image AS a name")
    missing: set[str] = set()
    image = expand(words[0], known, missing).strip("\"'")
    name = words[2] if len(words) == 3 else None
    if name and not re.fullmatch(r"[a-z][a-z0-9._-]*", name, re.IGNORECASE | re.ASCII):
        raise NotADockerfile(f"line {each.line}: {name[:40]!r} is no name for a stage")
    return Stage(index, each.line, image, name, frozenset(missing))


def _after(each: Instruction, values: dict[str, str], known: dict[str, str], given: dict[str, str]) -> dict[str, str]:
    """The values after this instruction: the later of ENV and ARG counts, a bare ARG takes what the head of the file says (BuildKit 0.34, tried)."""
    if each.keyword == "ARG":
        return {**values, **_arguments(each, values, given, known)}
    if each.keyword == "ENV":
        return {**values, **{key: expand(value, values) for key, value in pairs(each.value)}}
    return values


def _arguments(each: Instruction, values: dict[str, str], given: dict[str, str], head: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for word in _words(each.value):
        name, is_set, default = word.partition("=")
        if name in given:
            found[name] = given[name]
        elif is_set:
            found[name] = expand(default, {**values, **found})
        elif name in head:
            found[name] = head[name]
    return found


def pairs(value: str) -> list[tuple[str, str]]:
    """ENV's `K=V K2="V 2"`, or the old `K V V V`."""
    words = _words(value)
    if words and "=" not in words[0]:
        name, _, rest = value.partition(" ")
        return [(name, rest.strip())]
    return [(name, rest) for name, _, rest in (word.partition("=") for word in words)]


def _words(value: str) -> list[str]:
    """Words without their quotes; a `$` in single quotes is lost as a plain one, which no version or image has."""
    try:
        return shlex.split(value)
    except ValueError:
        return value.split()
