"""Lines of the build's Dockerfile: where the failed step stands, and the text with lines put in or replaced."""

from __future__ import annotations

import re
from collections.abc import Sequence

from attempts.log_cut import Cut
from build_recipe import Recipe
from dockerfiles.stages import Stage
from dockerfiles.text import Instruction


def failed(recipe: Recipe, cut: Cut) -> tuple[Stage, Instruction] | None:
    """The RUN that failed, by the line that the client names, else by its text."""
    runs = [(stage, each) for stage in recipe.parsed.stages for each, _ in stage.body if each.keyword == "RUN"]
    for stage, each in runs:
        if cut.dockerfile_line is not None and each.line <= cut.dockerfile_line <= last_line(each):
            return stage, each
    wanted = _plain(cut.step or "").removeprefix("RUN ")
    same = [(stage, each) for stage, each in runs if wanted and _plain(each.value)[:60] == wanted[:60]]
    return same[0] if len(same) == 1 or (same and len({stage.index for stage, _ in same}) == 1) else None


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def last_line(each: Instruction) -> int:
    """Of the instruction with its heredocs."""
    ends = [here.line + here.body.count("\n") + 1 if here.body else here.line for here in each.heredocs]
    return max([number for number, _ in each.pieces] + ends, default=each.line)


def before(recipe: Recipe, cut: Cut, lines: Sequence[str]) -> str | None:
    """The Dockerfile with lines before the step that failed; None where nobody knows which one that is."""
    found = failed(recipe, cut)
    return _inserted(recipe.dockerfile, found[1].line, lines) if found else None


def before_as_root(recipe: Recipe, cut: Cut, lines: Sequence[str]) -> str | None:
    """The same, run by root; the user of the stage comes back behind them."""
    found = failed(recipe, cut)
    if found is None:
        return None
    user = user_at(found[0], found[1])
    around = [*lines] if user is None else ["USER root", *lines, f"USER {user}"]
    return _inserted(recipe.dockerfile, found[1].line, around)


def user_at(stage: Stage, run: Instruction) -> str | None:
    """What USER says where the instruction stands; None where the stage does not say, or says root."""
    users = [each.value.strip() for each, _ in stage.body if each.keyword == "USER" and each.line < run.line]
    return users[-1] if users and users[-1].partition(":")[0] not in ("root", "0") else None


def _inserted(text: str, line: int, lines: Sequence[str]) -> str:
    old = text.split("\n")
    return "\n".join([*old[: line - 1], *lines, *old[line - 1 :]])


def replaced(text: str, each: Instruction, lines: Sequence[str]) -> str:
    old = text.split("\n")
    return "\n".join([*old[: each.line - 1], *lines, *old[last_line(each) :]])
