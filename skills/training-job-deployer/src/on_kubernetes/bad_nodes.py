"""A node with a fault: HyperPod replaces it; else the next start keeps away from it, where other nodes have room."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from deploy_siblings import Answer, Call, call, options
from on_kubernetes import calls
from on_kubernetes.stages import CLUSTERS

if TYPE_CHECKING:
    from run_state.record import Run

HYPERPOD = ("hyperpod-manager", "manage_hyperpod.py")
ID, AVOID = "restart.node", "restart.avoid"
REPLACING_S = 3600.0
"""A replacement takes 20 to 30 minutes."""
PLANNING_S = 120.0


def commands(run: Run, node: str | None) -> list[str]:
    """What its administrator would type."""
    if run.target == "hyperpod":
        return [f"manage_hyperpod.py {shlex.join(_words(run, 'CLUSTER', node or 'NODE'))}"]
    return (
        [f"kubectl cordon {shlex.quote(node)}   (for the cluster's administrator; `resume` then uses another node)"]
        if node
        else []
    )


def leave(run: Run, node: str, *, yes: bool, deadline: float) -> tuple[list[shell.Check], bool]:
    """What was done about the node, and whether the next start has to avoid it. Never raises."""
    checks = [_replacement(run, node, yes=yes, deadline=deadline)] if run.target == "hyperpod" else []
    if any(check.status == "pass" for check in checks):
        return checks, False
    avoided = _avoidable(run, node)
    return [*checks, avoided], avoided.status == "pass"


def avoiding(run: Run, document: dict[str, Any]) -> dict[str, Any]:
    """The request, with the nodes that the job file and the run's restarts keep away from."""
    own = (run.job.get("cluster") or {}).get("avoid_nodes") or []
    cluster = {key: value for key, value in (document.get("cluster") or {}).items() if key != "avoid_nodes"}
    nodes = [*own, *(node for node in run.avoided if node not in own)]
    cluster |= {"avoid_nodes": nodes} if nodes else {}
    return {**document, "cluster": cluster} if cluster or document.get("cluster") else document


def _avoidable(run: Run, node: str) -> shell.Check:
    """Passes where the job has room without this node: a start that waits for ever would be worse than a bad node."""
    document = avoiding(run, (run.submission.document if run.submission else None) or {})
    cluster = document.get("cluster") or {}
    document = {**document, "cluster": {**cluster, "avoid_nodes": [*cluster.get("avoid_nodes", []), node]}}
    try:
        asked = Call(["fit", "-", *options(claim=calls.claim_of(run)), *calls.where(run)], document)
        answer = call(CLUSTERS, asked, timeout_s=PLANNING_S).or_raise()
    except shell.SkillError as error:
        return shell.Check(AVOID, "warn", f"node {node} is not avoided: {error}", fix=error.hint or None)
    if answer.data.get("fits") is True:
        told = f"node {node} is avoided from now on; a resume by hand goes there again"
        return shell.Check(AVOID, "pass", told, fix="cluster.avoid_nodes in the job file keeps it away for good")
    why = "; ".join(map(str, answer.data.get("missing") or [])) or "whether others have room is not known"
    told = f"node {node} is not avoided, for without it: {shell.clean(why, 400)}"
    return shell.Check(AVOID, "warn", told, fix=commands(run, node)[0])


def _replacement(run: Run, node: str, *, yes: bool, deadline: float) -> shell.Check:
    """Planned, and with `yes` carried out and waited for. Never raises."""
    try:
        cluster = _cluster_of(run, node)
        plan = call(HYPERPOD, [*_words(run, cluster, node), "--dry-run"], timeout_s=PLANNING_S).or_raise()
        if not yes:
            fix = f"manage_hyperpod.py {shlex.join(_words(run, cluster, node))} --yes"
            told = f"node {node} was not replaced: watch --restart was not told --yes; {_plan_in_words(plan)}"
            return shell.Check(ID, "warn", told, fix=fix)
        return _replace(run, cluster, node, deadline)
    except shell.SkillError as error:
        return shell.Check(ID, "warn", f"node {node} was not replaced: {error}", fix=error.hint or None)


def _replace(run: Run, cluster: str, node: str, deadline: float) -> shell.Check:
    left_s = max(1.0, min(REPLACING_S, deadline - time.monotonic()))
    shell.progress(f"{ID}: asks HyperPod to replace {node}, and waits up to {left_s:.0f} s")
    words = [*_words(run, cluster, node), "--yes", *options(timeout=f"{left_s:.0f}")]
    answer = call(HYPERPOD, words, timeout_s=left_s + PLANNING_S, shows=True).or_raise()
    if answer.ok:
        return shell.Check(ID, "pass", f"node {node} was replaced")
    why = "; ".join(check.summary for check in answer.checks if check.status in ("fail", "unknown"))
    return shell.Check(ID, "warn", f"node {node} was not replaced: {shell.clean(why, 400)}")


def _words(run: Run, cluster: str, node: str) -> list[str]:
    where = {key: run.cluster.get(key) or None for key in ("context", "namespace", "cluster_id")}
    return ["replace", cluster, *options(node=node, **where)]


def _cluster_of(run: Run, node: str) -> str:
    """The HyperPod cluster that has this node. Raises SkillError not-found where none of the region's does."""
    rows = call(HYPERPOD, ["clusters"], timeout_s=PLANNING_S).or_raise().data.get("clusters")
    names = [str(row["name"]) for row in rows or [] if isinstance(row, dict) and row.get("name")]
    for name in names[:50]:
        where = {key: run.cluster.get(key) or None for key in ("context", "namespace", "cluster_id")}
        answer = call(HYPERPOD, ["nodes", name, *options(**where)], timeout_s=PLANNING_S)
        if answer.error_code is None and any(node in _names(row) for row in answer.data.get("nodes") or []):
            return name
    told = f"no HyperPod cluster of the region has the node {node}"
    raise shell.SkillError("not-found", told, hint="manage_hyperpod.py clusters, then replace CLUSTER --node NODE")


def _names(row: Any) -> set[str]:
    return {str(value) for value in row.values() if isinstance(value, str)} if isinstance(row, dict) else set()


def _plan_in_words(plan: Answer) -> str:
    return shell.clean(str(plan.data.get("summary") or "the plan is in `fix`"), 300)
