"""What time it is: by the API server, and by the nodes, whose clocks write the times of logs and records.

Nothing here believes this machine's clock. The API server's is in the Date of its answers. A node's is seen where its kubelet wrote a
time of its own into a pod's status (a container's start) and the API server wrote, as managedFields, when that writing came; a pod
that answers a command tells it at once.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from email.utils import parsedate_to_datetime

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_run.run import ClusterRun, RunPod
from cluster_run.times import seconds
from run_view.status import duration
from trainyard_kube import Cluster, Object

AHEAD_S = 5.0
"""A kubelet's time may be rounded, and the Date of an answer is in whole seconds."""
BEHIND_S = 60.0
"""A kubelet writes late when it has much to do: a small lag proves nothing about its clock."""


@dataclass(frozen=True)
class Clocks:
    said: float
    """By the API server, when it was asked."""
    is_servers: bool = True
    """False: its answers tell no time, and `said` is this machine's."""
    skews: dict[str, float] = field(default_factory=dict)
    """Node -> seconds that its clock is ahead (negative: behind); nodes of which nothing is known are missing."""
    asked: float = field(default_factory=time.monotonic)
    """time.monotonic() when the server said it."""
    off_s: float = 0.0
    """Seconds that this machine's clock was ahead of it then."""

    @property
    def now(self) -> float:
        """By the API server: logs are read after it was asked, and nothing in them lies in the future."""
        return self.said + time.monotonic() - self.asked

    def at(self, node: str | None) -> float:
        """What that node's clock shows now."""
        return self.now + (self.skews.get(node, 0.0) if node else 0.0)


def clocks_of(run: ClusterRun) -> Clocks:
    told = server_time(run.cluster)
    skews: dict[str, float] = {}
    for pod in run.pods:
        skew = skew_of(pod.object)
        if pod.node and skew is not None and (skew > AHEAD_S or skew < -BEHIND_S):
            # The largest lead is the surest; a lag is as large as the smallest that was seen.
            before = skews.get(pod.node, skew)
            skews[pod.node] = max(before, skew)
        elif pod.node and skew is not None:
            skews[pod.node] = max(skews.get(pod.node, 0.0), 0.0)
    return replace(told, skews=skews)


def server_time(cluster: Cluster) -> Clocks:
    """Without skews."""
    response = cluster.open("GET", cluster.namespaced("v1", "pods"), {"limit": 1})
    asked, here, said = time.monotonic(), time.time(), response.headers.get("date")
    cluster.read(response)
    try:
        now = parsedate_to_datetime(said).timestamp() + 0.5
    except (TypeError, ValueError):
        return Clocks(here, False, asked=asked)
    return Clocks(now, asked=asked, off_s=here - now)


def skew_of(pod: Object) -> float | None:
    """Seconds by which the newest time of the kubelet in the status is later than the API server took that status."""
    written = [
        seconds(each.get("time"))
        for each in pod["metadata"].get("managedFields") or []
        if each.get("subresource") == "status" and "f:containerStatuses" in ((each.get("fieldsV1") or {}).get("f:status") or {})
    ]
    status = kube.status(pod)
    times = [_newest(each) for each in status.get("containerStatuses") or []]
    # Only a kubelet says that a pod is ready; that it is not, the node controller says too, by another clock.
    times += [
        seconds(each.get("lastTransitionTime"))
        for each in kube.conditions(pod)
        if (each["type"], each["status"]) == ("Ready", "True")
    ]
    known, taken = [each for each in times if each is not None], [each for each in written if each is not None]
    return max(known) - max(taken) if known and taken else None


def _newest(container: Object) -> float | None:
    state = container.get("state") or {}
    told = [seconds((state.get(key) or {}).get(name)) for key, name in (("running", "startedAt"), ("terminated", "finishedAt"))]
    return max((each for each in told if each is not None), default=None)


def with_pods_clock(clocks: Clocks, pod: RunPod, its_now: float, asked_s: float) -> Clocks:
    """A pod that has answered has told its node's clock, as exactly as its answer was quick."""
    skew = its_now - clocks.now
    sure = abs(skew) > 1.5 + asked_s
    return replace(clocks, skews={**clocks.skews, **({pod.node: skew if sure else 0.0} if pod.node else {})})


def clock_check(clocks: Clocks) -> shell.Check:
    """Nodes whose clocks differ: the times in their logs cannot be compared as they are."""
    name, off = "clock.nodes", {node: skew for node, skew in clocks.skews.items() if abs(skew) > AHEAD_S}
    if not clocks.is_servers:
        return shell.Check(name, "unknown", "the API server tells no time: ages are by this machine's clock")
    if not off:
        known = len(clocks.skews)
        return shell.Check(name, "pass" if known else "skipped", f"the clocks of {known} nodes agree with the API server's")
    rows = sorted(off.items(), key=lambda row: -abs(row[1]))
    told = [f"{node} is {duration(abs(skew))} {'ahead' if skew > 0 else 'behind'}" for node, skew in rows]
    summary = f"clocks differ from the API server's: {', '.join(told[:4])}" + (
        f" and {len(told) - 4} more" if len(told) > 4 else ""
    )
    fix = "chronyc tracking on that node; ages here are corrected for it, times in logs are not"
    return shell.Check(name, "warn", shell.clean(summary, 400), f"{len(off)} of {len(clocks.skews)} nodes", fix)


def own_clock_note(clocks: Clocks) -> str | None:
    off_s = clocks.off_s
    if not clocks.is_servers or abs(off_s) <= AHEAD_S:
        return None
    return f"this machine's clock is {duration(abs(off_s))} {'ahead of' if off_s > 0 else 'behind'} the API server's: times here are the server's"
