"""`efa`: does every rank use EFA? Proof for each of them, or the answer is no, or not known."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from hardware.net_proof import NetProof, counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hardware.net_proof import Process
    from hardware.net_sources import Logs

HOW_TO_GET_IT = (
    "set NCCL_DEBUG=INFO and NCCL_DEBUG_SUBSYS=INIT,NET in the job (job file: env), start it again, and keep the logs of all ranks; "
    'NCCL_NET="AWS Libfabric" makes a job fail at its start that would fall back to TCP in silence'
)
REPAIR = (
    "the pods must request vpc.amazonaws.com/efa, the image needs libfabric and aws-ofi-nccl on LD_LIBRARY_PATH, and the security group "
    "must allow itself in and out: cluster-manager network, image-tester"
)
ONE_NODE = (
    "other ranks of the job have it, so its pods and its image ask for it: the EFA driver and device plugin of these ranks' nodes "
    "(kubectl describe node: allocatable vpc.amazonaws.com/efa); diagnose_training.py doctor names the node"
)
NOT_EFA = {
    "tcp": "TCP ({told})",
    "infiniband": "InfiniBand ({told})",
    "no-plugin": "no EFA ({told})",
    "unproven": "{told}, provider not told",
    "silent": "nothing told",
}


def check_efa_utilization(logs: Logs, ranks: int | None, limit: int) -> shell.Result:
    """Read the logs, and judge. `ranks`: how many there are, where the records do not tell."""
    proof = NetProof()
    for name, file in logs.opened():
        proof.read(name, file)
    return efa_result(proof, ranks or logs.world_size, logs.backend, limit)


def efa_result(proof: NetProof, world: int | None, backend: str | None, limit: int) -> shell.Result:
    """The document. `world`: None where nothing tells how many ranks there are but NCCL itself."""
    processes, world = proof.newest(), world or proof.largest() or None
    checks = [ranks_check(proof, processes, world, backend), nics_check(processes)]
    wrong_first = sorted(processes, key=lambda each: each.verdict == "efa")
    data: dict[str, Any] = {
        "network": dict(Counter(process.verdict for process in processes)),
        "world_size": world,
        "proven": sum(process.verdict == "efa" for process in processes),
        "providers": sorted({process.told for process in processes if process.verdict == "efa"}),
        "files": proof.files,
        "lines": proof.lines,
        "total": len(processes),
        "processes": [process.data() for process in wrong_first[:limit]],
    }
    return shell.Result(data, checks, truncated=len(processes) > limit)


def ranks_check(proof: NetProof, processes: Sequence[Process], world: int | None, backend: str | None) -> shell.Check:
    """All ranks or `fail`; a rank of which nothing is known makes it `unknown`."""
    name = "efa.ranks"
    if skipped := _no_network(proof, processes, world, backend):
        return shell.Check(name, "skipped", *skipped)
    wrong = [process for process in processes if process.verdict in ("tcp", "infiniband", "no-plugin")]
    proven = [process for process in processes if process.verdict == "efa"]
    of = f"of {world}" if world else "of an unknown number of"
    if wrong:
        mixed = f"; {len(proven)} use EFA: a mixed job goes at the pace of the slowest" if proven else ""
        return shell.Check(
            name,
            "fail",
            f"{len(wrong)} {of} ranks do not use EFA: {named(wrong)}{mixed}",
            quoted(wrong),
            ONE_NODE if proven else REPAIR,
        )
    if not proven:
        told = "no log names the network" if not proof.nccl_lines else "NCCL's lines do not name the provider"
        evidence = f"{proof.lines} lines of {proof.files} files read, {proof.nccl_lines} of them NCCL's"
        return shell.Check(name, "unknown", told, evidence, HOW_TO_GET_IT)
    if not _is_complete(proven, world):
        missing = _missing(proven, world)
        told = f"{len(proven)} {of} ranks have proven that they use EFA; nothing is known of {missing}"
        how = HOW_TO_GET_IT if world else "--ranks N says how many there are"
        return shell.Check(name, "unknown", told, quoted(proven[:1]), how)
    return shell.Check(name, "pass", f"all {world} ranks use EFA", quoted(proven[:1]))


def _no_network(
    proof: NetProof, processes: Sequence[Process], world: int | None, backend: str | None
) -> tuple[str, str | None] | None:
    """Why the question does not arise: (what is so, the evidence)."""
    if not processes and backend is not None and "nccl" not in backend:
        return f"the job's backend is {shell.clean(backend, 40)}: it does not use NCCL", "events.jsonl: start"
    if not processes and proof.cpu_line is not None:
        line = proof.cpu_line
        return "the job's backend is gloo: it does not use NCCL", f"{line['file']}:{line['line']}: {line['text']}"
    known = [process for process in processes if process.rank is not None and ":" in process.name]
    if world and len(known) == len(processes) == world and len({process.host for process in known}) == 1:
        return f"all {world} ranks are on {known[0].host}: no network lies between them", None
    return None


def named(processes: Sequence[Process]) -> str:
    """Ranks by what they use: `ranks 8-15 TCP (Socket); ip-10-0-0-1:7 TCP (tcp)`."""
    groups: dict[str, list[Process]] = {}
    for process in processes:
        groups.setdefault(NOT_EFA[process.verdict].format(told=process.told), []).append(process)
    return "; ".join(f"{_who(group)} {what}" for what, group in list(groups.items())[:8])


def _who(group: Sequence[Process]) -> str:
    ranks = [process.rank for process in group if process.rank is not None]
    others = [process.name for process in group if process.rank is None]
    told = [f"rank{'s' if len(ranks) > 1 else ''} {counted(ranks)}"] if ranks else []
    return ", ".join([*told, *others[:4]]) + (f" and {len(others) - 4} more" if len(others) > 4 else "")


def _is_complete(proven: Sequence[Process], world: int | None) -> bool:
    """Processes without a rank may be those of an earlier start: more of them than ranks prove nothing."""
    return bool(world) and (len(proven) == world or len({process.rank for process in proven} - {None}) >= (world or 0))


def _missing(proven: Sequence[Process], world: int | None) -> str:
    if not world:
        return "the others"
    have = {process.rank for process in proven}
    if len(proven) > world:
        return "which of them run now: NCCL_DEBUG_SUBSYS without INIT leaves the ranks out"
    if None in have:
        return f"{world - len(proven)} of them"
    return f"ranks {counted([rank for rank in range(world) if rank not in have])}"


def quoted(processes: Sequence[Process]) -> str | None:
    """The line that proves it, of the first few."""
    lines = [process.evidence for process in processes if process.evidence]
    return " | ".join(f"{line['file']}:{line['line']}: {line['text']}" for line in lines[:3]) or None


def nics_check(processes: Sequence[Process]) -> shell.Check:
    """The same number of EFA devices on every rank: a pod that requested fewer holds all others back."""
    name, found = "efa.nics", {process.name: process.nics for process in processes if process.verdict == "efa" and process.nics}
    if not found:
        return shell.Check(name, "skipped", "no rank tells how many EFA devices it found")
    most = max(nics for nics in found.values() if nics)
    fewer = [process for process in processes if process.verdict == "efa" and process.nics and process.nics < most]
    if not fewer:
        return shell.Check(name, "pass", f"every rank that tells it found {most} EFA devices")
    told = f"{_who(fewer)} found fewer EFA devices than the {most} of others"
    fix = "vpc.amazonaws.com/efa of those pods and nodes; cluster-manager health: efa"
    return shell.Check(name, "warn", told, quoted(fewer[:1]), fix)
