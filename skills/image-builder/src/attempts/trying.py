"""A build in at most three attempts: the log of each that fails is read, and another follows only with a remedy for its cause."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import trainyard_shell as shell
from attempts import diagnosis, own_lines
from attempts.causes import Cause
from attempts.next_attempt import Tried, next_recipe
from build_recipe import Recipe

MAX_ATTEMPTS = 3
MAX_DIFF_LINES = 400
NO_CAUSE: dict[str, Any] = {"class": None, "cause": None, "means": None, "where": [], "fix": None, "evidence": [], "step": None}
Image = TypeVar("Image")


@dataclass(frozen=True)
class Ran(Generic[Image]):
    """One attempt: the image, or None and the log that says why."""

    image: Image | None
    lines: Sequence[str]
    seconds: float
    timed_out: bool = False


@dataclass
class Attempts(Generic[Image]):
    """All of them."""

    image: Image | None = None
    recipe: Recipe | None = None
    """Of the last one."""
    cause: Cause | None = None
    """Why it failed: of the last one, unless that failed at what a remedy had brought in."""
    rows: list[dict[str, Any]] = field(default_factory=list)


def attempted(recipe: Recipe, build: Callable[[Recipe], Ran[Image]], limit: int = MAX_ATTEMPTS) -> Attempts[Image]:
    """`build` is called with recipes that differ from each other."""
    found: Attempts[Image] = Attempts()
    seen: set[str] = set()
    tried: Tried | None = None
    first, main = recipe, None
    while True:
        seen.add(recipe.attempt_key)
        ran = build(recipe)
        found.image, found.recipe = ran.image, recipe
        cause = None if ran.image is not None else diagnosis.read(recipe, ran.lines, timed_out=ran.timed_out)
        told = own_lines.told(first, recipe, cause, _of) if cause else None
        found.rows.append(_row(len(found.rows) + 1, ran, told, tried, first))
        main = _main(main, first, recipe, told)
        found.cause = _with_last(main, told) if told else None
        if cause is None or told is None or len(found.rows) >= limit:
            return found
        tried = next_recipe(recipe, cause, seen)
        if tried is None:
            return found
        recipe = tried.recipe
        shell.progress(f"{told.told}\nattempt {len(found.rows) + 1}: {tried.what}")
        for line in diff(first, recipe):
            shell.progress(line)


def _main(main: Cause | None, first: Recipe, recipe: Recipe, last: Cause | None) -> Cause | None:
    """The cause to tell: the last one that is the project's own and not a remedy's."""
    if main is None or last is None:
        return last
    added = [line[1:] for line in diff(first, recipe) if line.startswith("+") and not line.startswith("+++")]
    return main if own_lines.brought_in(first, recipe, last, added) else last


def _with_last(main: Cause | None, last: Cause) -> Cause | None:
    if main is None or main is last:
        return main
    return replace(main, fix=f"{main.fix}. What was tried for it failed too: {last.what}")


def _row(number: int, ran: Ran[Any], cause: Cause | None, tried: Tried | None, first: Recipe) -> dict[str, Any]:
    return {
        "number": number,
        "ok": ran.image is not None,
        "seconds": round(ran.seconds, 3),
        **(cause.row if cause else NO_CAUSE),
        "remedy": tried.name if tried else None,
        "what": tried.what if tried else None,
        "diff": diff(first, tried.recipe) if tried else [],
    }


def diff(before: Recipe, after: Recipe) -> list[str]:
    """What is different, as a unified diff of the build's copies, and the options that came."""
    found = _diff(before.dockerfile, after.dockerfile, before.dockerfile_name)
    if before.ignore.text != after.ignore.text:
        found += _diff(before.ignore.text, after.ignore.text, str(after.ignore.source))
    old = dict(before.files)
    for name, data in after.files:
        if old.get(name) != data:
            found += _diff(_text(old.get(name), before, name), data.decode("utf-8", "replace"), name)
    found += [f"+ --secret {each}" for each in after.secrets if each not in before.secrets]
    found += [f"+ --{each}" for each in after.options if each not in before.options]
    return [shell.clean(line, 500) for line in found[:MAX_DIFF_LINES]]


def _of(recipe: Recipe, name: str) -> str:
    """A file as the recipe has it."""
    if name in (recipe.dockerfile_name, str(recipe.ignore.source)):
        return recipe.dockerfile if name == recipe.dockerfile_name else recipe.ignore.text
    return _text(dict(recipe.files).get(name), recipe, name)


def _text(held: bytes | None, before: Recipe, name: str) -> str:
    if held is not None:
        return held.decode("utf-8", "replace")
    from asked.files import Folder

    return Folder(before.folder).text(name) or ""


def _diff(before: str, after: str, name: str) -> list[str]:
    return list(difflib.unified_diff(_lines(before), _lines(after), f"a/{name}", f"b/{name}", lineterm="", n=2))


def _lines(text: str) -> list[str]:
    """The ends of Windows stay visible: they may be the difference."""
    return text.removesuffix("\n").replace("\r", "\\r").split("\n") if text else []
