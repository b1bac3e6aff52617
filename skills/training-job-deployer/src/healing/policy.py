"""Whether a run that failed is started again: by the doctor's root, the ledger of its attempts, and what was tried before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deploy_place import is_hopeless
from healing.told import Told
from run_state.record import Restarted

AGAIN_AND_AGAIN = 3
"""Restarts for one cause without a step gained; the ledger's limit for a root that may go away by itself."""
LONGEST_BACKOFF_S = 1800.0


@dataclass(frozen=True)
class Refusal:
    reason: str
    fix: str
    kind: str = "STOP"
    """What a restart by hand would bring."""


@dataclass(frozen=True)
class Limits:
    max_restarts: int
    backoff_s: float


def kind_of(told: Told) -> str:
    """RESTART, RESTART_ELSEWHERE, RESTART_OLDER or STOP: the stricter one of doctor and ledger."""
    if "STOP" in (kinds := [str(told.root.get("restart")), str(told.ledger.get("restart", "RESTART"))]):
        return "STOP"
    return next((kind for kind in kinds if kind != "RESTART"), "RESTART")


def refusal(told: Told, reason: str | None, earlier: list[Restarted], step: int | None, limits: Limits) -> Refusal | None:
    """Why no restart is made; None: one is. `reason`: the runner's word on the end. `earlier`: restarts by this policy, oldest first."""
    root, kind = told.root, kind_of(told)
    do = str(root.get("do") or "") or "read the log"
    if kind == "STOP":
        why = str(told.ledger.get("why") or "") if root.get("restart") != "STOP" else ""
        return Refusal(f"a restart cannot help: {told.sentence()}" + (f"; {why}" if why else ""), do)
    if kind not in ("RESTART", "RESTART_ELSEWHERE", "RESTART_OLDER"):
        return Refusal(f"this version does not know the doctor's answer about a restart: {told.sentence()}", do)
    if kind == "RESTART" and is_hopeless(reason):
        return Refusal(f"the runner has given it up: {reason}", do)
    if root.get("cause") in ("unknown", "none") and _is_second_unknown(told, earlier, step):
        return Refusal(
            "it failed twice without a step gained, and nothing says why", "read the log, correct the cause, then resume"
        )
    if (same := _without_progress(earlier, str(root.get("cause")), step)) >= AGAIN_AND_AGAIN:
        return Refusal(f"{root.get('cause')} came back after {same} restarts without a step gained", do)
    if len(earlier) >= limits.max_restarts:
        return Refusal(f"all {limits.max_restarts} restarts of --max-restarts are used up: {told.sentence()}", do)
    return None


def takes_newest_first(told: Told, earlier: list[Restarted], step: int | None) -> bool:
    """Whether RESTART_OLDER is tried from the newest checkpoint: once, after a loss that was no number. What is not finite is never
    committed (decision 0006), so the newest one is from before it; where the run came to it by itself it comes there again."""
    return told.root.get("cause") == "nan-loss" and _without_progress(earlier, "nan-loss", step) == 0


def backoff_s(earlier: list[Restarted], step: int | None, limits: Limits) -> float:
    """Doubled for each restart before that gained no step."""
    useless = 0
    for each in reversed(earlier):
        if _gained(each, step):
            break
        useless += 1
    return float(min(LONGEST_BACKOFF_S, limits.backoff_s * 2**useless))


def _is_second_unknown(told: Told, earlier: list[Restarted], step: int | None) -> bool:
    if earlier and earlier[-1].cause in ("unknown", "none") and not _gained(earlier[-1], step):
        return True
    rows: list[dict[str, Any]] = told.attempts[-2:]
    return len(rows) == 2 and all(row.get("cause") == "unknown" for row in rows) and not rows[-1].get("gained")


def _without_progress(earlier: list[Restarted], cause: str, step: int | None) -> int:
    count = 0
    for each in reversed(earlier):
        if each.cause != cause or _gained(each, step):
            break
        count += 1
    return count


def _gained(before: Restarted, step: int | None) -> bool:
    """Whether the run has come further since that restart; where no step is known, it has not."""
    return step is not None and (before.step is None or step > before.step)
