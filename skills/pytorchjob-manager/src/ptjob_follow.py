"""logs --follow: every line of every pod once, through restarts of containers, pods and connections.

A watch tells which containers run. Each gets a reader of its own that knows the last line it printed: after a break it asks for
the log since that second and leaves out what it has seen. A pod made anew under the same name has another uid and starts fresh.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_find import Job
from ptjob_logs import Line, read_log
from trainyard_kube import Object
from trainyard_pods import statuses_of
from trainyard_watch import SIGNED_OUT_S, follow

Show = Callable[[Line], None]
MAX_READERS = 64
"""Connections held open; a larger job is followed by its first ranks, or by --rank."""
LOOK_S = 5.0
"""How often the job itself is asked whether it has ended."""
RETRY_S = 1.0


class Reader(threading.Thread):
    """Prints the log of one pod from `since` on, until its container has ended and all is read."""

    def __init__(self, cluster: kube.Cluster, job: Job, pod: Object, lines: int, show: Show) -> None:
        super().__init__(daemon=True, name=kube.name(pod))
        self.cluster, self.job, self.pod, self.lines, self.show = cluster, job, pod, lines, show
        self.last, self.seen_at_last = "", 0
        self.ended = threading.Event()
        """The container has ended: whatever is not there yet will not come."""
        self.error: shell.SkillError | SystemExit | None = None

    def run(self) -> None:
        pause_s = RETRY_S
        while True:
            final = self.ended.is_set()
            try:
                self._read_once(follow_on=not final)
                pause_s = RETRY_S
            except kube.ApiError as error:
                if error.status == 404:  # the pod is gone, and its log with it
                    return
                if error.status == 403 or (error.status == 401 and not error.signed_out):
                    self.error = error
                    return
                if error.signed_out:
                    pause_s = min(2 * pause_s, SIGNED_OUT_S)
            except SystemExit as error:  # stdout cannot be written: the program ends, not this thread alone
                self.error = error
                return
            except shell.SkillError as error:  # the API server is away
                shell.progress(f"{self.name}: {error}")
            if final:
                return
            self.ended.wait(pause_s)

    def _read_once(self, *, follow_on: bool) -> None:
        query: Object = {"follow": "true"} if follow_on else {}
        if self.last:
            query["sinceTime"] = f"{self.last[:19]}Z"
        elif self.lines >= 0:
            query["tailLines"] = self.lines
        at_last, skip = 0, self.seen_at_last
        for line in read_log(self.cluster, self.job, self.pod, read_s=15.0, **query):
            if line.time < self.last:
                continue
            if line.time == self.last:  # several lines may bear one time: count those that were shown
                at_last += 1
                if at_last <= skip:
                    continue
                self.seen_at_last = at_last
            else:
                self.last, self.seen_at_last = line.time, 1
                at_last, skip = 1, 0
            self.show(line)


def follow_logs(cluster: kube.Cluster, job: Job, lines: int, rank: int | None, timeout_s: float) -> Object:
    """Print lines as they come until the job has ended or the time is over. Returns the data of the envelope."""
    lock, count = threading.Lock(), [0]

    def show(line: Line) -> None:
        with lock:
            count[0] += 1
            shell.emit("log", rank=line.rank, pod=line.pod, line=line.shown())

    readers: dict[str, Reader] = {}
    deadline, looked_at, ended = time.monotonic() + timeout_s, time.monotonic(), None
    path = cluster.namespaced("v1", "pods")
    for kind, pod in follow(cluster, path, deadline, labelSelector=job.selector):
        if kind in ("ADDED", "MODIFIED", "DELETED") and rank in (None, job.rank(pod)):
            _attend(cluster, job, kind, pod, readers, lines, show)
        if error := next((reader.error for reader in readers.values() if reader.error), None):
            raise error
        if time.monotonic() - looked_at > LOOK_S or kind != "TICK":
            looked_at = time.monotonic()
            ended = _ended(cluster, job)
        if ended:
            break
    for reader in readers.values():
        reader.ended.set()
    until = time.monotonic() + (20 if ended else 0.5)  # the rest of their lines, where the job has ended
    for reader in readers.values():
        reader.join(timeout=max(0.0, until - time.monotonic()))
    return {"name": job.name, "run_id": job.run_id, "lines": count[0], "state": ended, "cluster": cluster.identity()}


def _attend(
    cluster: kube.Cluster, job: Job, kind: str, pod: Object, readers: dict[str, Reader], lines: int, show: Show
) -> None:
    """A reader for each container that has begun; a restarted container is another one."""
    uid = pod["metadata"]["uid"]
    main: Object = next((status for status in statuses_of(pod) if status["name"] == job.engine.container), {})
    key = f"{uid}/{main.get('restartCount', 0)}"
    state = main.get("state") or {}
    for other, reader in readers.items():
        if other.startswith(uid) and (other != key or kind == "DELETED" or "terminated" in state):
            reader.ended.set()
    alive = sum(reader.is_alive() for reader in readers.values())
    if key in readers or not {"running", "terminated"} & state.keys() or kind == "DELETED":
        return
    if alive >= MAX_READERS:
        shell.progress(f"{kube.name(pod)} is not followed: {alive} pods are; choose with --rank")
        return
    # Only what was there at the start is cut to its last lines; what begins later is shown whole.
    fresh = any(other.startswith(uid) for other in readers) or _is_younger(pod, job)
    readers[key] = Reader(cluster, job, pod, -1 if fresh else lines, show)
    if "terminated" in state:
        readers[key].ended.set()
    readers[key].start()


def _is_younger(pod: Object, job: Job) -> bool:
    """Whether the pod was not there when following began."""
    return all(pod["metadata"]["uid"] != known["metadata"]["uid"] for known in job.pods)


def _ended(cluster: kube.Cluster, job: Job) -> str | None:
    """finished, failed, absent; None while the job goes on or nobody can say."""
    try:
        thing = cluster.find(job.engine.path(cluster, job.name))
    except shell.SkillError as error:
        if kube.may_return(error):
            return None
        raise
    if thing is None or thing["metadata"]["uid"] != job.uid:
        return "absent"
    found = job.engine.ended(thing)
    return found[0] if found else None
