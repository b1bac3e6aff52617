"""The state of a run on a cluster: what the job says, what its pods show, and what its own records on the volume tell.

Kubernetes goes before the records, for a launcher that was killed leaves `running` behind. The words are those of run_view/state.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import trainyard_kube as kube
from cluster_run.ended import JobSays, job_says, wanted_nodes
from cluster_run.run import ClusterRun, RunPod
from cluster_run.times import seconds
from run_folder.records import Runner
from run_view.state import ALIVE, RunState
from trainyard_placed import is_stuck

SOURCE = "kubernetes"
SILENT_S = 30.0
"""An operator that lives has looked at a new job by then."""


@dataclass(frozen=True)
class Nodes:
    wanted: int | None
    running: int
    done: int
    failed: int
    lost: tuple[str, ...]
    """Pods whose nodes do not answer: what their containers do is not known."""
    restarts: int

    @property
    def all_run(self) -> bool:
        return self.running > 0 and self.running + self.done >= (self.wanted or self.running + self.done)


def newest_pods(run: ClusterRun) -> list[RunPod]:
    """The training nodes, of each rank the pod that was made last: the others were replaced."""
    pods = [pod for pod in run.pods if pod.node_rank is None or pod.node_rank >= 0]
    return list({pod.node_rank if pod.node_rank is not None else pod.name: pod for pod in sorted(pods, key=_made)}.values())


def nodes_of(run: ClusterRun) -> Nodes:
    pods = [pod for pod in run.pods if pod.node_rank is None or pod.node_rank >= 0]
    rows = newest_pods(run)
    return Nodes(
        wanted=wanted_nodes(run),
        running=sum(pod.runs for pod in rows),
        done=sum(_done(pod) for pod in rows),
        failed=sum(pod.phase == "Failed" for pod in rows),
        lost=tuple(pod.name for pod in rows if is_lost(pod)),
        restarts=sum(each.restarts for pod in rows for each in pod.containers if each.name == pod.main) + len(pods) - len(rows),
    )


def state_of(run: ClusterRun, runner: Runner | None, now: float) -> RunState:
    """`runner`: runner.json as it lies on the volume; `now` by the API server."""
    nodes = nodes_of(run)
    says = job_says(run.job) if run.job is not None else JobSays(None, "")
    if says.ended:
        return _ended(says, runner)
    if says.deleting:
        return RunState("stopping", SOURCE, f"the job is being deleted; {len(run.pods)} pods are left")
    if says.suspended and not nodes.running:
        waits = f"the job waits in the queue {says.queue}" if says.queue else "the job is suspended"
        return RunState("starting" if says.queue else "stopped", SOURCE, waits)
    if nodes.lost:
        return RunState(
            "unknown", SOURCE, f"the node of pod {nodes.lost[0]} does not answer: what its containers do is not known"
        )
    if run.job is None and not nodes.running:
        return _without_job(run, nodes)
    if nodes.all_run:
        return _running(nodes, runner)
    return _partly(run, nodes, says, now)


def _ended(says: JobSays, runner: Runner | None) -> RunState:
    """An agreed stop ends with an exit code that an operator calls a failure; the launcher's record knows better."""
    if says.ended == "failed" and runner is not None and runner.state == "stopped":
        return RunState("stopped", "runner.json", runner.reason or "stopped")
    return RunState(str(says.ended), SOURCE, says.why or str(says.ended))


def _running(nodes: Nodes, runner: Runner | None) -> RunState:
    told = f"all {nodes.running} nodes run" if not nodes.done else f"{nodes.running} nodes run, {nodes.done} have ended"
    # A record of an end is that of the start before: this one's launcher has not written yet.
    if runner is not None and runner.state in ALIVE[:4]:
        return RunState(runner.state, SOURCE, f"{told}; runner.json says {runner.state}")
    return RunState("running", SOURCE, told)


def _partly(run: ClusterRun, nodes: Nodes, says: JobSays, now: float) -> RunState:
    of = f"{nodes.running} of {nodes.wanted if nodes.wanted is not None else 'unknown'} nodes run"
    made = seconds((run.job or {}).get("metadata", {}).get("creationTimestamp"))
    if not run.pods and says.silent and made is not None and now - made > SILENT_S:
        return RunState("unknown", SOURCE, f"no operator has looked at the job for {now - made:.0f} s: does it run?")
    if not run.pods and says.was_running:
        return RunState("unknown", SOURCE, "the job says that it runs, and there are no pods of it")
    if not run.pods:
        return RunState("starting", SOURCE, "no pods are made yet")
    stuck = next((pod.name for pod in run.pods if is_stuck(pod.object)), None)
    if stuck:
        return RunState("backing-off", SOURCE, f"{of}; pod {stuck} was deleted and does not end")
    began = nodes.restarts or says.was_running or nodes.running or nodes.failed
    has_run = any(each.restarts or each.ended for pod in run.pods for each in pod.containers if each.name == pod.main)
    if began and (has_run or nodes.restarts or nodes.failed):
        return RunState("backing-off", SOURCE, f"{of}; the others come back, or do not")
    return RunState("starting", SOURCE, of)


def _without_job(run: ClusterRun, nodes: Nodes) -> RunState:
    """The job is gone, or may not be read: its pods are all that tells."""
    if run.pods and nodes.done == len(newest_pods(run)):
        return RunState("finished", SOURCE, f"all {nodes.done} pods have ended well")
    if nodes.failed:
        return RunState("failed", SOURCE, f"{nodes.failed} pods have failed, none runs")
    return RunState("unknown", SOURCE, "the job itself is not there to be read, and none of its pods runs")


def is_lost(pod: RunPod) -> bool:
    """The kubelet sets both conditions; only the node controller sets Ready alone, for a node that does not answer."""
    ready = next((each for each in kube.conditions(pod.object) if each["type"] == "Ready"), {})
    gates = ready.get("reason") == "ReadinessGatesNotReady"
    false = ready.get("status") == "False" and not gates
    return pod.phase == "Running" and false and kube.holds(pod.object, "ContainersReady")


def _done(pod: RunPod) -> bool:
    own = pod.container()
    return pod.phase == "Succeeded" or (
        pod.phase == "Running" and own is not None and own.state == "terminated" and own.exit_code == 0
    )


def _made(pod: RunPod) -> tuple[str, str]:
    return str(pod.object["metadata"].get("creationTimestamp")), pod.name
