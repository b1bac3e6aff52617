"""The one most probable root cause among all that was found.

What the run went on after is no cause. Of the others the deepest is told: a fault of the hardware explains a broken connection, and
never the other way round; of equals what ended its process, on the rank that failed first, earliest. Cascades never are a root.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field, replace

from diagnosis.case import Case
from diagnosis.facts import Found, Rank, Source
from diagnosis.one_log import AGAIN
from diagnosis.pauses import is_paused, pause_s, usual_step_s
from diagnosis.rules import rule
from diagnosis.silence import conclusions, victims
from diagnosis.torchrun_words import signal_of

NEAR_END_BYTES = 24 << 10
STALL_FACTOR, STALL_S = 20.0, 900.0
FIRST_BONUS = 3
CLUSTER = re.compile(r"pods/[^/]+/pod\.json$|events\.json$|nodes/|objects/")
OF_A_GPU = ("cuda.", "xid.")
SAME_EVERYWHERE = ("bad-option", "module-missing", "command-not-found", "checkpoint-mismatch")


@dataclass
class Diagnosis:
    root: Found
    rank: Rank
    node: str | None
    restart: str
    others: list[Found] = field(default_factory=list)
    outcome: str = "unknown"

    @property
    def cause(self) -> str:
        return self.root.rule.cause


def diagnose(case: Case) -> Diagnosis:
    everything = [*case.found, *conclusions(case)]
    _forget_overcome(case, everything)
    roots = [each for each in everything if each.rule.role == "root" and not each.overcome and not _is_beside(each)]
    if case.outcome == "finished":
        return _fine(case, everything)
    if case.outcome not in ("failed", "stopped", "pending"):
        roots = [each for each in roots if _is_now(case, each)]
    roots = _without_consequences(case, roots)
    if not roots:
        return _without_root(case, everything)
    first = {each.rank for each in case.deaths if each.first and each.rank is not None and each.rank not in victims(case)}
    root = max(roots, key=lambda each: _weight(case, each, first))
    rank = _rank(case, root, roots, first)
    others = [each for each in everything if each is not root and not (each.overcome and each.rule.role == "root")]
    node = _node(case, root, rank) or _node_of_others(root, rank, roots)
    if rank == "any" and node is not None and root.rule.id.startswith(OF_A_GPU):
        rank = _rank_with_its_error(node, others)
    return Diagnosis(root, rank, node, _restart(case, root, rank), _once(others), case.outcome)


def _weight(case: Case, each: Found, first: set[int]) -> tuple[int, float, int, float]:
    tier = 2 if each.uncaught or _of_cluster(each) or _near_end(case, each) else 1
    depth = each.rule.depth + (FIRST_BONUS if each.rank in first else 0)
    return tier, depth, 1 if each.uncaught else 0, -(each.time or 0.0) if each.time else -float(each.offset or 0)


def _of_cluster(each: Found) -> bool:
    """Said by Kubernetes itself, not by a log."""
    return CLUSTER.match(each.source.name) is not None


def _near_end(case: Case, each: Found) -> bool:
    path = each.source.path
    try:
        return path is not None and each.offset is not None and path.stat().st_size - each.offset < NEAR_END_BYTES
    except OSError:
        return False


def _is_beside(each: Found) -> bool:
    """A container beside the training, such as a proxy or an init container: its own log proves nothing about the training."""
    return each.source.beside and not each.source.name.endswith("pod.json")


# --- what was overcome -------------------------------------------------------------------------------------------


def _forget_overcome(case: Case, everything: list[Found]) -> None:
    """Steps after it, in whichever log they stand, or a process that wrote on as if nothing had been."""
    last = case.last_step_time
    for each in everything:
        if each.overcome or each.rule.sticky or (_of_cluster(each) and each.rule.role == "root" and case.outcome == "failed"):
            continue
        if last is not None and each.time is not None and last > each.time + 60 and case.outcome != "failed":
            each.overcome = True
        if each.source.attempt == -1 and _goes_on_after_restart(case, each):
            each.overcome = True


def _goes_on_after_restart(case: Case, each: Found) -> bool:
    """A container's log of before does not matter where the one of now makes steps."""
    return any(facts.source.pod == each.source.pod and facts.source.attempt == 0 and facts.steps.last for facts in case.logs)


def _is_now(case: Case, each: Found) -> bool:
    """Of a run that is not known to have ended: what stops it, or ended a process of it. A message alone is none."""
    if each.rule.sticky or each.rule.id.startswith(("runner.", "rank.", "loss.")):
        return True
    if _of_cluster(each):
        return not case.made_steps or case.outcome == "pending" or each.rule.depth >= 80
    return each.uncaught or (each.rule.depth >= 50 and _is_last_word(each))


def _is_last_word(each: Found) -> bool:
    """Whether its log says little after it; after the word that it is tried again, nothing."""
    path, most = each.source.path, len(each.text.encode()) + 2 if AGAIN.search(each.text) else 2048
    try:
        return path is not None and each.offset is not None and path.stat().st_size - each.offset < most
    except OSError:
        return False


def _without_consequences(case: Case, roots: list[Found]) -> list[Found]:
    """A stop from outside explains its signals; a finding that only another one's proof makes sense of goes with it."""
    causes = {each.cause for each in roots}
    if "agreed-stop" in causes and case.outcome != "failed":
        roots = [each for each in roots if each.cause not in ("killed",)]
    handled = [each for each in roots if each.rule.id == "cuda.library"]
    return [each for each in roots if each not in handled or "gpu-oom" not in causes]


# --- whose -------------------------------------------------------------------------------------------------------


def _rank(case: Case, root: Found, roots: list[Found], first: set[int]) -> Rank:
    same = [
        each for each in roots if each.cause == root.cause and _weight(case, each, set())[0] == _weight(case, root, set())[0]
    ]
    ranks = sorted({each.rank for each in same if isinstance(each.rank, int)})
    whose = root.rule.whose
    if root.rank in ("all", "launcher", "any"):
        return root.rank
    if (root.from_launcher and root.rank is None) or (whose == "launcher" and not ranks):
        return "launcher"
    if root.rule.id == "torch.mismatch":
        return _mismatched(root, ranks or sorted(first))
    if root.rule.id == "torch.barrier-missing":
        return _that_did_not_come(same)
    if _of_cluster(root):
        return _of_pods(case, root, same)
    if whose == "any" and not ranks:
        return "any"
    if root.cause == "host-oom" and not ranks and (killed := _killed_first(case)) is not None:
        return killed
    repeated = root.rank is None and sum(each.count for each in same if each.rank is None and each.rule is root.rule) > 1
    if len(ranks) > 1 or repeated:
        return _several(case, root, ranks, first)
    if isinstance(root.rank, int):
        return root.rank
    if whose == "all" or root.cause in SAME_EVERYWHERE:
        return "all"
    if len(first) == 1:
        return next(iter(first))
    return 0 if case.world == 1 else "any"


def _several(case: Case, root: Found, ranks: list[int], first: set[int]) -> Rank:
    """More than one rank says the same: all of them, unless others only waited for these."""
    others = set(victims(case)) - set(ranks)
    if not others and (root.rule.whose == "all" or not case.world or len(ranks) * 2 >= case.world or not ranks):
        return "all"
    if root.rank in first or not first & set(ranks):
        return root.rank if root.rank is not None else (ranks[0] if ranks else "any")
    return next(iter(first & set(ranks)))


def _of_pods(case: Case, root: Found, same: list[Found]) -> Rank:
    pods = {each.pod for each in same if each.pod}
    if not pods:
        return _on_node(case, root.where) if root.where else "all" if root.rule.whose in ("all", "any") else "any"
    if len(pods) >= len(case.evidence.pods):
        return "all" if len(case.evidence.pods) > 1 or case.world != 1 else 0
    ranks = {each.rank for each in same if isinstance(each.rank, int)}
    if len(ranks) == 1 and len(pods) == 1:
        return next(iter(ranks))
    if isinstance(root.rank, int):
        return root.rank
    return _by_death(case, root) if len(pods) == 1 else "any"


def _by_death(case: Case, root: Found) -> Rank:
    """The rank on that pod that was killed, as its log tells."""
    dead = [each for each in case.deaths if each.source.pod == root.pod and each.first and each.rank is not None]
    return dead[0].rank if len(dead) == 1 or (dead and signal_of(dead[0].exit_code)) else "any"


def _on_node(case: Case, node: str) -> Rank:
    pods = [each for each in case.evidence.pods if each.node == node]
    if len(pods) == 1 and case.procs_per_node == 1:
        return pods[0].node_rank
    dead = [each for each in case.deaths if each.source.node == node and each.first and each.rank is not None]
    return dead[0].rank if len(dead) == 1 else "any"


def _killed_first(case: Case) -> int | None:
    """The one rank whose end by SIGKILL its launcher saw first."""
    ranks = {each.rank for each in case.deaths if each.first and signal_of(each.exit_code) == signal.SIGKILL}
    return ranks.pop() if len(ranks) == 1 else None


def _that_did_not_come(same: list[Found]) -> Rank:
    """As the lines name it; who writes them is one that waited."""
    texts = {value for each in same for key, value in each.more.items() if key.startswith("rank")}
    ranks = {int(part) for text in texts for part in text.split(",") if part.strip().isdigit()}
    return ranks.pop() if len(ranks) == 1 else "any"


def _mismatched(root: Found, ranks: list[int]) -> Rank:
    named = [int(value) for key, value in root.more.items() if key.startswith("rank_") and value.isdigit()]
    if len(named) == 1:
        return named[0]
    if len(named) == 2:
        return named[1]
    return ranks[0] if len(ranks) == 1 else "any"


def _node(case: Case, root: Found, rank: Rank) -> str | None:
    if rank == "all":
        return None
    if root.where:
        return root.where
    pod = case.pod_of(root.pod or root.source.pod)
    if pod is not None:
        return pod.node
    if isinstance(rank, int) and case.procs_per_node:
        return next((each.node for each in case.evidence.pods if each.node_rank == rank // case.procs_per_node), None)
    hosts = {each.host for each in case.deaths if each.host and each.rank == rank}
    return next(iter(hosts)) if len(hosts) == 1 and hosts != {"localhost"} else None


def _node_of_others(root: Found, rank: Rank, roots: list[Found]) -> str | None:
    """The kernel's log names no node; events and conditions of the same fault do."""
    nodes = {each.node for each in roots if each.cause == root.cause and each.node}
    return nodes.pop() if rank != "all" and len(nodes) == 1 else None


def _rank_with_its_error(node: str, others: list[Found]) -> Rank:
    """The one rank of that node whose GPU has reported an error, or that all others wait for."""
    found = [each for each in others if isinstance(each.rank, int)]
    ranks = {each.rank for each in found if each.where == node and each.rule.id.startswith(OF_A_GPU)}
    ranks = ranks or {each.rank for each in found if each.rule.id == "rank.missing"}  # the only one that says nothing
    return ranks.pop() if len(ranks) == 1 else "any"


# --- what a restart brings ---------------------------------------------------------------------------------------


def _restart(case: Case, root: Found, rank: Rank) -> str:
    each = root.rule
    if each.id == "efa.missing":
        return "STOP" if rank == "all" else "RESTART_ELSEWHERE"  # all pods ask for the same: then one node lacks it
    if each.id == "memory.gpu":  # on one rank another process may have held the GPU
        return "STOP" if rank == "all" and not case.made_steps else each.restart
    if each.before_steps and not case.made_steps:
        return each.before_steps
    if each.id == "quota.exceeded":
        return "STOP" if _is_hard(root) else each.restart
    return each.restart


def _is_hard(root: Found) -> bool:
    """More is asked for than the quota would give to anybody, or nothing of it is used and it is too little all the same."""
    if {"requested", "used", "limited"} <= root.more.keys():
        asked, limit = _amounts(root.more["requested"]), _amounts(root.more["limited"])
        return any(name in limit and amount > limit[name] for name, amount in asked.items())
    if re.search(r"request > maximum capacity|ExceedsMaxQuota|exceeds? (?:the )?max", root.text):
        return True
    return bool(re.search(r"insufficient quota", root.text)) and "unused" not in root.text


UNITS = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "": 1.0}


def _amounts(text: str) -> dict[str, float]:
    found = {}
    for name, number, unit in re.findall(r"([\w./-]+)=(\d+(?:\.\d+)?)(m|[KMGT]i|[kMGT]|)(?=,|\s|$)", text):
        found[name] = float(number) * UNITS[unit]
    return found


# --- no root -----------------------------------------------------------------------------------------------------


def _without_root(case: Case, everything: list[Found]) -> Diagnosis:
    shown = _once([each for each in everything if not each.overcome or each.rule.role != "root"])
    if stall := _stalled(case):
        return Diagnosis(stall, "any", None, stall.rule.restart, shown, case.outcome)
    broke_off = any(each.rule.role == "cascade" and not each.overcome and _is_last_word(each) for each in everything)
    broke_off |= any(facts.ends_in_complaint for facts in case.logs)
    if case.outcome in ("failed", "stopped", "pending") or (case.outcome == "unknown" and broke_off):
        source = case.logs[-1].source if case.logs else Source(str(case.evidence.root.name))
        last = case.logs[-1].last if case.logs else {}
        offset, text = max(last.values(), default=(None, "")) if last else (None, "")
        found = Found(rule("run.unknown"), source, text, offset=offset)
        if case.outcome == "pending":
            found = replace(found, rule=rule("run.fine"))
        return Diagnosis(found, None if case.outcome == "pending" else "any", None, found.rule.restart, shown, case.outcome)
    if case.outcome == "unknown" and not (case.logs or case.made_steps or case.evidence.pods or case.last_step_time):
        found = Found(rule("run.silent"), Source(str(case.evidence.root.name)), "")
        return Diagnosis(found, None, None, found.rule.restart, shown, case.outcome)
    return _fine(case, everything)


def _fine(case: Case, everything: list[Found]) -> Diagnosis:
    source = case.logs[-1].source if case.logs else Source(str(case.evidence.root.name))
    shown = _once([each for each in everything if each.rule.sticky])
    return Diagnosis(Found(rule("run.fine"), source, ""), None, None, "RESTART", shown, case.outcome)


def _stalled(case: Case) -> Found | None:
    """A run that is said to go on, and has made no step for much longer than its steps take."""
    past, usual, history = pause_s(case), usual_step_s(case), case.history
    if case.outcome != "running" or past is None or not is_paused(case):
        return None
    is_long = past >= max(STALL_FACTOR * usual, STALL_S)
    source = Source("run/steps.jsonl" if history and history.folder != case.evidence.root else "steps.jsonl")
    return Found(
        rule("run.stalled" if is_long else "run.paused"),
        source,
        f"the last step was {past:.0f} s before the evidence was collected, its steps take {usual:.3g} s",
    )


def _once(found: list[Found]) -> list[Found]:
    """Each cause of each rank once, the deepest first."""
    kept: dict[tuple[str, Rank, str], Found] = {}
    for each in sorted(found, key=lambda each: (each.rule.role != "root", -each.rule.depth, each.offset or 0)):
        kept.setdefault((each.rule.id, each.rank, each.source.name if each.rank is None else ""), each)
    return list(kept.values())[:40]
