"""Logs: what the driver printed (of a RayJob from its submitter, of a submission from Ray), or the container of one rank."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import trainyard_kube as kube
import trainyard_shell as shell
from trainyard_kube import Cluster, Object
from trainyard_watch import patiently

from ray_groups import ray_container
from ray_head import script, tidy
from ray_objects import Head, find, head_of, pods_of
from ray_state import ENDED, object_state
from ray_submit import id_to_tell_of, submission_state

RANK = re.compile(r"\[(\d{1,5})\] ")
POLL_S = 2.0
QUIET_S = 30.0
"""A load balancer forgets a connection that is quiet for longer."""
MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Source:
    """Where the lines come from: a container of a pod, or a submission on a head."""

    pod: str
    rank: int
    container: str
    submission: str | None = None
    is_driver: bool = True
    """False: the log of a Ray node itself."""


def source_of(cluster: Cluster, name: str, kind: str, thing: Object, rank: int | None, submission_id: str | None) -> Source:
    """Raises SkillError not-found where there is nothing to read yet, or no more."""
    if rank is not None:
        pods, _ = pods_of(cluster, kind, thing)
        if rank >= len(pods):
            raise nothing(name, f"no rank {rank}: {name} has {len(pods)} pods now")
        return Source(kube.name(pods[rank]), rank, ray_container(pods[rank])["name"], is_driver=False)
    if kind == "raycluster":
        if not (job_id := id_to_tell_of(thing, submission_id)):
            raise nothing(name, f"nothing was submitted to {name}; what `exec` runs is printed by it alone")
        return on_head(head_of(cluster, kind, thing), job_id)
    if (mode := thing["spec"].get("submissionMode")) not in (None, "K8sJobMode"):  # no pod of its own has submitted it
        if not (job_id := kube.status(thing).get("jobId")):
            raise nothing(name, f"the driver has not started: no job id yet ({mode})")
        return on_head(head_of(cluster, kind, thing), job_id)
    pods = cluster.pods(f"batch.kubernetes.io/job-name={name}")
    started = [pod for pod in pods if pod["status"].get("phase") in ("Running", "Succeeded", "Failed")]
    if not started:
        state, reason = object_state(kind, thing)
        raise nothing(name, f"the driver has not started: {state} ({reason})")
    newest = max(started, key=lambda pod: pod["metadata"]["creationTimestamp"])
    return Source(kube.name(newest), 0, newest["spec"]["containers"][0]["name"])


def on_head(head: Head, job_id: str) -> Source:
    return Source(head.pod, 0, head.container, job_id)


def nothing(name: str, message: str) -> shell.SkillError:
    hint = f"manage_ray.py status {name}; manage_ray.py logs {name} --rank 0 shows the head's own log"
    return shell.SkillError("not-found", shell.clean(message, 500), hint=hint, retryable=True)


@dataclass(frozen=True)
class LastLines:
    shown: list[str]
    """With the rank before each."""
    times: list[str | None]
    """When each was printed (RFC 3339); None for a submission, whose log Ray keeps without times."""
    more: bool


def last_lines(cluster: Cluster, thing: Object, source: Source, lines: int, previous: bool) -> LastLines:
    """Raises SkillError not-found for a submission that Ray does not know: no lines would say that it printed none."""
    found: list[tuple[str | None, str]]
    if source.submission:
        answer = script(cluster, Head(source.pod, source.container), "on_head.py", "logs", source.submission, "0")
        if answer["job"] is None:
            raise nothing(kube.name(thing), str(submission_state(thing, source.submission, None)[1]))
        found = [(None, line) for line in answer["text"].splitlines()]
    else:
        query: dict[str, Any] = {"container": source.container, "tailLines": lines + 1, "limitBytes": MAX_BYTES}
        query |= {"timestamps": "true", **({"previous": "true"} if previous else {})}
        response = cluster.open("GET", log_path(cluster, source.pod), query)
        stamped = (line.partition(" ") for line in cluster.read(response).decode("utf-8", "replace").splitlines())
        found = [(stamp, line) for stamp, _, line in stamped]
    kept = found[-lines:]
    shown = ["[{}] {}".format(*ranked(source, line)) for _, line in kept]
    return LastLines(shown, [stamp for stamp, _ in kept], len(found) > lines)


def log_path(cluster: Cluster, pod: str) -> str:
    return cluster.namespaced("v1", "pods", pod) + "/log"


def follow(
    cluster: Cluster,
    name: str,
    lines: int,
    timeout_s: float,
    *,
    kind: str | None,
    run_id: str | None,
    rank: int | None,
    submission_id: str | None,
) -> tuple[str, int]:
    """Prints lines as they come until the job has ended or the time is over; a new driver pod is followed too. (state, lines).

    A submission that Ray does not know yet is waited for. Raises SkillError not-found, conflict about the object.
    """
    deadline, count, offset, told = time.monotonic() + timeout_s, 0, 0, ""
    since: dict[str, str] = {}
    found, thing = find(cluster, name, kind, run_id)
    while True:
        state = object_state(found, thing)[0]
        trouble: str | None = None
        try:
            source = source_of(cluster, name, found, thing, rank, submission_id)
            if source.submission:
                state, trouble, offset, printed = follow_submission(cluster, thing, source, offset, lines)
            else:
                printed = follow_container(cluster, source, lines, since, deadline)
            count += printed
        except shell.SkillError as error:
            if error.code not in ("not-found", "timeout") and not kube.may_return(error):
                raise
            trouble = str(error)
        if trouble and told != (told := trouble):
            shell.progress(told)
        if state in ENDED or time.monotonic() > deadline:
            return state, count
        time.sleep(POLL_S)
        found, thing = patiently(partial(find, cluster, name, kind, run_id), deadline)


def follow_submission(
    cluster: Cluster, thing: Object, source: Source, offset: int, lines: int
) -> tuple[str, str | None, int, int]:
    """What is new since `offset`: (state of the job, its reason, new offset, lines printed). The first time the last `lines` lines."""
    answer = script(cluster, Head(source.pod, source.container), "on_head.py", "logs", str(source.submission), str(offset))
    state, reason = submission_state(thing, str(source.submission), answer["job"])
    text, size = answer["text"], answer["size"]
    if state not in ENDED:  # the rest of an unfinished line comes next time
        text = text[: text.rfind("\n") + 1]
        size = offset + len(text)
    new = text.splitlines()
    new = new if offset else new[-lines:]
    for line in new:
        say(source, line)
    return state, reason, size, len(new)


def follow_container(cluster: Cluster, source: Source, lines: int, since: dict[str, str], deadline: float) -> int:
    """Lines printed on one connection, until the container ends, is quiet for long, or the time is over.

    `since`: pod -> time of its last line that was printed; the next connection goes on from there.
    """
    count = 0
    for stamp, line in stamped_lines(cluster, source, lines, since.get(source.pod, ""), deadline):
        since[source.pod] = stamp
        say(source, line)
        count += 1
    return count


def stamped_lines(cluster: Cluster, source: Source, lines: int, after: str, deadline: float) -> Iterator[tuple[str, str]]:
    """(time, line) of the lines after that time. The API takes whole seconds, so what it repeats is left out here."""
    import urllib3

    start = {"sinceTime": f"{after[:19]}Z"} if after else {"tailLines": lines}
    query = {"container": source.container, "follow": "true", "timestamps": "true", **start}
    quiet_s = min(QUIET_S, max(0.5, deadline - time.monotonic()))
    response = cluster.open("GET", log_path(cluster, source.pod), query, read_s=quiet_s)
    rest = b""
    try:
        while (part := response.read1()) and time.monotonic() < deadline:
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                stamp, _, text = line.decode("utf-8", "replace").partition(" ")
                if stamp > after:  # kubelet writes them in UTC with nine digits, so they sort as text
                    yield stamp, text
    except (urllib3.exceptions.HTTPError, OSError):
        return  # quiet, or broken: the next connection tells
    finally:
        response.close()


def say(source: Source, line: str) -> None:
    rank, text = ranked(source, line)
    shell.emit("log", rank=rank, pod=source.pod, line=text)


def ranked(source: Source, line: str) -> tuple[int, str]:
    """(rank, words): the driver prints `[N] ` before what Ray node N says (trainyard.on_ray), and nothing before node 0's."""
    text = tidy(line)
    found = RANK.match(text) if source.is_driver else None
    return (int(found[1]), text[found.end() :]) if found else (source.rank, text)
