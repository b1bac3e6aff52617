"""A step that failed and went on: its exit status was lost behind a pipe, a `;` or `|| true`, and a later step fails in its place.

The cause is then in the log of the earlier step. Where that step came from the cache its log is gone; then only the Dockerfile tells.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace

from attempts import causes, edits
from attempts.causes import Cause
from attempts.context_files import place
from attempts.log_cut import Cut, Step
from attempts.wanted import asked_in, package_of
from build_recipe import Recipe
from dockerfiles.shell import commands
from dockerfiles.stages import Stage
from dockerfiles.text import Instruction, json_words

SYMPTOMS = ("missing-module", "missing-program", "no-file", "script", "command", "system-library", "compiler")
"""What a later step says when an earlier one did not do its work."""
ENDS = re.compile(
    r"^\s*(?:ERROR:|E: |error: |Error: |fatal: |\u00d7 )|did not run successfully|^\w*(?:Error|Exception)\b|^The (?:requested )?command \S+ does not exist"
)
WELL = re.compile(r"^(?:Successfully installed|Installed \d+ packages|Setting up \S+ \()")
FORGIVEN = re.compile(r"\|\|\s*(?:true\b|:(?=\s|$)|echo\b[^|&;\n]*|exit 0\b)")
PIPED = re.compile(r"(?<!\|)\|&?(?!\|)")
NO_BASH = re.compile(r"alpine|busybox|distroless|wolfi|chainguard")


@dataclass(frozen=True)
class Lost:
    """Where the exit status of a command goes."""

    how: str
    """`a pipe`, `|| true`, `;`"""


def hides(stage: Stage, run: Instruction) -> Lost | None:
    """How a RUN may end well although an installation in it did not."""
    if json_words(run.value) is not None:
        return None
    text = "\n".join([run.value, *(here.body for here in run.heredocs)])
    shells = [each.value for each, _ in stage.body if each.keyword == "SHELL" and each.line < run.line]
    strict = re.compile(r"set -\w*e|\"-\w*e|pipefail")
    held = f"{text}\n{shells[-1] if shells else ''}"
    if forgiven := FORGIVEN.search(text):
        return Lost(forgiven[0].strip())
    if PIPED.search(_unquoted(text)) and "pipefail" not in held:
        return Lost("a pipe ends as its last command does")
    several = ";" in _unquoted(run.value) or any("\n" in here.body.strip() for here in run.heredocs)
    if several and not strict.search(held):
        return Lost("its commands stand behind each other with ; or new lines, and a shell goes on whatever happened")
    return None


def _unquoted(text: str) -> str:
    return re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", "''", text)


def explained(recipe: Recipe, cause: Cause) -> Cause | None:
    """The first cause in the log of an earlier step that this one builds on; else an installation that the cache hides."""
    found = edits.instruction(recipe, cause.cut)
    if found is None or not _is_symptom(cause, found[1]):
        return None
    docker = recipe.parsed
    chain = docker.chain(found[0])
    reached = {stage.index for stage in (*chain, *(other for stage in chain for other in docker.copied(stage)))}
    earlier = [(step, at) for step in cause.cut.others if (at := edits.of_step(docker, step)) and at[1].keyword == "RUN"]
    earlier = [(step, at) for step, at in earlier if at[0].index in reached and at[1].line < found[1].line]
    for step, (stage, run) in sorted(earlier, key=lambda item: item[1][1].line):
        inner = _inside(step, run)
        lost = hides(stage, run)
        if inner is not None and lost is not None and _linked(recipe, cause, stage, run):
            return _told(recipe, cause, inner, run, found[1], lost)
    return _cached(recipe, cause, earlier, found[1])


def _is_symptom(cause: Cause, each: Instruction) -> bool:
    """Wheels that another stage should have made are missed by COPY --from, or by pip --no-index."""
    if cause.kind == "missing-file":
        return "from" in each.flags
    return cause.kind in SYMPTOMS or (cause.kind == "no-distribution" and "--no-index" in each.value)


def _inside(step: Step, run: Instruction) -> Cause | None:
    """What went wrong in a step that ended well; None where it was made good in the same step."""
    if step.end != "DONE":
        return None
    hits = [hit for hit in causes.hits(step.lines) if not hit.warns and (not hit.row.weak or hit.row.kind == "package-build")]
    errors = [index for index, line in enumerate(step.lines) if ENDS.search(line)]
    last = max(errors, default=-1)
    if not hits or last < 0 or any(WELL.match(line) for line in step.lines[last + 1 :]):
        return None
    return causes.in_cut(Cut(step.lines, step.title, None, step))


def _linked(recipe: Recipe, cause: Cause, stage: Stage, run: Instruction) -> bool:
    """Whether the step should have brought what is missing; a plain command that fails says nothing against it."""
    module, program = cause.said.get("module"), cause.said.get("program")
    if module:
        return any(each.name == package_of(module) for each in asked_in(recipe, stage, run)) or not _asked_elsewhere(
            recipe, module, run
        )
    if program:
        return any(re.search(rf"\b{re.escape(program)}\b", " ".join(each.words)) for each in commands(run))
    return True


def _asked_elsewhere(recipe: Recipe, module: str, run: Instruction) -> bool:
    docker = recipe.parsed
    others = (
        (stage, each) for stage in docker.stages for each, _ in stage.body if each.keyword == "RUN" and each.line != run.line
    )
    return any(want.name == package_of(module) for stage, each in others for want in asked_in(recipe, stage, each))


def _told(recipe: Recipe, cause: Cause, inner: Cause, run: Instruction, later: Instruction, lost: Lost) -> Cause:
    """The inner cause, with its class and its remedies; what is seen at the end is said too."""
    note = (
        f"The step in line {run.line} had failed and hid it ({lost.how}), so that the build stopped in line {later.line} only "
        f'({cause.line[:160]}): let its status count, as with SHELL ["/bin/bash", "-eo", "pipefail", "-c"] before it'
    )
    evidence = (*inner.evidence, f"later, in line {later.line}: {cause.line}")
    return replace(inner, evidence=evidence, hidden=note)


def _cached(
    recipe: Recipe, cause: Cause, earlier: list[tuple[Step, tuple[Stage, Instruction]]], later: Instruction
) -> Cause | None:
    """An installation of the missing module whose status is lost and whose log the cache does not keep."""
    module = cause.said.get("module")
    for step, (stage, run) in earlier if module else ():
        lost = hides(stage, run)
        wanted = next((each for each in asked_in(recipe, stage, run) if each.name == package_of(str(module))), None)
        if step.end != "CACHED" or lost is None or wanted is None:
            continue
        fix = (
            f"{wanted.asked} is asked for ({wanted.place}) and line {run.line} installs it; that step loses the status of its installer "
            f"({lost.how}), and its log is not kept, for it came from the cache: let its status count, or look with --no-cache"
        )
        cut = Cut(cause.cut.lines, step.title, None, step)
        return replace(cause, cut=cut, fix=fix, places=(place(recipe, run), place(recipe, later)), remedies=("honest_status",))
    return None


def honest_status(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """The RUN under `bash -eo pipefail`, and without `|| true`."""
    found = edits.failed(recipe, cause.cut)
    if found is None or hides(*found) is None:
        return None
    text = _under(recipe, found, ["-eo", "pipefail"], forgiven=False)
    return ("that step fails where its command fails", replace(recipe, dockerfile=text)) if text else None


def with_bash(recipe: Recipe, cause: Cause) -> tuple[str, Recipe] | None:
    """The RUN under bash."""
    found = edits.failed(recipe, cause.cut)
    text = _under(recipe, found, []) if found and not json_words(found[1].value) else None
    return ("that step runs in bash", replace(recipe, dockerfile=text)) if text else None


def _under(recipe: Recipe, found: tuple[Stage, Instruction], options: list[str], *, forgiven: bool = True) -> str | None:
    """The shell of the steps behind it stays what it was. None where the image has no bash, or the step runs so already."""
    stage, run = found
    shells = [each.value for each, _ in stage.body if each.keyword == "SHELL" and each.line < run.line]
    bash = f"SHELL {json.dumps(['/bin/bash', *options, '-c'])}"
    usual = f"SHELL {shells[-1] if shells else json.dumps(['/bin/sh', '-c'])}"
    if NO_BASH.search(recipe.parsed.chain(stage)[-1].image) or bash == usual:
        return None
    lines = recipe.dockerfile.split("\n")[run.line - 1 : edits.last_line(run)]
    lines = lines if forgiven else [FORGIVEN.sub("", line) for line in lines]
    return edits.replaced(recipe.dockerfile, run, [bash, *lines, usual])
