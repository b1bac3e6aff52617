"""What a RUN was to install: its requirements with their lines, and the package that holds a module."""

from __future__ import annotations

from packaging.utils import canonicalize_name

from asked.files import Folder
from asked.requirements import read as read_requirements
from asked.wants import Want
from attempts import edits
from build_recipe import Recipe
from dockerfiles.installs import Install, installs
from dockerfiles.stages import Stage
from dockerfiles.text import Instruction
from image_tables import table


def package_of(module: str) -> str:
    """The package on the index that holds a module, as PEP 503 writes its name."""
    return canonicalize_name(str(table("package_rules")["modules"].get(module, module)))


def asked_in(recipe: Recipe, stage: Stage, run: Instruction) -> list[Want]:
    """The requirements that a RUN installs, those of its requirement files with them."""
    return [want for each in installs_of(recipe, stage, run) for want in wants_of(recipe, each)]


def installs_of(recipe: Recipe, stage: Stage, run: Instruction) -> list[Install]:
    last = edits.last_line(run)
    return [each for each in installs(recipe.parsed, stage) if run.line <= each.place.line <= last]


def wants_of(recipe: Recipe, install: Install) -> list[Want]:
    folder = Folder(recipe.folder)
    found = list(install.wants)
    for asked in install.files:
        parts = asked.strip("/").split("/")
        name = next((name for start in range(len(parts)) if folder.exists(name := "/".join(parts[start:]))), None)
        found += read_requirements(folder, name).wants if name else []
    return found


def want_named(recipe: Recipe, name: str, stage: Stage, before: Instruction | None = None) -> tuple[Want, Instruction] | None:
    """The requirement of that name in the stage and those it is built from, and the RUN that installs it; `before` is the last RUN that counts."""
    docker = recipe.parsed
    for each in docker.chain(stage):
        for run, _ in each.body:
            late = before is not None and each is stage and run.line > before.line
            for want in asked_in(recipe, each, run) if run.keyword == "RUN" and not late else ():
                if want.name == canonicalize_name(name):
                    return want, run
    return None
