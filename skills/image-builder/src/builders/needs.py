"""What a Dockerfile needs that not every builder can do, said before the build."""

from __future__ import annotations

import re

import trainyard_shell as shell
from build_recipe import Recipe
from builders.engines import Engine
from dockerfiles.text import Instruction

NEWER = "a newer Docker (23 or later), buildx, or build_image_codebuild.py"
FRONTEND_1_4 = (0, 10)
"""Dockerfile 1.4 brought heredocs and --link; BuildKit 0.10 has it built in (its release notes)."""
FRONTEND_1_2 = (0, 8)
ZSTD = (0, 10)
SYNTAX = re.compile(r"#\s*syntax\s*=\s*(\S+)", re.IGNORECASE)


def checks(recipe: Recipe, engine: Engine, cache_to: tuple[str, ...]) -> list[shell.Check]:
    """`warn` for what this builder cannot do, `unknown` where its version is, nothing for what the Dockerfile does not use."""
    found = [_need(engine, id, what, where, version) for id, what, where, version in _used(recipe)]
    syntax = syntax_image(recipe.dockerfile)
    if syntax:
        summary = f"the first line asks for the frontend {shell.clean(syntax, 120)}: it is pulled before anything else"
        found.append(
            shell.Check(
                "builder.syntax", "warn", summary, fix="without a registry: remove the line; BuildKit has a frontend built in"
            )
        )
    if any("compression=zstd" in each for each in cache_to):
        found.append(_need(engine, "builder.zstd", "zstd layers", "--cache-to", ZSTD))
    if not found:
        return [shell.Check("builder.features", "pass", f"{engine.told} can do what {recipe.dockerfile_name} needs")]
    return found


def _need(engine: Engine, id: str, what: str, where: str, version: tuple[int, ...]) -> shell.Check:
    can = engine.builds(version)
    if can:
        return shell.Check(id, "pass", f"{engine.told} can do {what}", where)
    if can is None:
        return shell.Check(
            id, "warn", f"whether {engine.told} can do {what} is not known: it does not say its version", where, NEWER
        )
    return shell.Check(id, "warn", f"{engine.told} cannot do {what}", where, NEWER)


def _used(recipe: Recipe) -> list[tuple[str, str, str, tuple[int, ...]]]:
    """(check, what, where, BuildKit that can): each once, at the first line that uses it."""
    found: dict[str, tuple[str, str, str, tuple[int, ...]]] = {}
    if syntax_image(recipe.dockerfile):
        return []  # the pulled frontend decides
    for stage in recipe.parsed.stages:
        for each, _ in stage.body:
            for id, what, version in _of(each):
                found.setdefault(id, (id, what, f"{recipe.dockerfile_name}:{each.line}", version))
    return list(found.values())


def _of(each: Instruction) -> list[tuple[str, str, tuple[int, ...]]]:
    found: list[tuple[str, str, tuple[int, ...]]] = []
    if each.heredocs:
        found.append(("builder.heredoc", "heredocs", FRONTEND_1_4))
    if "link" in each.flags and each.keyword in ("COPY", "ADD"):
        found.append(("builder.link", f"{each.keyword} --link", FRONTEND_1_4))
    if "chmod" in each.flags and each.keyword in ("COPY", "ADD"):
        found.append(("builder.chmod", f"{each.keyword} --chmod", FRONTEND_1_2))
    return found


def syntax_image(text: str) -> str | None:
    """What `# syntax=` in the first line names."""
    match = SYNTAX.match(text.lstrip("\ufeff").split("\n", 1)[0].strip())
    return match[1] if match else None
