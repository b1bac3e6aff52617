"""All verdicts of a test, and its answer: shared by the ways of running."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import trainyard_shell as shell
from image_verdicts import verdict_job, verdict_machine, verdict_python, verdict_torch
from image_verdicts.verdict_of import Scene, Verdict
from tester_facts import facts, probes, unproven


def inside(scene: Scene) -> list[Verdict]:
    """What the probes of the level say; nothing where Python never ran them."""
    if not scene.answers.begin:
        return []
    found = [*verdict_python.quick(scene)]
    if scene.asked.at_least("standard"):
        found += [*verdict_torch.standard(scene), *verdict_machine.standard(scene)]
    if scene.asked.at_least("full"):
        found += [*verdict_torch.full(scene), verdict_job.full(scene)]
    return found


def answer(scene: Scene, verdicts: Iterable[Verdict], *, seconds: float, more: dict[str, Any]) -> shell.Result:
    """Exit 0: all that this machine can show is shown, the rest is in `unproven`. Exit 1: a check failed, or could not be made
    although this machine could (decisions/0028)."""
    verdicts = list(verdicts)
    open_ends = unproven(verdicts)
    bad = [each for each in verdicts if each.check.status == "fail" or (each.check.status == "unknown" and not each.needs)]
    data = {
        "image": scene.image.name,
        "id": scene.image.id,
        "digest": scene.image.digest,
        "level": scene.asked.level,
        "passed": not bad,
        "unproven": open_ends,
        "facts": facts(scene),
        "probes": probes(scene),
        "seconds": round(seconds, 1),
        **more,
    }
    steps = [f"{each.check.id}: {each.check.fix}" for each in bad if each.check.fix][:3]
    return shell.Result(data=data, checks=[each.check for each in verdicts], next=steps, ok=not bad)
