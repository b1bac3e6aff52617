"""Requirements that are paths of the machine where the list was written: `pip freeze` in a conda environment names conda's build folders."""

from __future__ import annotations

from attempts import edits
from attempts.causes import Cause, classified
from attempts.context_files import place
from attempts.wanted import asked_in
from build_recipe import Recipe

MAX_LINES = 5


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    """Where the file that was not found is that of such a requirement."""
    found, asked = edits.failed(recipe, cause.cut), cause.said.get("file", "")
    if cause.kind != "no-file" or found is None or not asked.startswith("/"):
        return None
    local = [each for each in asked_in(recipe, *found) if "file://" in (each.text or "")]
    if not any(asked in (each.text or "") for each in local):
        return None
    lines = [f"{each.place}: {each.text}"[:160] for each in local]
    fix = (
        f"{len(lines)} requirement{'s name paths' if len(lines) > 1 else ' names a path'} of the machine where the list was "
        "written, as `pip freeze` does in a conda environment: NAME==VERSION instead of NAME @ file://...; "
        "there `pip list --format=freeze` writes that"
    )
    what = "a requirement is a path of another machine"
    return classified(cause, "no-file", what=what, fix=fix, places=[*lines[:MAX_LINES], place(recipe, found[1])])
