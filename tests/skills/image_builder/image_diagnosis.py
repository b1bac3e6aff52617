"""A log of a failed build, made of its lines, read with a project beside it: for what is asked a hundred times, without a builder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.skills.image_builder.image_call import module, project

SOURCE: Any = module("build_source")
DIAGNOSIS: Any = module("attempts.diagnosis")
NEXT: Any = module("attempts.next_attempt")
TRYING: Any = module("attempts.trying")
for _name in ("image_rules.packages", "conflicts.answer", "conflicts.fix", "conflicts.scene", "image_project"):
    module(_name)  # they are imported within functions, when the skill's folder is on no path any more
PYTHON = "FROM python:3.11-slim\n"


@dataclass(frozen=True)
class Read:
    """What image-builder makes of it."""

    kind: str
    places: tuple[str, ...]
    what: str
    fix: str
    line: str
    remedy: str | None
    diff: tuple[str, ...]
    foreseen: tuple[str, ...]
    """The checks that warn before the build."""

    @property
    def changes(self) -> list[str]:
        """The lines of the diff that come and go."""
        return [line for line in self.diff if line[:1] in "+-" and not line.startswith(("+++", "---"))]


def read(folder: Path, files: Mapping[str, str], *lines: str, timed_out: bool = False) -> Read:
    project(folder, files)
    source = SOURCE.given(SOURCE.opened(str(folder)), "Dockerfile", SOURCE.Wanted())
    cause = DIAGNOSIS.read(source.recipe, lines, timed_out=timed_out)
    tried = NEXT.next_recipe(source.recipe, cause, {source.recipe.attempt_key})
    return Read(
        cause.kind,
        cause.places,
        cause.what,
        cause.fix,
        cause.line,
        tried.name if tried else None,
        tuple(TRYING.diff(source.recipe, tried.recipe)) if tried else (),
        tuple(f"{check.id} {check.summary}" for check in source.checks if check.status == "warn"),
    )


def step(number: int, title: str, *output: str, end: str = "DONE 1.0s") -> list[str]:
    """A step of BuildKit's plain log; `number` is also its place in the stage."""
    return [
        f"#{number} [{number}/9] {title}",
        *(f"#{number} 0.{index} {line}" for index, line in enumerate(output)),
        f"#{number} {end}",
    ]


def failed(line: int, title: str, *output: str, number: int = 8, code: int = 1) -> list[str]:
    """The step in that line of the Dockerfile, and what the client says behind it."""
    ended = f'process "/bin/sh -c {title.removeprefix("RUN ")}" did not complete successfully: exit code: {code}'
    return [*step(number, title, *output, end=f"ERROR: {ended}"), *client(line, title, ended)]


def client(line: int, title: str, ended: str) -> list[str]:
    rule = "-" * 20
    return [
        "------",
        f" > [8/9] {title}:",
        "------",
        f"Dockerfile:{line}",
        rule,
        f"   {line} | >>> {title}",
        rule,
        f"error: failed to solve: {ended}",
    ]


def not_found(line: int, title: str, path: str) -> list[str]:
    """COPY of what the context lacks."""
    ended = f'failed to calculate checksum of ref x::y: "{path}": not found'
    return [f"#7 [3/5] {title}", f"#7 ERROR: {ended}", *client(line, title, f"failed to compute cache key: {ended}")]


def not_pulled(line: int, title: str, image: str, why: str = "") -> list[str]:
    denied = "pull access denied, repository does not exist or may require authorization: server message: insufficient_scope: authorization failed"
    ended = f"{image}: failed to resolve source metadata for docker.io/library/{image}: {why or denied}"
    return [
        f"#3 [internal] load metadata for docker.io/library/{image}",
        f"#3 ERROR: {why or denied}",
        *client(line, title, ended),
    ]
