"""`poetry export` since Poetry 2: a plugin that is installed beside it."""

from __future__ import annotations

from dataclasses import replace

from attempts import edits
from attempts.causes import Cause
from attempts.wanted import want_named
from build_recipe import Recipe

PLUGIN = "poetry-plugin-export"


def with_poetry_export(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """The plugin, by pip where pip has installed poetry, else by poetry itself."""
    found = edits.failed(recipe, cause.cut)
    if found is None or PLUGIN in recipe.dockerfile:
        return None
    by_pip = want_named(recipe, "poetry", *found) is not None
    line = f"RUN pip install {PLUGIN}" if by_pip else f"RUN poetry self add {PLUGIN}"
    text = edits.before(recipe, cause.cut, [line])
    return (f"{PLUGIN} is installed before that step", replace(recipe, dockerfile=text)) if text else None
