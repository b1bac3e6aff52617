"""RESTART_ELSEWHERE on a cluster: the node with the fault is replaced where somebody can do that, and else it is said that it is not avoided."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trainyard_shell as shell

if TYPE_CHECKING:
    from deploy_place import Place
    from healing.told import Told
    from run_state.record import Run


def avoid_node(place: Place, run: Run, told: Told, *, yes: bool, deadline: float) -> list[shell.Check]:
    """What was done about the node. Never raises: the run is started again in any case, and its ledger bounds that."""
    node = told.root.get("node")
    if not isinstance(node, str) or not node:
        return [shell.Check("restart.node", "warn", f"the doctor names no node, so none is avoided: {told.sentence()}")]
    checks = place.leave_node(run, node, yes=yes, deadline=deadline)
    for check in checks:
        shell.progress(f"{check.id}: {check.summary}")
    return checks
