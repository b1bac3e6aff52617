"""`query-metrics`: what the answer of a Prometheus says, and what it does not say."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import Any

import trainyard_aws as aws
import trainyard_shell as shell
from trainyard_prometheus import Place, ask, server

from hyperpod_metrics import named
from hyperpod_metrics.workspaces import workspace

MAX_POINTS = 11_000
"""Of one series: Prometheus refuses more."""
MAX_NOTES = 10
EXPIRED = ("expired", "InvalidClientTokenId", "security token")
WHICH = (
    "`aws amp list-workspaces` has the workspaces of a region; without one the cluster's observability add-on is not installed, "
    "or the metrics are in another Prometheus: --url http://HOST:9090"
)
Document = dict[str, Any]


def query_amp(
    query: str,
    *,
    workspace_id: str | None = None,
    url: str | None = None,
    region: str | None = None,
    start: str | None = None,
    end: str | None = None,
    step: str | None = None,
    timeout_s: float = 60.0,
    limit: int = 200,
) -> shell.Result:
    """A query by name or in PromQL, of one moment or of a time. No series is `unknown`, never zero.

    Raises SkillError usage (also what Prometheus says against the query), permission, credentials, not-found, unreachable, timeout.
    """
    if (workspace_id is None) == (url is None):
        raise shell.SkillError("usage", "which Prometheus: give --workspace or --url, not both", hint=WHICH)
    place = workspace(workspace_id, region) if workspace_id is not None else server(str(url))
    chosen = named.of(query)
    asked = _times(start, end, step)
    path = "query_range" if "step" in asked else "query"
    status, document = ask(place, path, {"query": chosen.query, **asked}, timeout_s)
    if status != 200 or document.get("status") != "success":
        raise _refusal(place, status, document, chosen)
    return _result(document, chosen, limit)


def _times(start: str | None, end: str | None, step: str | None) -> dict[str, str]:
    """start, end and step together ask for a time; end alone for another moment than now. Raises SkillError usage."""
    if start is None and step is None:
        return {"time": _time(end)} if end else {}
    if start is None:
        raise shell.SkillError("usage", "--step goes with --start", hint="--start 2026-11-29T10:00:00Z --step 60s")
    return {"start": _time(start), "end": _time(end) if end else _time(datetime.now(UTC).isoformat()), "step": step or "60s"}


def _time(text: str) -> str:
    try:
        if text.replace(".", "", 1).isdigit():
            return text
        at = datetime.fromisoformat(text)
        return f"{(at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp():.3f}"
    except (ValueError, OverflowError) as error:
        raise shell.SkillError(
            "usage", f"{shell.clean(text, 40)!r} is no time", hint="2026-11-29T10:00:00Z, or seconds"
        ) from error


# --- refusals ----------------------------------------------------------------------------------------------------


def _refusal(place: Place, status: int, document: Document, chosen: named.Named) -> shell.SkillError:
    said = shell.clean(
        str(document.get("error") or document.get("message") or document.get("Message") or f"HTTP {status}"), 600
    )
    kind = shell.clean(str(document.get("errorType") or ""), 60)
    message = f"{chosen.query[:200]}: HTTP {status}: {kind + ': ' if kind else ''}{said}"
    if status in (401, 403) and place.signer and any(word in said for word in EXPIRED):
        return shell.SkillError("credentials", message, hint=aws.SIGN_IN)
    if status in (401, 403):
        return shell.SkillError("permission", message, hint=_allowing(place))
    if status == 404:
        return shell.SkillError(
            "not-found", message, hint="is it the right workspace, in the right --region? aws amp list-workspaces"
        )
    if status in (200, 429) or status >= 500:  # 200: an error in the body all the same
        return shell.SkillError(
            "unreachable", message, hint="it is busy: a simpler query, or the same call later", retryable=True
        )
    return shell.SkillError("usage", message, hint="correct the query, its times or its step")


def _allowing(place: Place) -> str:
    if place.signer is None:
        return "this Prometheus wants a sign-in of its own: a port-forward past its proxy, or another --url"
    statement = {"Effect": "Allow", "Action": "aps:QueryMetrics", "Resource": place.resource}
    return f"a policy needs this statement: {json.dumps(statement)}"


# --- the answer --------------------------------------------------------------------------------------------------


def _result(document: Document, chosen: named.Named, limit: int) -> shell.Result:
    data = document.get("data")
    kind = data.get("resultType") if isinstance(data, dict) else None
    rows = data.get("result") if isinstance(data, dict) else None
    if kind in ("scalar", "string"):
        rows = [{"metric": {}, "value": rows}]
    if kind not in ("vector", "matrix", "scalar", "string") or not isinstance(rows, list):
        raise shell.SkillError("unreachable", "the answer is none of a Prometheus API: no result in it", hint="another --url")
    series = [_series(row) for row in rows[:limit]]
    notes = [shell.clean(str(note), 300) for key in ("warnings", "infos") for note in document.get(key) or []][:MAX_NOTES]
    answer = {"query": chosen.query, "unit": chosen.unit, "kind": kind, "total": len(rows), "series": series}
    return shell.Result(answer, _checks(rows, notes, chosen, document), truncated=len(rows) > limit)


def _checks(rows: list[Any], notes: list[str], chosen: named.Named, document: Document) -> list[shell.Check]:
    checks = []
    if document.get("warnings"):  # such as a store that did not answer: the sum is too small
        checks.append(
            shell.Check("metrics.partial", "unknown", "the answer may be a part of the whole", "; ".join(notes), "ask again")
        )
    elif notes:
        checks.append(shell.Check("metrics.notes", "warn", "the server has remarks", "; ".join(notes)))
    if rows:
        checks.append(shell.Check("metrics.data", "pass", f"{len(rows)} series"))
        return checks
    fix = (
        named.TURN_ON
        if chosen.off
        else "query-metrics targets says what is scraped; is it the right workspace, and the right time?"
    )
    what = "no such series: the value is unknown, not zero"
    return [*checks, shell.Check("metrics.data", "unknown", what, chosen.query, fix)]


def _series(row: Any) -> Document:
    """Labels, and `value` of a moment or `values` of a time: [[seconds, number or "NaN", "+Inf", "-Inf"]]."""
    try:
        metric = {str(key): shell.clean(str(value), 200) for key, value in (row.get("metric") or {}).items()}
        if "values" in row:
            return {"metric": metric, "values": [_point(each) for each in row["values"][-MAX_POINTS:]]}
        if "value" in row:
            return {"metric": metric, "value": _point(row["value"])}
        return {"metric": metric, "histogram": "not shown"}
    except (AttributeError, TypeError, ValueError, IndexError) as error:
        raise shell.SkillError(
            "unreachable", f"a series of the answer cannot be read: {shell.clean(str(error), 100)}", hint="another --url"
        ) from error


def _point(pair: Any) -> list[Any]:
    seconds, text = pair
    try:
        number = float(text)
    except ValueError:  # a string
        return [float(seconds), shell.clean(str(text), 200)]
    return [float(seconds), number if math.isfinite(number) else str(text)]
