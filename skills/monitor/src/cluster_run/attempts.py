"""The starts of the container that prints the steps: of one pod after the other, and of each pod the one that runs and the one before.

The kubelet keeps the log and the end of one earlier start. What was before that has happened (`number` counts it), and nothing is left.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cluster_run.run import ClusterRun, RunContainer, RunPod
from cluster_run.times import seconds
from trainyard_containers import launcher_word


@dataclass(frozen=True)
class Start:
    """Times are by the node's clock."""

    number: int
    """As the attempts of a run are counted, from 0."""
    pod: RunPod
    previous: bool
    """Its log is asked for with previous=true."""
    began: float | None
    ended: float | None
    exit_code: int | None
    reason: str | None

    @property
    def key(self) -> str:
        return f"{self.pod.uid}/{self.number}"


def starts_of(run: ClusterRun, pod: RunPod) -> list[Start]:
    """Of that pod and of those that had its rank before it, oldest first."""
    rows: list[Start] = []
    number = 0
    for one in sorted(
        _same_rank(run, pod), key=lambda each: (str(each.object["metadata"].get("creationTimestamp")), each.name)
    ):
        own = one.container()
        if own is not None:
            rows += _of_pod(one, own, number)
            number += own.restarts + 1
    return rows


def _same_rank(run: ClusterRun, pod: RunPod) -> list[RunPod]:
    return [pod] if pod.node_rank is None else [each for each in run.pods if each.node_rank == pod.node_rank]


def _of_pod(pod: RunPod, own: RunContainer, number: int) -> Iterator[Start]:
    before, newest = own.last, number + own.restarts
    if before:
        # Of a container that waits for its next start, restartCount is still that of the start that has ended.
        at = newest if own.state == "waiting" else max(newest - 1, number)
        yield Start(
            at, pod, True, seconds(before.get("startedAt")), seconds(before.get("finishedAt")), _code(before), _reason(before)
        )
    if own.state in ("running", "terminated"):
        ended = _terminated(pod, own)
        yield Start(newest, pod, False, own.started, own.ended, own.exit_code, _reason(ended) if ended else None)


def _terminated(pod: RunPod, own: RunContainer) -> dict[str, Any]:
    rows = pod.object.get("status", {}).get("containerStatuses") or []
    told: dict[str, Any] = next(
        ((each.get("state") or {}).get("terminated") or {} for each in rows if each.get("name") == own.name), {}
    )
    return told


def _code(ended: dict[str, Any]) -> int | None:
    code = ended.get("exitCode")
    return code if isinstance(code, int) else None


def _reason(ended: dict[str, Any]) -> str | None:
    """The launcher's own last words go before Kubernetes' `Error`."""
    words = launcher_word(ended).get("reason") or ended.get("reason")
    return f"{words}" if words else None


def event_lines(starts: list[Start], state: str | None) -> bytes:
    """events.jsonl as a supervisor would have written it: an attempt each start; `state`: how the run ended, None while it goes on."""
    rows: list[dict[str, Any]] = []
    for start in starts:
        begun = start.began
        if start.number == 0:  # what comes before the container is part of the first start: image, volumes
            begun = seconds(start.pod.object.get("status", {}).get("startTime")) or begun
        if begun is not None:
            rows.append({"time": begun, "type": "attempt", "source": "runner", "attempt": start.number})
        if start.ended is not None:
            ended = {"time": start.ended, "type": "attempt-ended", "source": "runner", "attempt": start.number}
            rows.append({**ended, "exit_code": start.exit_code, "reason": start.reason})
    if state is not None and starts and starts[-1].ended is not None:
        rows.append(
            {
                "time": starts[-1].ended,
                "type": "run-ended",
                "source": "runner",
                "state": state,
                "exit_code": starts[-1].exit_code,
            }
        )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def runner_json(run: ClusterRun, starts: list[Start], state: str, reason: str | None, restarts: int) -> bytes:
    """runner.json as far as Kubernetes tells it."""
    newest = starts[-1] if starts else None
    began = next((start.began for start in starts if start.began is not None), None)
    told = {
        "state": state,
        "run_id": run.run_id or "",
        "name": run.name,
        "reason": reason,
        "attempt": newest.number if newest else 0,
        "restarts": restarts,
        "exit_code": newest.exit_code if newest else None,
        "started": began,
        "ended": newest.ended if newest else None,
    }
    return json.dumps(told).encode()
