"""logs: what the pods printed, each line with the rank of its node, merged by time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from ptjob_find import Job, call_for
from trainyard_agent_codes import repeated
from trainyard_kube import Object

AT_ONCE = 16
"""Requests side by side: one pod's log takes some 10 ms here and 100 ms over a WAN."""
MAX_BYTES = 32 << 20
"""Of one pod's log in one answer; whoever follows reads on."""
MAX_LINE_BYTES = 1 << 20
"""Of a line that does not end; the rest of it is passed over."""
NANOSECONDS = re.compile(r"(.{19})(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


@dataclass(frozen=True, order=True)
class Line:
    time: str
    """As the node wrote it, in nanoseconds; sorts as text."""
    rank: int
    text: str
    pod: str = ""

    def shown(self) -> str:
        return f"[{self.rank}] {self.text}"


def stream_logs(cluster: kube.Cluster, job: Job, lines: int, rank: int | None, *, previous: bool) -> Object:
    """The data of `logs` without --follow: the last `lines` of all that was printed."""
    pods = chosen(job, rank)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        read = list(pool.map(lambda pod: last_lines(cluster, job, pod, lines, previous=previous), pods))
    merged = sorted(line for part in read for line in part)
    kept = merged[-lines:]
    silent = [kube.name(pod) for pod, part in zip(pods, read, strict=True) if not part]
    return {
        "name": job.name,
        "run_id": job.run_id,
        "container": job.engine.container,
        "cluster": cluster.identity(),
        "lines": [line.shown() for line in kept],
        "times": [line.time for line in kept],
        "without_lines": silent[:20],
    }


def chosen(job: Job, rank: int | None) -> list[Object]:
    """Pods in the order of ranks. Raises SkillError not-found."""
    pods = sorted((pod for pod in job.pods if rank in (None, job.rank(pod))), key=job.rank)
    if rank is not None and not pods:
        there = f"ranks 0 to {job.engine.wanted(job.object) - 1}" if job.pods else "no pods yet"
        hint = call_for("status", job.name, job.run_id)
        raise shell.SkillError("not-found", f"{job.name} has no pod of rank {rank}: {there}", hint=hint)
    return pods


def last_lines(cluster: kube.Cluster, job: Job, pod: Object, lines: int, *, previous: bool = False) -> list[Line]:
    """[] for a pod that has not begun, or has no previous container."""
    query: Object = {"tailLines": lines, "limitBytes": MAX_BYTES, "previous": str(previous).lower()}
    try:
        return list(read_log(cluster, job, pod, **query))
    except kube.ApiError as error:
        if error.status in (400, 404):  # not started, never restarted, or gone meanwhile
            return []
        raise


def read_log(cluster: kube.Cluster, job: Job, pod: Object, *, read_s: float = 60.0, **query: Any) -> Iterator[Line]:
    """Lines as they come; what hyperpodrun says ten times a second, once. Raises ApiError; ends quietly when the connection does."""
    before = ""
    for line in _lines_of(cluster, job, pod, read_s, query):
        is_again, before = repeated(line.text, before)
        if not is_again:
            yield line


def _lines_of(cluster: kube.Cluster, job: Job, pod: Object, read_s: float, query: dict[str, Any]) -> Iterator[Line]:
    import urllib3

    name, rank = kube.name(pod), job.rank(pod)
    path = cluster.namespaced("v1", "pods", name) + "/log"
    response = cluster.open("GET", path, {"container": job.engine.container, "timestamps": "true", **query}, read_s=read_s)
    rest = b""
    try:
        while part := response.read1():
            *whole, rest = (rest + part).split(b"\n")
            rest = rest[:MAX_LINE_BYTES]
            yield from (line for raw in whole if (line := _line(raw, rank, name)))
    except (urllib3.exceptions.HTTPError, OSError):
        return  # a follower reconnects from the last line it has seen; half a line is read again then
    finally:
        response.close()
    if line := _line(rest, rank, name):
        yield line


def _line(raw: bytes, rank: int, pod: str) -> Line | None:
    """None for what the job did not print: the kubelet tells in the log itself that a container's log is gone, without a time."""
    stamp, _, text = raw.decode("utf-8", "replace").partition(" ")
    if not (match := NANOSECONDS.fullmatch(stamp)):
        if raw:
            shell.progress(f"{pod}: {raw.decode('utf-8', 'replace')}")
        return None
    # The kubelet leaves trailing zeros out, so that ...5Z would sort after ...49Z.
    return Line(f"{match[1]}.{(match[2] or '').ljust(9, '0')}", rank, shell.clean(text), pod)
