"""Whose the root is: the rank and the node, by its own words, by the first that died, and by what others say of the same."""

from __future__ import annotations

import signal

from diagnosis.case import Case
from diagnosis.facts import Found, Rank
from diagnosis.silence import victims
from diagnosis.torchrun_words import signal_of
from diagnosis.weighing import of_cluster, weight

SAME_EVERYWHERE = ("bad-option", "module-missing", "command-not-found", "checkpoint-mismatch")
OF_A_GPU = ("cuda.", "xid.")


def whose(case: Case, root: Found, roots: list[Found], others: list[Found], first: set[int]) -> tuple[Rank, str | None]:
    """(rank, node). `first`: the ranks that died first and did not only lose a peer."""
    rank = _rank(case, root, roots, first)
    node = _node(case, root, rank) or _node_of_others(root, rank, roots)
    if rank == "any" and node is not None and root.rule.id.startswith(OF_A_GPU):
        rank = _rank_with_its_error(node, others)
    return rank, node


def _rank(case: Case, root: Found, roots: list[Found], first: set[int]) -> Rank:
    same = [each for each in roots if each.cause == root.cause and weight(case, each, set())[0] == weight(case, root, set())[0]]
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
    if of_cluster(root):
        return _of_pods(case, root, same)
    if whose == "any" and not ranks:
        return "any"
    if root.cause == "host-oom" and not ranks and (killed := _killed_first(case)) is not None:
        return killed
    repeated = root.rank is None and sum(each.count for each in same if each.rank is None and each.rule is root.rule) > 1
    if len(ranks) > 1 or repeated:
        return _several(case, root, ranks, first)
    if root.cause == "module-missing" and _is_one_machine(case):
        return "all"
    if isinstance(root.rank, int):
        return root.rank
    if whose == "all" or root.cause in SAME_EVERYWHERE:
        return "all"
    if len(first) == 1:
        return next(iter(first))
    return 0 if case.world == 1 else "any"


def _is_one_machine(case: Case) -> bool:
    """All ranks have the same packages there; the others were ended before they came to say so."""
    return len(case.evidence.pods) <= 1 and len(case.logs) == 1 and (case.procs_per_node or 0) == (case.world or -1)


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
