"""Reading a case: each log once, then what the cluster, the kernel and the launcher say of the same end."""

from __future__ import annotations

import re
from dataclasses import replace

from diagnosis import cluster_words, gpu_words, kernel_words, launcher_words
from diagnosis.all_logs import read_logs
from diagnosis.case import Case
from diagnosis.evidence import Evidence, Pod
from diagnosis.facts import Found, Source
from diagnosis.one_log import LogFacts
from diagnosis.rules import every_of, rule
from diagnosis.run_history import Attempt, History, read_history

PROCS = re.compile(r"--nproc[-_]per[-_]node[= ](\d{1,3})\b")
REPLICA = re.compile(r'pods "([a-z0-9.-]{1,240}-(?:master|worker|launcher)-\d{1,5})" is forbidden')
"""A pod whose name is made of its job's and its number: the same name every time it is tried."""


def read_case(evidence: Evidence, number: int | None = None) -> Case:
    """`number`: of the attempt; None: the newest that says something."""
    case = Case(evidence, now=_now(evidence), problems=list(evidence.problems))
    if evidence.run is not None:
        case.history = read_history(evidence.run)
        case.problems += case.history.problems
        case.attempt = _attempt(case.history, number)
    for facts in read_logs(_logs_of(evidence, case.attempt)):
        case.logs.append(facts)
        if facts.problem:
            case.problems.append(facts.problem)
    case.world, case.procs_per_node = _sizes(case)
    _deaths(case)
    for facts in case.logs:
        case.found += facts.found
    _uncaught(case)
    _cluster(case)
    case.outcome = _outcome(case)
    case.found += kernel_words.found_in(case)
    case.found += launcher_words.found_in(case)
    return case


def _now(evidence: Evidence) -> float | None:
    told = evidence.about.get("time")
    return float(told) if isinstance(told, int | float) and not isinstance(told, bool) else None


def _attempt(history: History, number: int | None) -> Attempt | None:
    """The newest; the one before, while the newest has neither ended nor made a step."""
    attempts = history.attempts
    if number is not None:
        return next((each for each in attempts if each.number == number), None)
    if (
        len(attempts) > 1
        and attempts[-1].ended is None
        and attempts[-1].last_step is None
        and history.state in ("backing-off", "starting")
    ):
        return attempts[-2]
    return history.newest


def _logs_of(evidence: Evidence, attempt: Attempt | None) -> list[Source]:
    """Of a run with several attempts' logs the one that is asked about; all logs of pods."""
    runs = [each for each in evidence.logs if each.name.rpartition("/")[2].startswith("attempt-")]
    others = [each for each in evidence.logs if each not in runs]
    runs = [each for each in runs if each.attempt == attempt.number] if attempt is not None else runs[-1:]
    return [*runs, *others]


def _sizes(case: Case) -> tuple[int | None, int | None]:
    evidence = case.evidence
    world = evidence.world_size or (case.history.world_size if case.history else None)
    world = world or next((each.world_size for each in case.logs if each.world_size), None)
    procs = evidence.procs_per_node or next((found for pod in evidence.pods if (found := _procs_of(pod))), None)
    nodes = len(evidence.pods) or len({each.source.node_rank for each in case.logs if each.source.node_rank is not None})
    if procs is None and world and nodes and world % nodes == 0:
        procs = world // nodes
    if procs is None and nodes > 1:
        locals_seen = {each for facts in case.logs for each in facts.locals_seen}
        locals_seen |= {each.local_rank for facts in case.logs for each in facts.deaths if each.local_rank is not None}
        procs = max(locals_seen) + 1 if locals_seen else None
    if world is None and procs and nodes:
        world = procs * nodes
    return world, procs


def _procs_of(pod: Pod) -> int | None:
    containers = pod.document.get("spec", {}).get("containers") if isinstance(pod.document.get("spec"), dict) else None
    first = containers[0] if isinstance(containers, list) and containers and isinstance(containers[0], dict) else {}
    for each in first.get("env") or []:
        if isinstance(each, dict) and each.get("name") == "PET_NPROC_PER_NODE" and str(each.get("value")).isdigit():
            return int(each["value"]) or None
    words = " ".join(str(word) for key in ("command", "args") for word in first.get(key) or [])
    match = PROCS.search(words)
    return int(match[1]) or None if match else None


def world_rank(case: Case, source: Source, local: int | None) -> int | None:
    """Of a rank on its node; None where its node is not known and there may be several."""
    if source.rank is not None:
        return source.rank
    local = source.local_rank if local is None else local
    if local is None:
        return source.node_rank if case.procs_per_node == 1 or (case.procs_per_node is None and case.world is None) else None
    if source.node_rank is not None:
        procs = case.procs_per_node
        return source.node_rank * procs + local if procs else local if source.node_rank == 0 else None
    several = len({each.source.pod for each in case.logs if each.source.pod}) > 1
    return None if several else local


def _deaths(case: Case) -> None:
    """Each rank's death once: the summary knows more than the lines before it."""
    for facts in case.logs:
        named = [each for each in facts.deaths if each.rank is not None]
        for death in facts.deaths:
            if death.rank is None and any(each.pid == death.pid for each in named):
                continue
            rank = death.rank if death.rank is not None else world_rank(case, facts.source, death.local_rank)
            case.deaths.append(replace(death, rank=rank))
    for facts in case.logs:
        for found in facts.found:
            if found.rank is None:
                local = found.more.get("local")
                found.rank = world_rank(case, facts.source, int(local) if local else None)
            if found.rank is None and (pid := found.more.get("pid") or found.more.get("pid2")):
                found.rank = case.rank_by_pid(int(pid))
    if case.attempt:
        case.attempt.pids = {each.pid: each.rank for each in case.deaths if each.pid and each.rank is not None}


def _uncaught(case: Case) -> None:
    """Exceptions that no rule knows and nobody caught."""
    for facts in case.logs:
        told = {each.offset for each in facts.found if each.rule.role == "root" or each.rule.role == "cascade"}
        for rank, local, block in facts.blocks:
            if block.end in told or any(
                each.offset is not None and block.begin <= each.offset <= block.end
                for each in facts.found
                if each.rule.role != "confirmation"
            ):
                continue
            found = Found(rule("exit.error"), facts.source, block.text, rank, offset=block.end, time=block.time, uncaught=True)
            found.rank = rank if rank is not None else world_rank(case, facts.source, local)
            found.overcome = facts.steps.after(block.end) >= 2
            found.from_launcher, found.pod = block.of_launcher, facts.source.pod
            if block.script_line:
                found.more["script_line"] = block.script_line
            case.found.append(found)


def _cluster(case: Case) -> None:
    evidence = case.evidence
    for word in cluster_words.words_of(evidence):
        pod = case.pod_of(word.pod)
        source = Source(
            word.file, pod=word.pod, node=word.node, node_rank=pod.node_rank if pod else None, container=word.container
        )
        rows = [(each, match.groupdict()) for each, match in every_of(word.place, word.text)]
        rows += [(each, {}) for each in gpu_words.rules_for(word.place, word.text)]
        for each, more in rows:
            found = Found(each, source, word.text, node=word.node, time=word.time, uncaught=True, pod=word.pod)
            found.more = {name: value for name, value in more.items() if value is not None}
            if pod is not None:
                found.rank = pod.node_rank if case.procs_per_node == 1 or (len(evidence.pods) == case.world) else None
            found.overcome = _is_past(case, word, pod)
            case.found.append(found)


def _is_past(case: Case, word: cluster_words.Word, pod: Pod | None) -> bool:
    """What kept a pod from starting does not matter once it has started."""
    if word.place == "event" or word.text.startswith(("condition PodScheduled", "condition Initialized")):
        waits = re.search(
            r"event (?:FailedScheduling|FailedMount|FailedAttachVolume|FailedCreate|BackOff: Back-off pulling|Failed: (?:Failed to pull|Error: (?:ErrImage|ImagePull)))|"
            r"PodScheduled=False|Initialized=False",
            word.text,
        )
        if (refused := REPLICA.search(word.text)) and not ((made := case.pod_of(refused[1])) and made.document):
            return False  # it was never made, and the others wait for it
        pods = [pod] if pod else case.evidence.pods
        with_document = [each for each in pods if each.document]
        return bool(waits) and bool(with_document) and all(cluster_words.started(each) for each in with_document)
    return False


def _outcome(case: Case) -> str:
    history = case.history
    state = history.state if history else "unknown"
    if state in ("finished", "failed", "stopped") and case.attempt is (history.newest if history else None):
        return state
    if history and case.attempt and case.attempt.ended is not None and case.attempt.exit_code not in (0, None):
        return "failed"
    if told := cluster_words.job_state(case.evidence):
        return told
    phases = [cluster_words.phase(pod) for pod in case.evidence.pods if pod.document]
    if phases and all(each == "Succeeded" for each in phases):
        return "finished"
    codes = [
        ended.get("exitCode")
        for pod in case.evidence.pods
        if (ended := (cluster_words.main_status(pod).get("state") or {}).get("terminated"))
    ]
    if "Failed" in phases or any(codes):
        return "failed"
    if any(_ended_badly(facts) for facts in case.logs):
        return "failed"
    if phases and any(each == "Pending" for each in phases):
        return "pending"
    return "running" if state in ("running", "starting", "backing-off") or "Running" in phases else "unknown"


def _ended_badly(facts: LogFacts) -> bool:
    """A rank's death or an uncaught exception, and no steps after it."""
    ends = [each.offset for each in facts.deaths] + [block.end for _, _, block in facts.blocks]
    return any(facts.steps.after(end) < 2 for end in ends)
