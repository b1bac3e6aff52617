"""What is known to go wrong on a node: Xid codes, reasons of the monitoring agents, HyperPod's labels and faults, each with what to do.

`make kit` copies this file into the src/ of each skill that uses it, and node_faults.yaml beside it into their assets/; edit them in skills/kit/ only.
The table is the knowledge; what stands in none of its rows is unknown, and unknown is never healthy.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trainyard_shell as shell
import trainyard_yaml

PLACE = Path(__file__).resolve().parent.parent / "assets" / "node_faults.yaml"
HEALTHY, DEGRADED, UNKNOWN, FAULTY = "healthy", "degraded", "unknown", "faulty"
ORDER = (HEALTHY, DEGRADED, UNKNOWN, FAULTY)
"""The worst finding of a node is its verdict."""
ACTIONS = ("none", "watch", "application", "reboot", "replace")
"""Of equal findings the one whose action goes further is told first."""
NOBODY = "nobody"
MAX_XIDS = 20
"""Of one text: a message that names more is no message."""
XID = re.compile(r"(?i)\bXid\b(?:\s*\([^()]{0,80}\))?\s*[:=\s]\s*(\d{1,4})\b|XID[-_]?(\d{1,4})(?=\D|$)")
RECOVERY = re.compile(r"(?i)recovery action changed from [^()]{0,20}\([^()]{0,40}\) to [^()]{0,20}\(([^()]{1,40})\)")
TEXT_CHARS = 4000
EVIDENCE_CHARS = 300


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One row of the table that fits something seen on a node."""

    id: str
    """xid.79, reason.NvidiaFabricError, label.node-health-status.Unschedulable ...; stays."""
    means: str
    verdict: str
    action: str
    repaired: str
    """By whom: itself, hyperpod, node-repair-10, node-repair-30, nobody."""
    job: str
    """What it does to a job that runs there: none, slow, wrong, stops."""
    source: str | None
    """None where no row fits."""
    evidence: str
    since: str | None = None
    holds: bool = False
    """No new pod should go there, whatever the verdict."""

    def as_json(self) -> dict[str, Any]:
        return dict(vars(self))


@functools.cache
def table() -> dict[str, Any]:
    """node_faults.yaml. A damaged one is a bug of ours, so nothing is caught here."""
    found: dict[str, Any] = trainyard_yaml.read(PLACE)
    return found


def worst(findings: Iterable[Finding]) -> str:
    """The verdict; without any finding nothing is known."""
    return max((each.verdict for each in findings), key=ORDER.index, default=UNKNOWN)


def by_weight(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first: what is told as the cause."""
    return sorted(findings, key=lambda each: (-ORDER.index(each.verdict), -ACTIONS.index(each.action)))


def unknown(id: str, means: str, evidence: str, since: str | None = None) -> Finding:
    """What no row fits, or nobody could read."""
    told = shell.clean(evidence, EVIDENCE_CHARS)
    return Finding(
        id=id,
        means=means,
        verdict=UNKNOWN,
        action="watch",
        repaired=NOBODY,
        job="none",
        source=None,
        evidence=told,
        since=since,
    )


# --- one thing seen ----------------------------------------------------------------------------------------------


def of_label(name: str, value: str) -> Finding:
    """HyperPod's label node-health-status or deep-health-check-status."""
    row = table()["labels"][name].get(value)
    if row is None:
        return unknown(f"label.{name}", f"an unknown value of {name}", f"{name}: {value}")
    return _finding(f"label.{name}.{value}", row, f"{name}: {value}")


def of_instance(status: str, message: str = "") -> Finding:
    """SageMaker's status of the instance."""
    evidence = f"SageMaker: {status}" + (f": {message}" if message else "")
    row = table()["instances"].get(status)
    if row is None:
        return unknown("instance.status", "an unknown instance status", evidence)
    return _finding(f"instance.{status}", row, evidence)


def of_image(version_status: str) -> Finding:
    """Whether the node's image is kept up to date."""
    row = table()["images"].get(version_status)
    if row is None:
        return unknown("image", "an unknown image status", version_status)
    return _finding(f"image.{version_status}", row, f"image: {version_status}")


def of_fault(name: str, evidence: str, since: str | None = None) -> list[Finding]:
    """A fault type or reason of HyperPod's agents; it may name an Xid (`XID_79`)."""
    xids = of_xids(name, evidence, since)
    row = _matching("faults", name)
    if row:
        return [_finding(f"fault.{name}", row[1], evidence, since), *xids]
    return xids or _of_reason_or_unknown(name, evidence, since)


def _of_reason_or_unknown(name: str, evidence: str, since: str | None) -> list[Finding]:
    """Agents share names: a fault may be called as the monitoring agent's reasons are."""
    row = _matching("reasons", name)
    if row:
        return [_finding(f"reason.{row[0]}", row[1], evidence, since)]
    return [unknown("fault", f"an unknown fault: {shell.clean(name, 60)}", evidence, since)]


def of_reason(reason: str, evidence: str, since: str | None = None, *, event: bool = False) -> list[Finding]:
    """A reason of the monitoring agent. `event`: it was only told as an event, which nobody repairs."""
    found = of_xids(reason, evidence, since)
    row = None if found else _matching("reasons", reason)
    if row:
        found = [_finding(f"reason.{row[0]}", row[1], evidence, since)]
    found = found or [unknown("reason", f"an unknown reason: {shell.clean(reason, 60)}", evidence, since)]
    return [replace(each, repaired=NOBODY) for each in found] if event else found


def knows_reason(reason: str) -> bool:
    """Whether an event of that reason is about a node's health at all: the cluster has many others."""
    return _matching("reasons", reason) is not None or bool(XID.search(reason))


def of_xids(text: str, evidence: str, since: str | None = None) -> list[Finding]:
    """Every Xid that a text names, each once; 154 carries what to do itself."""
    codes = dict.fromkeys(int(match[1] or match[2]) for match in _matches(text))
    return [_of_xid(code, text, evidence, since) for code in codes]


def _of_xid(code: int, text: str, evidence: str, since: str | None) -> Finding:
    row = table()["xids"].get(code)
    if row is None:
        return unknown(f"xid.{code}", f"Xid {code} is in no row of the catalogue of {table()['date']}", evidence, since)
    found = _finding(f"xid.{code}", row, evidence, since)
    asked = RECOVERY.search(text[:TEXT_CHARS]) if code == 154 else None
    said = table()["recovery"].get(asked[1]) if asked else None
    return replace(found, means=f"{found.means}: {asked[1]}", **said) if asked and said else found


def _matches(text: str) -> Iterator[re.Match[str]]:
    for number, match in enumerate(XID.finditer(text[:TEXT_CHARS])):
        if number == MAX_XIDS:
            return
        yield match


# --- rows --------------------------------------------------------------------------------------------------------


def _matching(kind: str, name: str) -> tuple[str, Mapping[str, Any]] | None:
    """The row of that name, else the first whose name is a pattern that fits all of it."""
    rows: dict[str, Any] = table()[kind]
    if name in rows:
        return name, rows[name]
    patterns = ((key, row) for key, row in rows.items() if "\\" in key)
    return next(((key, row) for key, row in patterns if re.fullmatch(key, name[:200], re.ASCII)), None)


def _finding(id: str, row: Mapping[str, Any], evidence: str, since: str | None = None) -> Finding:
    return Finding(
        id=id,
        means=row["means"],
        verdict=row["verdict"],
        action=row["action"],
        repaired=row["repaired"],
        job=row["job"],
        source=row["source"],
        holds=bool(row.get("holds")),
        evidence=shell.clean(evidence, EVIDENCE_CHARS),
        since=since,
    )


def of_condition_type(type: str) -> Mapping[str, Any] | None:
    """The row of a node condition: which status is bad, whether it is the monitoring agent's."""
    row: Mapping[str, Any] | None = table()["conditions"].get(type)
    return row


def of_condition(type: str, row: Mapping[str, Any], evidence: str, since: str | None) -> Finding:
    return _finding(f"condition.{type}", row, evidence, since)


def of_fault_type(type: str, evidence: str, since: str | None) -> list[Finding]:
    """A condition that HyperPod's agent makes of a fault: its type is the fault's."""
    row = _matching("faults", type)
    return [_finding(f"fault.{type}", row[1], evidence, since)] if row else []
