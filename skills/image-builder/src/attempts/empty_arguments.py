"""An ARG before the first FROM: only FROM sees it, and in a stage it is empty until the stage repeats it (Dockerfile reference, FROM)."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from attempts import edits
from attempts.causes import Cause, classified
from attempts.context_files import place
from build_recipe import Recipe
from dockerfiles.stages import Dockerfile, Stage
from dockerfiles.text import Instruction, instructions

KINDS = ("no-file", "missing-file", "command", "missing-program", "no-distribution", "network", "syntax")
"""What an empty word in a command looks like."""
USES = re.compile(r"(?<![\\$])\$(?:\{(\w+)\}|(\w+))")
"""`${NAME:-default}` has a value."""


@dataclass(frozen=True)
class Empty:
    """A use of such an ARG in a stage."""

    name: str
    declared: int
    """Line of the ARG."""
    stage: Stage
    each: Instruction


def empty(docker: Dockerfile) -> list[Empty]:
    """In the order of the file; names that the shell of a RUN sets itself are left out."""
    declared: dict[str, int] = {}
    for each in instructions(docker.text):
        if each.keyword == "FROM":
            break
        declared |= {word.partition("=")[0]: each.line for word in each.value.split() if each.keyword == "ARG"}
    return [
        Empty(name, declared[name], stage, each)
        for stage in docker.stages
        for each, values in stage.body
        for name in dict.fromkeys(used(each))
        if name in declared and name not in values and not (each.keyword == "RUN" and re.search(rf"\b{name}=", each.value))
    ]


def used(each: Instruction) -> list[str]:
    return [first or second for first, second in USES.findall(each.value)]


def told(each: Empty) -> str:
    return f"{each.name} is empty in line {each.each.line}: its ARG (line {each.declared}) stands before FROM, and only FROM sees it"


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    """Where the instruction that failed uses such a name, or a variable that was made of one."""
    found = edits.instruction(recipe, cause.cut)
    if found is None or cause.kind not in KINDS or cause.hidden:
        return None
    chain = recipe.parsed.chain(found[0])
    for each in (one for one in empty(recipe.parsed) if one.stage in chain):
        made = re.findall(r"(\w+)=", each.each.value) if each.each.keyword in ("ENV", "ARG") else []
        if each.each.line == found[1].line or set(made) & set(used(found[1])):
            fix = f"{told(each)}: ARG {each.name} below FROM (line {each.stage.line}) takes its value over"
            places = list(dict.fromkeys([place(recipe, each.each), place(recipe, found[1])]))
            what = "an ARG before FROM has no value in the stage"
            return replace(classified(cause, "syntax", what=what, fix=fix, places=places), remedies=("arguments_repeated",))
    return None


def arguments_repeated(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """`ARG NAME` below the FROM of each stage that uses it."""
    wanted = dict.fromkeys((each.stage.line, each.name) for each in empty(recipe.parsed))
    text = recipe.dockerfile
    for line, name in sorted(wanted, reverse=True):
        text = edits.inserted(text, line + 1, [f"ARG {name}"])
    names = ", ".join(dict.fromkeys(name for _, name in wanted))
    return (f"the stages that use {names} repeat its ARG", replace(recipe, dockerfile=text)) if wanted else None
