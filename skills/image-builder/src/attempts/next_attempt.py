"""Which remedy comes next: the first of the cause's that gives a recipe which was not tried yet."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from attempts import (
    context_files,
    empty_arguments,
    hidden_steps,
    image_certificates,
    isolated_builds,
    owners,
    poetry_export,
    remedies,
    script_files,
    stage_names,
    system_packages,
)
from attempts.causes import Cause
from build_recipe import Recipe

Remedy = Callable[[Recipe, Cause], tuple[str, Recipe] | None]
"""What is tried, and the recipe with it; None where it has nothing to change."""


@dataclass(frozen=True)
class Tried:
    """A remedy that can be applied."""

    name: str
    what: str
    recipe: Recipe


REMEDIES: dict[str, Remedy] = {
    each.__name__: each
    for each in (
        context_files.copied_first,
        context_files.corrected_paths,
        context_files.kept_in_context,
        hidden_steps.honest_status,
        hidden_steps.with_bash,
        image_certificates.system_certificates,
        isolated_builds.separate_install,
        owners.given_to_user,
        owners.home_of_user,
        poetry_export.with_poetry_export,
        remedies.as_root,
        remedies.devel_image,
        remedies.fewer_jobs,
        remedies.fix_conflicts,
        remedies.from_ecr_public,
        remedies.install_compiler,
        remedies.install_git,
        remedies.managed_python,
        remedies.more_patience,
        remedies.own_authority,
        remedies.system_python,
        remedies.without_heredocs,
        remedies.without_isolation,
        remedies.without_link,
        script_files.executable,
        script_files.unix_line_ends,
        empty_arguments.arguments_repeated,
        stage_names.near_stage,
        system_packages.answered,
        system_packages.apt_update,
        system_packages.archived_sources,
        system_packages.install_system,
        system_packages.renamed_packages,
    )
}


def next_recipe(recipe: Recipe, cause: Cause, seen: set[str]) -> Tried | None:
    """A step that hid its failure is made to show it in the same attempt: without that the next one would be hidden too."""
    for name in cause.remedies:
        found = _honest(recipe, cause, REMEDIES[name]) if cause.hidden else REMEDIES[name](recipe, cause)
        if found is not None and found[1].attempt_key not in seen:
            return Tried(name, *found)
    return None


def _honest(recipe: Recipe, cause: Cause, remedy: Remedy) -> tuple[str, Recipe] | None:
    """Both changes; the step is found again by its text or its number, whichever the first one leaves as it was."""
    for first, second in ((remedy, hidden_steps.honest_status), (hidden_steps.honest_status, remedy)):
        one = first(recipe, cause)
        both = second(one[1], cause) if one else None
        if one and both:
            return f"{one[0]}; {both[0]}", both[1]
    return remedy(recipe, cause)
