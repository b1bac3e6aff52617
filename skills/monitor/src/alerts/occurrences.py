"""What in one look at a run somebody wants to be called for, and whether it is the same occurrence as in the look before."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from trainyard_hiding import hidden
from trainyard_shell import Check

CHECKS: tuple[tuple[str, re.Pattern[str], tuple[str, ...]], ...] = (
    ("nan", re.compile(r"loss\.finite"), ("fail",)),
    ("stall", re.compile(r"progress\.stalled|ranks\.stopped|run\.hangs"), ("fail",)),
    # A node that does not answer is unknown to Kubernetes, and it is just what somebody wants to be called for.
    ("node-fault", re.compile(r"nodes?\..+"), ("fail", "unknown")),
    ("node-fault", re.compile(r"(?:gpus?|efa|devices?|hardware)\..+"), ("fail",)),
    ("low-goodput", re.compile(r"goodput\..+"), ("warn", "fail")),
    ("budget", re.compile(r"restarts\.budget|budget\..+"), ("warn", "fail")),
)
"""Kind, the checks that tell of it, and with which status."""
MEMBERS = {"stall": ("attempt", "step"), "budget": ("restarts",)}
"""Members of a look that make another occurrence; of other kinds it is the attempt."""
STATES = {"finished": "finished", "failed": "failed", "lost": "failed"}
KINDS = (*dict.fromkeys(kind for kind, *_ in CHECKS), "finished", "failed")


@dataclass(frozen=True)
class Alert:
    kind: str
    key: str
    """The same as long as it is the same occurrence."""
    payload: dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What a look says: alerts, and the kinds that are over. A kind in neither is not known now, and stays what it was."""

    alerts: tuple[Alert, ...]
    over: frozenset[str]


def seen_in(data: dict[str, Any], checks: list[Check], *, now: float, run_id: str | None) -> Seen:
    """`data` and `checks` as `watch` shows them."""
    alerts, over = [], set()
    for kind in KINDS[:-2]:
        rows = [(pattern, bad) for each, pattern, bad in CHECKS if each == kind]
        own = [(check, check.status in bad) for check in checks for pattern, bad in rows if pattern.fullmatch(check.id)]
        told = next((check for check, is_bad in own if is_bad), None)
        if told is not None:
            key = "/".join(str(data.get(member)) for member in MEMBERS.get(kind, ("attempt",)))
            alerts.append(_alert(kind, key, told.summary, data, now, run_id, told))
        elif all(check.status in ("pass", "warn", "skipped") for check, _ in own) and (own or kind == "node-fault"):
            over.add(kind)  # a finding about a node is there only while it holds
    alerts += _ended(data, now, run_id)
    over |= {"finished", "failed"} if data.get("state") in ("starting", "running") else set()
    return Seen(tuple(alerts), frozenset(over))


def _ended(data: dict[str, Any], now: float, run_id: str | None) -> Iterator[Alert]:
    kind = STATES.get(str(data.get("state")))
    if kind is not None:
        summary = data.get("reason") or data.get("state_evidence") or data.get("line") or kind
        yield _alert(kind, str(data.get("attempt")), str(summary), data, now, run_id, None)


def _alert(
    kind: str, key: str, summary: str, data: dict[str, Any], now: float, run_id: str | None, check: Check | None
) -> Alert:
    """What it says may come from the job: it is data for whoever gets it, too, and carries no secret."""
    name = _text(data.get("name"))
    payload = {
        "format": 1,
        "alert": kind,
        "run": name,
        "run_id": run_id,
        "time": now,
        "state": data.get("state"),
        "step": data.get("step"),
        "total_steps": data.get("total_steps"),
        "summary": _text(summary),
        "check": check.id if check else None,
        "evidence": _text(check.evidence) if check and check.evidence else None,
        "fix": _text(check.fix) if check and check.fix else None,
        "line": _text(data.get("line")),
        "text": f"{name}: {kind}: {_text(summary)}",
    }
    return Alert(kind, key, payload)


def _text(value: object) -> str:
    return hidden(shell.clean("" if value is None else str(value), 500))
