"""One step of the job's own command. What this machine cannot give it (GPU, network, data) is unknown, never a pass."""

from __future__ import annotations

import re
from typing import Any

from image_verdicts.verdict_of import NEEDS, Scene, Verdict, of, passed
from tester_causes import cause_of
from trainyard_shell import Check

DATA = re.compile(r"(?:FileNotFoundError|No such file or directory)[^\n]{0,80}'(/[^'\n]{1,200})'")


def full(scene: Scene) -> Verdict:
    verdict = of(scene, "job", "job.run", _done)
    outcome = scene.answers.one("job")
    if outcome is None or outcome.state != "failed":
        return verdict
    cause = cause_of(outcome.said(), only=("gpu", "network"))
    if cause:
        return _unknown(verdict, cause.what, cause.id)
    if secret := next((name for name in scene.asked.secrets if name in outcome.said()), None):
        return _unknown(verdict, f"it asks for {secret}, and a test is given no secrets", "secret")
    if (match := DATA.search(outcome.said())) and not match[1].startswith(scene.image.folder.rstrip("/") + "/"):
        return _unknown(verdict, f"it needs {match[1]}, which is not in the image", "data")
    return verdict


def _unknown(verdict: Verdict, what: str, needs: str) -> Verdict:
    return Verdict(
        Check("job.run", "unknown", f"the job ended before its first step: {what}", verdict.check.evidence, NEEDS[needs]), needs
    )


def _done(found: dict[str, Any]) -> Verdict:
    step = found.get("step")
    if step is not None:
        return passed("job.run", f"the job's own command did step {step}")
    return passed("job.run", "the job's own command exited with 0; it wrote no steps.jsonl")
