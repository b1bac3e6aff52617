"""What the ranks do at this moment, into stacks/: a file each. Asking makes ranks of the runtime write flight recorder dumps too."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evidence_folder.cutting import Cut
from evidence_folder.writing import EvidenceFolder
from rank_stacks import look
from rank_stacks.written import text_of

if TYPE_CHECKING:
    from cluster_run.run import ClusterRun

INTERVAL_S = 0.5
MOST_S = 90.0
"""For all pods, so that the logs still have their time."""
NAMED_PODS = 8


def stacks_of_pods(run: ClusterRun, folder: EvidenceFolder) -> set[int]:
    """The ranks whose stacks were taken. Pods that could not be looked at are left out, and the first of them named."""
    if folder.dry_run or not any(pod.runs for pod in run.pods):
        return set()
    from rank_stacks.in_pods import look_in_pods

    seen = look_in_pods(run, INTERVAL_S, may_ask=True, within_s=min(MOST_S, folder.limits.left_s))
    unread = [check for check in seen.unread if check not in run.unread]
    for check in unread[:NAMED_PODS]:
        folder.leave_out(check.id, f"{check.summary}; {check.fix or ''}")
    if len(unread) > NAMED_PODS:
        folder.leave_out(f"stacks of {len(unread) - NAMED_PODS} more pods", "as those before")
    return _write(seen.rows.values(), folder)


def stacks_here(run_id: str | None, path: Path, folder: EvidenceFolder) -> set[int]:
    """Of a run folder of this machine."""
    if folder.dry_run or run_id is None:
        return set()
    return _write(look.look(run_id, str(path), INTERVAL_S)["ranks"], folder)


def _write(rows: Iterable[dict[str, Any]], folder: EvidenceFolder) -> set[int]:
    there = {int(row["rank"]): row for row in rows if row["state"] != "gone"}
    for rank, row in sorted(there.items()):
        folder.text(f"stacks/rank-{rank:04d}.txt", Cut(text_of(row).encode()))
    return set(there)
