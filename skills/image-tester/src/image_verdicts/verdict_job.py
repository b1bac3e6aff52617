"""One step of the job's own command. What this machine cannot give it (GPU, network, data) is unknown, never a pass."""

from __future__ import annotations

import re
from typing import Any

from image_verdicts.verdict_of import NEEDS, Scene, Verdict, of, passed, warned
from tester_causes import cause_of
from trainyard_shell import Check

DATA = re.compile(r"(?:FileNotFoundError|No such file or directory)[^\n]{0,80}'(/[^'\n]{1,200})'")

ERROR = re.compile(r"(?:^|[\s.:])[A-Z]\w*(?:Error|Exception|Exit|Interrupt)(?::|$)")
LAST_LINES = 4


def full(scene: Scene) -> Verdict:
    verdict = of(scene, "job", "job.run", _done)
    outcome = scene.answers.one("job")
    if outcome is None or outcome.state != "failed":
        return verdict
    said = last_error(outcome.text)
    cause = cause_of(said, only=("gpu", "network"))
    if cause:
        return _unknown(verdict, cause.what, cause.id)
    if secret := next((name for name in scene.asked.secrets if name in said), None):
        return _unknown(verdict, f"it asks for {secret}, and a test is given no secrets", "secret")
    if (match := DATA.search(said)) and not match[1].startswith(scene.image.folder.rstrip("/") + "/"):
        return _unknown(verdict, f"it needs {match[1]}, which is not in the image", "data")
    return verdict


def last_error(text: str) -> str:
    """What a job ended with: its last exception, torchrun's own aside, or its last lines. What it printed and went on after is no reason."""
    lines = text.splitlines()
    ends = [number for number, line in enumerate(lines) if ERROR.search(line) and "ChildFailedError" not in line]
    return "\n".join(lines[ends[-1] : ends[-1] + LAST_LINES] if ends else lines[-LAST_LINES:])


def _unknown(verdict: Verdict, what: str, needs: str) -> Verdict:
    return Verdict(
        Check("job.run", "unknown", f"the job ended before its first step: {what}", verdict.check.evidence, NEEDS[needs]), needs
    )


def _done(found: dict[str, Any]) -> Verdict:
    step = found.get("step")
    if step is not None:
        return passed("job.run", f"the job's own command did step {step}")
    summary = "the job's own command exited with 0 and wrote no step into steps.jsonl: whether it trains is not seen"
    return warned("job.run", summary, "a Checkpointer of trainyard writes it; or look at what it printed", found.get("output"))
