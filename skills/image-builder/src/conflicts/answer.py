"""The analyser's answer: every rule asked once, its findings in order, the diff."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from conflicts import fix as image_fix
import trainyard_shell as shell
from conflicts.findings import Finding
from image_rules import base_image, gpu_fit, image_content, names, numpy_fit, nvcc, packages, resolved, torch_family
from conflicts.scene import Scene

RULES: tuple[Callable[[Scene], Iterator[Finding]], ...] = (
    names.readable,
    image_content.uninstalled,
    image_content.git,
    resolved.findings,
    base_image.findings,
    torch_family.again,
    torch_family.findings,
    torch_family.no_index,
    gpu_fit.findings,
    numpy_fit.numpy,
    numpy_fit.numpy_python,
    packages.wheels,
    packages.with_torch,
    packages.needs_nvcc,
    nvcc.own,
    nvcc.arches,
    packages.nccl,
    packages.pip_cap,
    names.traps,
    names.shadows,
    names.contradictions,
)
ORDER = {"fail": 0, "unknown": 1, "warn": 2, "pass": 3, "skipped": 4}
MAX_FINDINGS = 200
BRANCHES = {"11.4": 470, "12.4": 550, "12.6": 560, "12.8": 570, "12.9": 575, "13.0": 580}
"""CUDA -> the driver's branch that came with it (NVIDIA's CUDA release notes, table 3)."""


def driver(text: str | None) -> str | None:
    """Raises SkillError usage for what is not a driver version."""
    if text and not re.fullmatch(r"\d{3}(\.\d{1,3}){1,2}", text, re.ASCII):
        cuda = re.fullmatch(r"(1\d)0(\d)0", text)
        if cuda:
            branch = BRANCHES.get(f"{cuda[1]}.{cuda[2]}")
            raise shell.SkillError(
                "usage",
                f"--driver {text} is not a driver version: it is CUDA {cuda[1]}.{cuda[2]}, the newest that the driver loads",
                hint="--driver with what nvidia-smi prints" + (f", which begins with {branch}" if branch else ""),
            )
        raise shell.SkillError(
            "usage",
            f"--driver {shell.clean(text, 40)!r} is not a driver version",
            hint="--driver 580.65.06, as nvidia-smi prints it",
        )
    return text


def judged(scene: Scene) -> list[Finding]:
    """What all rules say, the worst first; the same thing of the same line once."""
    found = dict.fromkeys(finding for rule in RULES for finding in rule(scene))
    return sorted(found, key=lambda each: ORDER[each.status])


def answer(scene: Scene, *, fix: bool, apply: bool) -> shell.Result:
    findings = judged(scene)
    bad = [each for each in findings if each.status in ("fail", "unknown", "warn")]
    changes = image_fix.edited(scene.project.folder, (edit for each in bad for edit in each.edits))
    written = image_fix.write(scene.project.folder, changes) if apply else []
    data = {
        "findings": [each.row(fixable=bool(changes.made.intersection(each.edits))) for each in bad[:MAX_FINDINGS]],
        "total": len(bad),
        "image": _image(scene),
        "sources": [shell.clean(name, 200) for name in scene.project.sources],
        "judged_by": scene.resolution.judged_by(),
        "diff": image_fix.diff(changes) if fix or apply else None,
    }
    return shell.Result(
        data,
        [each.check() for each in findings[:MAX_FINDINGS]],
        changed=[f"{name} in {scene.project.folder.path}" for name in written],
        next=_next(changes, fix=fix, apply=apply),
        truncated=len(findings) > MAX_FINDINGS,
    )


def _image(scene: Scene) -> dict[str, Any]:
    torch = scene.torch
    return {
        "base": shell.clean(scene.image, 300) if scene.image else None,
        "python": scene.python,
        "torch": torch.version if torch else None,
        "cuda": torch.cuda if torch else None,
        "gpu": scene.target.gpu if scene.target else None,
    }


def _next(changes: image_fix.Changes, *, fix: bool, apply: bool) -> list[str]:
    if apply and changes.files:
        return ["the same call again judges what is left"]
    if fix and changes.files:
        return ["--apply makes these changes"]
    return ["--fix prints the changes that can be made by themselves"] if changes.files else []
