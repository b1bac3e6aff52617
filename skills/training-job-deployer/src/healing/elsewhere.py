"""RESTART_ELSEWHERE on a cluster: the node with the fault is replaced where somebody can do that, and else avoided where others have room."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trainyard_shell as shell

if TYPE_CHECKING:
    from deploy_place import Place
    from healing.told import Told
    from run_state.record import Run


def leave_node(place: Place, run: Run, told: Told, *, yes: bool, deadline: float) -> tuple[list[shell.Check], str | None]:
    """What was done about the node, and its name where the next start has to avoid it. Never raises: the run is started again in any
    case, and its ledger bounds that."""
    node = told.root.get("node")
    if not isinstance(node, str) or not node:
        return [shell.Check("restart.node", "warn", f"the doctor names no node, so none is avoided: {told.sentence()}")], None
    checks, avoid = place.leave_node(run, node, yes=yes, deadline=deadline)
    for check in checks:
        shell.progress(f"{check.id}: {check.summary}")
    return checks, node if avoid else None
