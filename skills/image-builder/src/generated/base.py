"""The image that a generated Dockerfile begins with: the one that is named, the table's for torch, else Python's own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import trainyard_shell as shell
from asked.imports import imports_torch
from asked.versions import specifiers, version
from bases import answer
from bases.choice import candidates
from trainyard_gpus import Target, target
from bases.images import known
from image_naming import reference
from image_project import Project
from image_python import Python
from image_tables import table
from packaging.specifiers import SpecifierSet

BRING_TORCH = (
    "torchvision",
    "torchaudio",
    "lightning",
    "pytorch-lightning",
    "deepspeed",
    "accelerate",
    "timm",
    "peft",
    "trl",
    "vllm",
    "torchtitan",
)


@dataclass(frozen=True)
class Chosen:
    """A base image."""

    image: str
    reason: str
    has_torch: bool
    """Its Python has torch, so that the project's packages go into that Python."""
    efa: str | None = None
    python: str | None = None
    build: str | None = None
    """Image of the stage that installs, where that is another: one with compilers and git."""
    also: tuple[str, ...] = ()
    """Packages that the project imports and does not ask for: torch."""


def choose(project: Project, python: Python, named: str | None, instance_type: str | None, job_network: str) -> Chosen:
    """Raises SkillError usage: a name that is none, a type that the table does not have, EFA where no image has it."""
    goal = target(instance_type) if instance_type else None
    if named:
        row = known(reference(named))
        has_torch = bool(row and row.has_torch and (row.torch or row.source == "ngc"))
        chosen = Chosen(named, "--base names it", has_torch, row.efa if row else None, row.python if row else None)
        return _with_efa(chosen, job_network)
    why = _torch(project)
    if why is None and not (goal and goal.gpu):
        reason = f"no torch is asked for; Python {python.value}: {python.reason}"
        return _with_efa(Chosen(f"python:{python.value}-slim", reason, False, build=f"python:{python.value}"), job_network)
    return _with_efa(_of_table(project, python, goal, job_network, why or "the instance type has a GPU"), job_network)


def _torch(project: Project) -> str | None:
    """Why the image needs torch; None: it does not."""
    for each in project.wants:
        if each.name == "torch" or each.name in BRING_TORCH:
            return f"{each.place} asks for {each.asked}"
    file = imports_torch(project.folder, project.files)
    return f"{file} imports torch" if file else None


def _of_table(project: Project, python: Python, goal: Target | None, job_network: str, why: str) -> Chosen:
    """The table's; where none of it fits, Python's own image, into which torch comes as a wheel with its own CUDA."""
    asked = answer.needs(project, None, None, None, None)
    needs = replace(asked, target=goal, torch=asked.torch if asked.torch is not None else _of_torchvision(project))
    fitting, refused = candidates(needs)
    fitting = [
        each for each in fitting if (each.base.efa or job_network != "efa") and (each.base.python or needs.python is None)
    ]
    if fitting:
        best = fitting[0].base
        return Chosen(best.image, f"{why}; {fitting[0].reason}", True, best.efa, best.python)
    against = "; ".join(f"{each.base.image.rpartition('/')[2]}: {each.against[0]}" for each in refused[:4])
    if job_network == "efa":
        hint = "--base IMAGE, or other versions of torch or Python"
        raise shell.SkillError("usage", f"no base image of the table fits: {against}", hint=hint)
    # Not the slim one: torch.compile looks for a C compiler when the job runs.
    told = refused[0].against[0] if refused else "no EFA"
    reason = f"{why}; no image of the table fits ({told}), so torch comes as a wheel with its own CUDA libraries"
    brought = any(each.name == "torch" or each.name in BRING_TORCH for each in project.wants)
    return Chosen(f"python:{python.value}", reason, False, python=python.value, also=() if brought else ("torch",))


def _of_torchvision(project: Project) -> SpecifierSet | None:
    """The torch that a pinned torchvision pins."""
    pins = [pin for each in project.named("torchvision") if (pin := version(each.pin))]
    rows = [row for row in table("package_rules")["torch"].values() for pin in pins if version(row["torchvision"]) == pin]
    return specifiers(f"=={rows[0]['newest']}") if rows else SpecifierSet("<1") if pins and pins[0].release < (0, 15) else None


def _with_efa(chosen: Chosen, job_network: str) -> Chosen:
    if job_network == "efa" and not chosen.efa:
        message = f"{shell.clean(chosen.image, 200)} is not known to have the EFA libraries, which `network: efa` needs"
        raise shell.SkillError(
            "usage",
            message,
            hint="base_image_selector.py select FOLDER --instance-type T; AWS's Deep Learning Containers have them",
        )
    return replace(chosen, reason=shell.clean(chosen.reason, 600))
