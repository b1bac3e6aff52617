"""The outcome of a probe -> a check. What did not come back is never a pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tester_answer import Answers, Outcome
from tester_asked import Asked
from tester_causes import MEMORY, Cause, cause_of
from tester_inspect import Image
from trainyard_shell import Check

NEEDS = {
    "gpu": "a machine with a GPU (--gpus all), or the first minutes on the cluster",
    "network": "--network",
    "data": "the job's data in the container",
    "secret": "the first minutes on the cluster, where the job has its secrets",
    "time": "a longer --step-timeout, or a GPU",
}


@dataclass(frozen=True)
class Scene:
    """What all verdicts look at."""

    asked: Asked
    image: Image
    answers: Answers


@dataclass(frozen=True)
class Verdict:
    """A check, and what would prove it where this machine cannot."""

    check: Check
    needs: str | None = None


def of(scene: Scene, probe: str, id: str, done: Callable[[dict[str, Any]], Verdict]) -> Verdict:
    """The check `id` of a probe with one item; `done` judges what it found."""
    outcome = scene.answers.one(probe)
    if outcome is None:
        return Verdict(Check(id, "skipped", "not asked for"))
    if outcome.state == "done":
        return done(outcome.data)
    if outcome.state == "absent":
        return Verdict(Check(id, "skipped", outcome.text))
    return trouble(scene, id, outcome)


def trouble(scene: Scene, id: str, outcome: Outcome) -> Verdict:
    """Of an outcome that is no answer in the image's favour."""
    if outcome.state == "unproven":
        return Verdict(Check(id, "unknown", outcome.text, outcome.output or None, NEEDS.get(outcome.needs)), outcome.needs)
    if outcome.state == "missing":
        last = scene.answers.last or "the start"
        return Verdict(
            Check(id, "unknown", f"the container ended in {last}, before this was tried", None, "see the checks before")
        )
    cause = MEMORY if outcome.state == "memory" else cause_of(outcome.said())
    return Verdict(Check(id, "fail", _summary(outcome, cause), evidence(outcome), cause.fix if cause else _generic(outcome)))


def _summary(outcome: Outcome, cause: Cause | None) -> str:
    where = f" (in: {outcome.step})" if outcome.step else ""
    return f"{cause.what}{where}" if cause else f"{first_line(outcome.text)}{where}"


def _generic(outcome: Outcome) -> str | None:
    if outcome.state == "timeout":
        return "it hangs there: try that step in the image by hand (docker run -it)"
    return None


def evidence(outcome: Outcome) -> str | None:
    """What was raised, then what was printed."""
    return "\n".join(each for each in (outcome.text, outcome.output.strip()[-1500:]) if each) or None


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0][:300]


def passed(id: str, summary: str, evidence: str | None = None) -> Verdict:
    return Verdict(Check(id, "pass", summary, evidence))


def failed(id: str, summary: str, fix: str, evidence: str | None = None) -> Verdict:
    return Verdict(Check(id, "fail", summary, evidence, fix))


def warned(id: str, summary: str, fix: str, evidence: str | None = None) -> Verdict:
    return Verdict(Check(id, "warn", summary, evidence, fix))
