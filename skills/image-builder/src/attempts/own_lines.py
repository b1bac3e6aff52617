"""A later attempt's failure in the user's terms: the lines of the user's own files, and whether the remedy brought the failure in."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import replace

from attempts import edits
from attempts.causes import Cause
from build_recipe import Recipe

PLACE = re.compile(r"(?P<name>[^:]+):(?P<line>\d{1,6})(?P<rest>.*)", re.DOTALL)
IN_DOCKERFILE = re.compile(r"\bline (\d{1,6})\b(?! of )")
"""How the advice names a line of the Dockerfile; one of another file is `line 3 of .dockerignore`."""
Text = Callable[[Recipe, str], str]


def told(first: Recipe, tried: Recipe, cause: Cause, text: Text) -> Cause:
    """The cause with the numbers of the lines in `first`, the user's; `text` gives a file as a recipe has it."""
    if tried is first:
        return cause
    lines = _same_lines(tried.dockerfile, first.dockerfile)

    def named(match: re.Match[str]) -> str:
        own = lines.get(int(match[1]))
        return f"line {own}" if own else "the line that this attempt added"

    places = tuple(_place(first, tried, each, text) for each in cause.places)
    return replace(cause, places=places, fix=IN_DOCKERFILE.sub(named, cause.fix), what=IN_DOCKERFILE.sub(named, cause.what))


def _place(first: Recipe, tried: Recipe, place: str, text: Text) -> str:
    match = PLACE.fullmatch(place)
    if match is None:
        return place
    name = match["name"]
    after = text(tried, name)
    before = text(first, name)
    own = int(match["line"]) if after == before else _same_lines(after, before).get(int(match["line"]))
    return f"{name}:{own}{match['rest']}" if own else f"{name}, a line that this attempt added{match['rest']}"


def _same_lines(after: str, before: str) -> dict[int, int]:
    """Line of `after` -> line of `before`: what is the same in both, or stands in its place."""
    found: dict[int, int] = {}
    matcher = difflib.SequenceMatcher(None, after.split("\n"), before.split("\n"), autojunk=False)
    for kind, start, end, other, other_end in matcher.get_opcodes():
        if kind == "equal" or (kind == "replace" and end - start == other_end - other):
            found |= {start + index + 1: other + index + 1 for index in range(end - start)}
    return found


def brought_in(first: Recipe, tried: Recipe, cause: Cause, added: list[str]) -> bool:
    """Whether it failed at what the remedies put there: their instruction, their image, a requirement of theirs. `added`: their lines."""
    found = edits.instruction(tried, cause.cut)
    if found is not None:
        own = {each.value for stage in first.parsed.stages for each, _ in stage.body}
        if found[1].value not in own:
            return True
    images = set(tried.bases) - set(first.bases)
    return any(each in cause.line for each in (*images, *(line.strip() for line in added if len(line.strip()) > 3)))
