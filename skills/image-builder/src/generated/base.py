"""The image that a generated Dockerfile begins with: the one that is named, the table's for torch, else Python's own."""

from __future__ import annotations

from dataclasses import dataclass

import trainyard_shell as shell
from asked.versions import specifiers
from bases import answer
from bases.choice import Needs, candidates
from trainyard_gpus import Target, target
from bases.images import Base, known
from generated.entry import Found
from image_naming import reference
from image_project import Project
from packaging.specifiers import SpecifierSet


@dataclass(frozen=True)
class Chosen:
    """A base image."""

    image: str
    reason: str
    has_torch: bool
    """Its Python has torch, so that the project's packages go into that Python."""
    efa: str | None = None
    python: str | None = None


def choose(project: Project, python: Found, named: str | None, instance_type: str | None, job_network: str) -> Chosen:
    """Raises SkillError usage: a name that is none, a type that the table does not have, EFA where no image has it."""
    goal = target(instance_type) if instance_type else None
    if named:
        row = known(reference(named))
        chosen = Chosen(
            named,
            "--base names it",
            bool(row and row.has_torch and row.torch),
            row.efa if row else None,
            row.python if row else None,
        )
        return _with_efa(chosen, job_network)
    if not project.named("torch") and not (goal and goal.gpu):
        return _with_efa(
            Chosen(f"python:{python.value}-slim", f"no torch is asked for; Python {python.value}: {python.reason}", False),
            job_network,
        )
    return _with_efa(_of_table(project, python, goal, job_network), job_network)


def _of_table(project: Project, python: Found, goal: Target | None, job_network: str) -> Chosen:
    asked = answer.needs(project, None, None, None, None)
    needs = Needs(goal, asked.torch, asked.python if str(asked.python or "") else _exactly(python), asked.today)
    fitting, refused = candidates(needs)
    fitting = [each for each in fitting if each.base.efa or job_network != "efa"]
    if not fitting:
        why = "; ".join(f"{each.base.image.rpartition('/')[2]}: {each.against[0]}" for each in refused[:4])
        raise shell.SkillError(
            "usage", f"no base image of the table fits: {why}", hint="--base IMAGE, or other versions of torch or Python"
        )
    best: Base = fitting[0].base
    return Chosen(best.image, fitting[0].reason, True, best.efa, best.python)


def _exactly(python: Found) -> SpecifierSet | None:
    """Only where the project says which Python: a default is no wish."""
    return specifiers(f"=={python.value}.*") if python.value and "does not say" not in python.reason else None


def _with_efa(chosen: Chosen, job_network: str) -> Chosen:
    if job_network == "efa" and not chosen.efa:
        message = f"{shell.clean(chosen.image, 200)} is not known to have the EFA libraries, which `network: efa` needs"
        raise shell.SkillError(
            "usage",
            message,
            hint="base_image_selector.py select FOLDER --instance-type T; AWS's Deep Learning Containers have them",
        )
    return chosen
