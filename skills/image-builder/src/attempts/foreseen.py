"""What a Dockerfile will fail at, seen before the build: a stage that is not there, an empty ARG, and sources that the context lacks."""

from __future__ import annotations

import trainyard_shell as shell
from attempts import context_files, empty_arguments, lost_files, stage_names
from build_recipe import Recipe
from dockerfiles.copy_sources import context_sources


def checks(recipe: Recipe) -> list[shell.Check]:
    """`warn`, for the builder decides; nothing where nothing is seen."""
    docker = recipe.parsed
    found = [
        shell.Check(
            "dockerfile.stage",
            "warn",
            shell.clean(stage_names.told(docker, each), 400),
            fix="the stage's name, where it is meant",
        )
        for each in stage_names.unknown(docker)
    ]
    for each in empty_arguments.empty(docker)[:3]:
        fix = f"ARG {each.name} below FROM (line {each.stage.line})"
        found.append(shell.Check("dockerfile.arg", "warn", shell.clean(empty_arguments.told(each), 400), fix=fix))
    ignored, others = [], []
    for source in context_sources(docker):
        lost = lost_files.lost(recipe, source)
        if lost and lost.why == "ignored":
            ignored.append(lost)
        elif lost:
            others.append(f"line {source.each.line}: {lost.path}" + (f" (the folder has {lost.near})" if lost.near else ""))
    if ignored:
        found.append(shell.Check("context.ignored", "warn", shell.clean(context_files.ignored(recipe, ignored), 600)))
    if others:
        summary = f"the Dockerfile copies what the context does not have: {', '.join(others[:10])}"
        found.append(shell.Check("context.missing", "warn", shell.clean(summary, 600), fix="the path as the folder has it"))
    return found
