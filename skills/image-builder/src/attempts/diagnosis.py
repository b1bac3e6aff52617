"""A failed build understood: the first cause in its log, and what the project itself says about that."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import trainyard_shell as shell
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from attempts import (
    base_names,
    causes,
    context_files,
    edits,
    empty_arguments,
    foreign_paths,
    hidden_steps,
    isolated_builds,
    missing_modules,
    owners,
    script_files,
    stage_names,
    swallowed_imports,
    system_packages,
)
from attempts.causes import Cause, classified
from attempts.context_files import place
from attempts.wanted import asked_in
from build_context.ignore import Ignore
from build_recipe import Recipe

IGNORED = re.compile(
    r"Ignored the following (?P<why>versions that require a different python version|yanked versions): (?P<versions>.*)"
)
ANSWER = re.compile(r"Please select the geographic area|Do you want to continue\? \[Y/n\]|Proceed \(\[y\]/n\)\?")


NO_PROJECT = Recipe(Path("/nonexistent"), "", "FROM scratch\n", "Dockerfile", False, Ignore((), "", None))


def read(recipe: Recipe | None, lines: Sequence[str], *, timed_out: bool = False) -> Cause:
    """The log's first cause; each of the parts below may know more about it, or that it is another. None: there is the log alone."""
    cause = causes.of(lines, timed_out=timed_out)
    if recipe is None:
        for part in LOG_PARTS:
            cause = part(NO_PROJECT, cause) or cause
        line = cause.cut.dockerfile_line
        return replace(cause, places=(f"Dockerfile:{line}: {cause.cut.step or ''}".rstrip(": "),)) if line else cause
    for part in PARTS:
        cause = part(recipe, cause) or cause
    cause = cause if cause.places else _placed(recipe, cause)
    return replace(cause, fix=f"{cause.fix}. {cause.hidden}") if cause.hidden else cause


def _heredoc(recipe: Recipe, cause: Cause) -> Cause | None:
    """An unknown instruction that stands in a heredoc is none: the builder does not know heredocs."""
    if cause.id == "unknown-instruction" and any(each.heredocs for stage in recipe.parsed.stages for each, _ in stage.body):
        told = causes.classes()["builder-old"]
        first = next(each for stage in recipe.parsed.stages for each, _ in stage.body if each.heredocs)
        return replace(cause, kind="builder-old", what=told["what"], fix=told["fix"], places=(place(recipe, first),))
    return None


def _waiting(recipe: Recipe, cause: Cause) -> Cause | None:
    """A build that ran out of time with a question on its last lines."""
    asked = next((line for line in cause.cut.lines[-40:] if ANSWER.search(line)), None) if cause.kind == "time-out" else None
    told = causes.classes()["interactive"]
    return (
        replace(cause, what=told["what"], fix=told["fix"], line=asked.strip()[:400], remedies=("answered",)) if asked else None
    )


def _exception(recipe: Recipe, cause: Cause) -> Cause | None:
    """A package's build that fails for a reason that nobody knows here: its last exception says more than its first line."""
    if cause.kind != "package-build" or cause.id not in ("any", "pip", "uv"):
        return None
    raised = [line for line in cause.cut.lines if re.match(r"\s*[\w.]*(?:Error|Exception)\b: ", line)]
    return replace(cause, line=shell.clean(raised[-1].strip(), 400)) if raised else None


def _no_image(recipe: Recipe, cause: Cause) -> Cause | None:
    """FROM whose variable has no value."""
    if cause.kind != "syntax":
        return None
    for stage in recipe.parsed.stages:
        if stage.missing:
            names = ", ".join(sorted(stage.missing))
            fix = f"{names} in line {stage.line} has no value: ARG {names}=... before the first FROM, or --build-arg {names}=...; an ARG within a stage does not reach FROM"
            return classified(
                cause, "syntax", what="FROM names no image", fix=fix, places=[f"{recipe.dockerfile_name}:{stage.line}: FROM"]
            )
    return None


def _versions(recipe: Recipe, cause: Cause) -> Cause | None:
    """No matching distribution: for another Python, yanked, or not on the index; and which there are."""
    name, version, found = cause.said.get("subject"), cause.said.get("version", ""), edits.failed(recipe, cause.cut)
    if cause.kind != "no-distribution" or not name or cause.id != "no-distribution":
        return None
    image = recipe.parsed.chain(found[0])[-1].image if found else "the image"
    for line in cause.cut.lines:
        match = IGNORED.search(line)
        fits = (
            [each for each in match["versions"].split(";") if _allowed(each.split()[0], version)]
            if match and match["versions"].strip()
            else []
        )
        if match and fits and "yanked" in match["why"]:
            return replace(
                cause,
                fix=f"{name}{version} was withdrawn by its makers (yanked): another version; the index has {_last(cause)}",
            )
        if match and fits:
            need = fits[-1].partition("Requires-Python")[2].strip()
            fix = f"{name}{version} needs Python {need}, and the Python of {image} is another: a base image with such a Python, or another version of {name} (the index has {_last(cause)} for this one)"
            return classified(cause, "python-version", fix=fix)
    if cuda := re.search(r"\+(cu\d+|cpu|rocm[\d.]+)", version):
        fix = f"{name}{version} is in PyTorch's own index for {cuda[1]} only: --index-url with that index (pytorch.org, Get started), or {name} without +{cuda[1]}"
        return replace(cause, fix=fix)
    there = cause.said.get("there", "")
    if version and there and there != "none":
        return replace(
            cause,
            fix=f"the index has no file of {name}{version} for the Python and platform of {image}; it has {_last(cause)}; {cause.fix}",
        )
    return None


def _package(recipe: Recipe, cause: Cause) -> Cause | None:
    """Without a project nobody knows the distribution: the name that Debian has."""
    if not {"header", "program", "library"} & cause.said.keys() or (found := system_packages.wanted(cause)) is None:
        return None
    return replace(
        cause, fix=f"{found}, as Debian and Ubuntu call it, before that RUN: apt-get install -y --no-install-recommends {found}"
    )


def _cuda(recipe: Recipe, cause: Cause) -> Cause | None:
    """nvcc comes with the image behind FROM, so that is what is to be changed; the log has both versions."""
    if cause.kind != "cuda-mismatch" or cause.id != "versions":
        return None
    found = edits.failed(recipe, cause.cut)
    base = recipe.parsed.chain(found[0])[-1] if found else None
    places = [f"{recipe.dockerfile_name}:{base.line}: FROM {base.image}", place(recipe, found[1])] if base and found else []
    nvcc, torch = cause.said.get("nvcc"), cause.said.get("torch")
    if not nvcc or not torch:
        return replace(cause, places=tuple(places))
    what = f"the image's nvcc is CUDA {nvcc}, and torch is built for CUDA {torch}"
    fix = (
        f"a base image with CUDA {torch} (FROM nvidia/cuda:{torch}.*-devel-*, or a -devel image of torch with CUDA {torch}), "
        f"or a torch for CUDA {nvcc} (+cu{nvcc.replace('.', '')}, where PyTorch makes one)"
    )
    return classified(cause, cause.kind, what=what, fix=fix, places=places)


def _allowed(version: str, asked: str) -> bool:
    try:
        return SpecifierSet(asked).contains(version, prereleases=True)
    except (InvalidSpecifier, ValueError):
        return False


def _last(cause: Cause) -> str:
    there = [each.strip() for each in cause.said.get("there", "").split(",") if each.strip() not in ("", "none")]
    return ", ".join(there[-4:]) or "none"


def _placed(recipe: Recipe, cause: Cause) -> Cause:
    """The requirement that the log names, and the instruction that failed."""
    found = edits.instruction(recipe, cause.cut)
    running = (
        next((step for step in reversed(cause.cut.others) if step.end in ("", "CANCELED")), None)
        if cause.kind == "time-out"
        else None
    )
    found = found or (edits.of_step(recipe.parsed, running) if running else None)
    if found is None:
        line = re.search(r"(?:on )?line (\d{1,6})", cause.line) if cause.kind == "syntax" else None
        return replace(cause, places=(f"{recipe.dockerfile_name}:{line[1]}",)) if line else cause
    name = (
        (cause.said.get("subject") or cause.said.get("package") or isolated_builds.package(cause) or "")
        .lower()
        .replace("_", "-")
    )
    wants = asked_in(recipe, *found) if found[1].keyword == "RUN" and name else []
    at = next((f"{each.place}: {each.text or each.asked}" for each in wants if each.name == name), None)
    return replace(cause, places=tuple(filter(None, (at, place(recipe, found[1])))))


Part = Callable[[Recipe, Cause], Cause | None]
LOG_PARTS: tuple[Part, ...] = (swallowed_imports.explained, _exception, isolated_builds.explained, _versions, _cuda, _package)
"""What knows more than the log's line without a project."""
PARTS: tuple[Part, ...] = (
    _heredoc,
    _waiting,
    _no_image,
    stage_names.explained,
    base_names.explained,
    hidden_steps.explained,
    empty_arguments.explained,
    foreign_paths.explained,
    swallowed_imports.explained,
    _exception,
    isolated_builds.explained,
    missing_modules.explained,
    script_files.explained,
    context_files.explained,
    system_packages.explained,
    owners.explained,
    _versions,
    _cuda,
)
