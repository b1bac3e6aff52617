"""A run on a cluster as it was found: its job, its pods with their nodes, ranks and containers, and the logs of these."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from cluster_run.kinds import Kind
from cluster_run.logs import LogLine, read_log
from cluster_run.times import seconds
from trainyard_containers import main_of
from trainyard_kube import Cluster, Object


@dataclass(frozen=True)
class RunContainer:
    """What the kubelet says of one container. Times are seconds since 1970 by the clock of its node."""

    name: str
    is_init: bool
    restarts: int
    state: str
    """waiting, running, terminated; unknown: the kubelet has said nothing."""
    started: float | None
    ended: float | None
    exit_code: int | None
    reason: str | None
    last: Object = field(default_factory=dict, repr=False)
    """lastState.terminated: the end before this start; {} where there was none."""

    @property
    def has_log(self) -> bool:
        return self.state in ("running", "terminated") or self.restarts > 0


@dataclass(frozen=True)
class RunPod:
    name: str
    uid: str
    node: str | None
    node_rank: int | None
    """None where nothing tells it; -1: a RayJob's submitter."""
    phase: str
    """Pending, Running, Succeeded, Failed, Unknown, Terminating."""
    main: str
    """The container that trains."""
    containers: tuple[RunContainer, ...]
    object: Object = field(repr=False)

    def container(self, name: str | None = None) -> RunContainer | None:
        return next((each for each in self.containers if each.name == (name or self.main)), None)

    @property
    def runs(self) -> bool:
        """The container that trains runs."""
        own = self.container()
        return self.phase == "Running" and own is not None and own.state == "running"


@dataclass(frozen=True)
class ClusterRun:
    cluster: Cluster = field(repr=False)
    name: str
    """Of the run, or of the job."""
    run_id: str | None
    kind: Kind | None
    job: Object | None = field(repr=False)
    """None: it is gone, may not be read, or the pods belong to none."""
    pods: tuple[RunPod, ...]
    """In the order of node ranks."""
    selector: str
    """Of the pods, as kubectl's -l takes it."""
    unread: tuple[shell.Check, ...] = ()
    """What may not be read: unknown checks."""

    @property
    def engine(self) -> str | None:
        return self.kind.engine if self.kind else None

    @property
    def job_name(self) -> str | None:
        """KIND/NAME."""
        return f"{self.kind.kind}/{kube.name(self.job)}" if self.job and self.kind else None

    @property
    def first_pod(self) -> RunPod | None:
        """That of the lowest node rank."""
        return min((pod for pod in self.pods if (pod.node_rank or 0) >= 0), key=_order, default=None)

    def pod(self, name: str) -> RunPod:
        """Raises SkillError not-found."""
        found = next((pod for pod in self.pods if pod.name == name), None)
        if found is None:
            there = ", ".join(pod.name for pod in self.pods[:5]) or "none"
            raise shell.SkillError("not-found", f"{self.name} has no pod {shell.clean(name, 80)}", hint=f"its pods: {there}")
        return found

    def log_lines(
        self, pod: RunPod | str, container: str | None = None, previous: bool = False, **bounds: Any
    ) -> Iterator[LogLine]:
        """The lines that a container printed, oldest first; see `read_log` for the bounds and for what it raises."""
        one = self.pod(pod) if isinstance(pod, str) else pod
        return read_log(self.cluster, one.name, container or one.main, previous=previous, **bounds)


def pod_of(thing: Object, rank: int | None, container: str | None) -> RunPod:
    status, names = kube.status(thing), [str(each["name"]) for each in thing["spec"]["containers"]]
    known = {str(each.get("name")): each for each in status.get("containerStatuses") or []}
    inits = {str(each.get("name")): each for each in status.get("initContainerStatuses") or []}
    init_names = [str(each["name"]) for each in thing["spec"].get("initContainers") or []]
    rows = [_container(name, known.get(name, {}), False) for name in names]
    rows += [_container(name, inits.get(name, {}), True) for name in init_names]
    return RunPod(
        name=kube.name(thing),
        uid=str(thing["metadata"].get("uid")),
        node=thing["spec"].get("nodeName"),
        node_rank=rank,
        phase="Terminating" if kube.is_going(thing) else str(status.get("phase") or "Unknown"),
        main=str(main_of(thing, container).get("name") or (container if container in names else names[0])),
        containers=tuple(rows),
        object=thing,
    )


def _container(name: str, told: Object, is_init: bool) -> RunContainer:
    states: Object = told.get("state") or {}
    state = next((key for key in ("running", "terminated", "waiting") if key in states), "unknown")
    words: Object = states.get(state) or {}
    code = words.get("exitCode")
    return RunContainer(
        name=name,
        is_init=is_init,
        restarts=int(told.get("restartCount") or 0),
        state=state,
        started=seconds(words.get("startedAt")),
        ended=seconds(words.get("finishedAt")),
        exit_code=code if isinstance(code, int) else None,
        reason=shell.clean(str(words["reason"]), 80) if words.get("reason") else None,
        last=(told.get("lastState") or {}).get("terminated") or {},
    )


def _order(pod: RunPod) -> tuple[bool, int, str]:
    return pod.node_rank is None, pod.node_rank or 0, pod.name
