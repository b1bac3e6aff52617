"""What follows from ranks that waited and ranks that say nothing, from stacks and from exit codes: findings without a line of their own."""

from __future__ import annotations

from collections import Counter

from diagnosis import stack_files
from diagnosis.case import LOCAL_PEER, Case
from diagnosis.exits import rule_of_code
from diagnosis.facts import Death, Found, Source, Waited
from diagnosis.pauses import is_of_a_moment, proves_straying
from diagnosis.rules import rule
from diagnosis.torchrun_words import signal_of
from diagnosis.waiting_ranks import Suspicion, suspected
from flight_recorder.folder import newest_files
from flight_recorder.verdict import guilty_ranks
from hardware.slow_ranks import Slow, pace_of

TERM, KILL = 15, 9
GRACE_S = 25.0
"""torchrun waits 30 s between SIGTERM and SIGKILL."""


def conclusions(case: Case) -> list[Found]:
    return [*_of_deaths(case), *_of_silence(case), *stack_files.outliers(case), *_of_flight(case), *_of_pace(case)]


def victims(case: Case) -> dict[int, list[Found]]:
    """Ranks whose last words are a time-out or a broken connection, with these words."""
    said: dict[int, list[Found]] = {}
    for each in case.found:
        if each.rule.id in ("torch.timeout", "torch.peer-gone") and isinstance(each.rank, int) and not each.overcome:
            said.setdefault(each.rank, []).append(each)
    return said


def _of_flight(case: Case) -> list[Found]:
    """Ranks that the flight recorders name."""
    if is_of_a_moment(case) or not proves_straying(case):
        return []
    files = case.evidence.flight
    if not files and case.evidence.run is not None:
        files = list(newest_files(case.evidence.run, "flight").values())
    verdict = guilty_ranks(files) if files else None
    if verdict is None or verdict.state not in ("hang", "mismatch"):
        return []
    name = "rank.other-call" if verdict.state == "mismatch" else "rank.missing"
    source = Source("flight" if case.evidence.flight else "run/flight")
    return [Found(rule(name), source, verdict.reason, rank, uncaught=True) for rank in verdict.guilty[:8]]


def _of_pace(case: Case) -> list[Found]:
    """Ranks of a run that goes on that are slower than the others of their group, by their own records."""
    if case.outcome not in ("running", "unknown") or case.evidence.run is None:
        return []
    slow = pace_of(case.evidence.run, case.world).slow
    prefix = "" if case.evidence.run == case.evidence.root else "run/"
    return [_slow(case, each, prefix) for each in slow[:8]]


def _slow(case: Case, slow: Slow, prefix: str) -> Found:
    words = f"{slow.own_s:.3g} s of own work a step, the others {slow.others_s:.3g} s, in each of five windows"
    source = Source(f"{prefix}ranks/rank-{slow.rank:04d}.jsonl")
    node = _node_of(slow.rank, case.procs_per_node) if case.procs_per_node else None
    pod = next((each for each in case.evidence.pods if node is not None and each.node_rank == node), None)
    host = pod.node if pod else slow.host or None
    return Found(rule("rank.slow"), source, f"rank {slow.rank} on {host}: {words}", slow.rank, host, uncaught=True)


# --- deaths ------------------------------------------------------------------------------------------------------


def _of_deaths(case: Case) -> list[Found]:
    waiting = victims(case)
    forced = _stopped_by_force(case)
    return [
        _death(case, each)
        for each in case.deaths
        if each.rank not in waiting
        and each.rank not in forced
        and (each.first or signal_of(each.exit_code) not in (TERM, KILL) or _is_no_cleaning_up(case, each))
    ] + _of_containers(case)


def _is_no_cleaning_up(case: Case, death: Death) -> bool:
    """SIGKILL sooner than torchrun sends it: somebody else did, and what torchrun saw first may have followed from it."""
    firsts = [each.time for each in case.deaths if each.first and each.source == death.source and each.time is not None]
    return signal_of(death.exit_code) == KILL and death.time is not None and any(death.time - at < GRACE_S for at in firsts)


def _death(case: Case, death: Death) -> Found:
    found = Found(
        rule_of_code(death.exit_code, death.rank is not None), death.source, death.text, death.rank, offset=death.offset
    )
    found.time, found.uncaught, found.pod = death.time, True, death.source.pod
    found.overcome = any(facts.source == death.source and facts.steps.after(death.offset) >= 2 for facts in case.logs)
    return found


def _of_containers(case: Case) -> list[Found]:
    """Signals of containers whose log says nothing of a rank's end."""
    found = []
    for each in case.found:
        if each.rule.id == "pod.killed" and each.more.get("code") and not each.overcome:
            code = int(each.more["code"])
            if signal_of(code) in (None, TERM) and code not in (2, 126, 127):
                continue
            if any(death.source.pod == each.pod for death in case.deaths) or (each.source.container or "").startswith("init"):
                continue
            told = Found(
                rule_of_code(code, True),
                each.source,
                each.text,
                each.rank,
                each.node,
                time=each.time,
                uncaught=True,
                pod=each.pod,
            )
            found.append(told)
    return found


# --- ranks that say nothing --------------------------------------------------------------------------------------


def _of_silence(case: Case) -> list[Found]:
    waiting = victims(case)
    waited = [each for facts in case.logs for each in facts.waited]
    named = _named_missing(case)
    if named:
        return named
    if not waiting and not waited:
        return []
    suspicion = suspected(waited, set(waiting), case.world, case.ranks_seen)
    words = [each for found in waiting.values() for each in found]
    timed_out = bool(waited) or any(each.rule.id == "torch.timeout" for each in words)
    if suspicion is None or not suspicion.ranks:
        return _nobody(case, suspicion, words, waited, timed_out)
    return _suspects(case, suspicion, words, timed_out)


def _suspects(case: Case, suspicion: Suspicion, words: list[Found], timed_out: bool) -> list[Found]:
    forced = _stopped_by_force(case)
    ranks = sorted(set(suspicion.ranks) & set(forced)) or suspicion.ranks
    died = {each.rank for each in case.deaths if each.first}
    if suspicion.how == "missing" and set(ranks) <= died:
        return []
    if suspicion.how == "other-call":
        name = "rank.other-call"
    elif set(ranks) & set(forced):
        name = "rank.stopped"
    elif (
        suspicion.how == "missing" and not timed_out and not any(rank in {each.rank for each in case.deaths} for rank in ranks)
    ):
        name = "exit.left"
    elif suspicion.how == "missing" and not timed_out:
        name = "ranks.lost-peer"
    else:
        name = "rank.missing"
    return [_concluded(case, name, rank, suspicion.witness, words, forced.get(rank)) for rank in ranks[:8]]


def _nobody(case: Case, suspicion: Suspicion | None, words: list[Found], waited: list[Waited], timed_out: bool) -> list[Found]:
    """All that is known waited, or broke off: the guilty one cannot be named from this."""
    witness = waited[0] if waited else None
    if timed_out and (elsewhere := _elsewhere(case)) is not None:
        return [_concluded(case, "rank.missing", elsewhere, witness, words, None)]
    if timed_out:
        return [_concluded(case, "rank.silent", "any", witness, words, None)]
    local = any(LOCAL_PEER.search(each.text) for each in words)
    if local and not any(signal_of(each.exit_code) for each in case.deaths if each.first):
        return [_concluded(case, "exit.left", "any", witness, words, None)]
    return [_concluded(case, "ranks.lost-peer", "any", witness, words, None)]


def _elsewhere(case: Case) -> int | None:
    """The one rank that timed out at another line of the script than all the others: they waited for each other's call."""
    lines = {rank: block.script_line for facts in case.logs for rank, _, block in facts.blocks if rank is not None}
    places = Counter(lines.values())
    if len(lines) < max(3, case.world or 0) or len(places) != 2 or None in places or min(places.values()) != 1:
        return None
    return next(rank for rank, line in lines.items() if places[line] == 1)


def _concluded(
    case: Case, name: str, rank: int | str, witness: Waited | None, words: list[Found], death: Death | None
) -> Found:
    if death is not None:
        found = Found(rule(name), death.source, death.text, rank, offset=death.offset, uncaught=True)
    elif witness is not None:
        found = Found(rule(name), witness.source, witness.text, rank, offset=witness.offset, uncaught=True)
    else:
        first = words[0]
        found = Found(rule(name), first.source, first.text, rank, offset=first.offset, uncaught=True, time=first.time)
    own = next((facts.source for facts in case.logs if facts.source.rank == rank), None)
    pods = [pod for pod in case.evidence.pods if case.procs_per_node and pod.node_rank == _node_of(rank, case.procs_per_node)]
    if pods:
        found.node, found.pod = pods[0].node, pods[0].name
    elif own is not None:
        found.node = own.node
    return found


def _node_of(rank: int | str, procs: int) -> int | None:
    return rank // procs if isinstance(rank, int) else None


def _named_missing(case: Case) -> list[Found]:
    """Where a line names the ranks that did not come (monitoredBarrier, the desync report)."""
    found: list[Found] = []
    for each in case.found:
        if each.rule.id == "torch.barrier-missing" and not each.overcome:
            names = next((value for key, value in each.more.items() if key.startswith("rank")), "")
            for text in names.split(","):
                if text.strip().isdigit():
                    told = Found(rule("rank.missing"), each.source, each.text, int(text), offset=each.offset, uncaught=True)
                    if all(other.rank != told.rank for other in found):
                        found.append(told)
    return found if 0 < len(found) <= max(1, (case.world or 1 << 30) // 2) else []


def _stopped_by_force(case: Case) -> dict[int, Death]:
    """Ranks that did not end when torchrun told them to, while another one did: a stopped process hears no SIGTERM.

    torchrun sends SIGTERM, waits 30 s, then SIGKILL; a rank that waits in gloo or NCCL ends at once on SIGTERM (tried).
    """
    late = {
        each.rank: each
        for each in case.deaths
        if signal_of(each.exit_code) == KILL and not each.first and each.rank is not None
    }
    obeyed = [each for each in case.deaths if signal_of(each.exit_code) == TERM]
    first = [each for each in case.deaths if each.first and each.rank is not None]
    waiting = victims(case)
    if obeyed and len(late) == 1 and first and all(each.rank in waiting for each in first):
        return {rank: each for rank, each in late.items() if rank is not None and rank not in waiting}
    return {}
