"""Lines of the build's Dockerfile: where the failed step stands, and the text with lines put in or replaced."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from attempts.log_cut import Cut, Step
from build_recipe import Recipe
from dockerfiles.stages import Dockerfile, Stage
from dockerfiles.text import FLAG, Instruction

COUNTED = ("RUN", "COPY", "ADD", "WORKDIR")
"""The instructions that BuildKit numbers in its log, beside FROM."""
ENDED = re.compile(r"(?:process \"|[Cc]ommand '|running \[)/bin/(?:ba)?sh -c (.{1,4000}?)(?:\" did not|' returned|\]: )")
"""How a command is named where no step of the log is."""


def failed(recipe: Recipe, cut: Cut) -> tuple[Stage, Instruction] | None:
    """The RUN that failed."""
    found = instruction(recipe, cut)
    return found if found is not None and found[1].keyword == "RUN" else None


def instruction(recipe: Recipe, cut: Cut) -> tuple[Stage, Instruction] | None:
    """What failed, by the line that the client names, else by its text, else by its number in its stage."""
    docker = recipe.parsed
    for stage, each in _all(docker):
        if cut.dockerfile_line is not None and each.line <= cut.dockerfile_line <= last_line(each):
            return stage, each
    if cut.failed is not None:
        return of_step(docker, cut.failed)
    ended = next((match for line in reversed(cut.lines) if (match := ENDED.search(line))), None)
    return _by_text(docker, cut.step) or _by_text(docker, f"RUN {ended[1]}" if ended else None)


def of_step(docker: Dockerfile, step: Step) -> tuple[Stage, Instruction] | None:
    """The instruction that a step of the log ran."""
    return _by_text(docker, step.title) or _by_number(docker, step)


def _all(docker: Dockerfile) -> Iterator[tuple[Stage, Instruction]]:
    return ((stage, each) for stage in docker.stages for each, _ in stage.body)


def _by_text(docker: Dockerfile, title: str | None) -> tuple[Stage, Instruction] | None:
    keyword, _, rest = _plain(title or "").partition(" ")
    while match := FLAG.match(rest):
        rest = rest[match.end() :]
    same = [
        (stage, each)
        for stage, each in _all(docker)
        if each.keyword == keyword and rest and _plain(each.value)[:60] == rest[:60]
    ]
    return same[0] if len(same) == 1 or (same and len({stage.index for stage, _ in same}) == 1) else None


def _by_number(docker: Dockerfile, step: Step) -> tuple[Stage, Instruction] | None:
    named = re.fullmatch(r"stage-(\d{1,4})", step.stage)
    stage = docker.stage(named[1]) if named else docker.stage(step.stage) if step.stage else docker.stages[0]
    counted = [each for each, _ in stage.body if each.keyword in COUNTED] if stage else []
    at = step.number - 2
    if stage is None or not 0 <= at < len(counted) or counted[at].keyword != step.title.partition(" ")[0]:
        return None
    return stage, counted[at]


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def last_line(each: Instruction) -> int:
    """Of the instruction with its heredocs."""
    ends = [here.line + here.body.count("\n") + 1 if here.body else here.line for here in each.heredocs]
    return max([number for number, _ in each.pieces] + ends, default=each.line)


def before(recipe: Recipe, cut: Cut, lines: Sequence[str]) -> str | None:
    """The Dockerfile with lines before the step that failed; None where nobody knows which one that is."""
    found = failed(recipe, cut)
    return inserted(recipe.dockerfile, found[1].line, lines) if found else None


def before_as_root(recipe: Recipe, cut: Cut, lines: Sequence[str]) -> str | None:
    """The same, run by root; the user of the stage comes back behind them."""
    found = failed(recipe, cut)
    if found is None:
        return None
    user = user_at(found[0], found[1])
    around = [*lines] if user is None else ["USER root", *lines, f"USER {user}"]
    return inserted(recipe.dockerfile, found[1].line, around)


def user_at(stage: Stage, run: Instruction) -> str | None:
    """What USER says where the instruction stands; None where the stage does not say, or says root."""
    users = [each.value.strip() for each, _ in stage.body if each.keyword == "USER" and each.line < run.line]
    return users[-1] if users and users[-1].partition(":")[0] not in ("root", "0") else None


def inserted(text: str, line: int, lines: Sequence[str]) -> str:
    """With lines before the one of that number."""
    old = text.split("\n")
    return "\n".join([*old[: line - 1], *lines, *old[line - 1 :]])


def replaced(text: str, each: Instruction, lines: Sequence[str]) -> str:
    old = text.split("\n")
    return "\n".join([*old[: each.line - 1], *lines, *old[last_line(each) :]])
