"""The evidence of a run on a cluster. Whatever may not be read, or is gone, is left out and named: the rest is still evidence."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from cluster_run.run import ClusterRun, RunPod
from cluster_run.run_files import copy_run
from evidence_folder.asking import Asking
from evidence_folder.from_run import FOLDERS, MAX_RANKS, take_dumps, take_file, take_ranks
from evidence_folder.objects import Objects
from evidence_folder.pod_logs import collect_logs
from evidence_folder.stacks_now import stacks_of_pods
from evidence_folder.writing import EvidenceFolder

RECORDS = ("runner.json", "runner-spec.json", "events.jsonl", "steps.jsonl")
"""Those that can be had through a pod."""


def collect_cluster(run: ClusterRun, folder: EvidenceFolder) -> dict[str, Any]:
    """Fills the folder; returns the head of its evidence.json."""
    asking = Asking(run.cluster, folder)
    objects = Objects(asking, folder)
    for check in run.unread:
        folder.leave_out(check.id, f"{check.summary}; {check.fix or ''}")
    objects.of_pods(pod.object for pod in run.pods)
    objects.of_job(run.kind.kind if run.kind else None, run.job)
    objects.of_namespace()
    objects.events()
    taken = stacks_of_pods(run, folder) if asking.why_not() is None else set()
    read_at = time.time()  # a step that is made while hundreds of logs come is in none of them
    _run_folder(run, asking, folder, taken)
    collect_logs(run, asking, folder)
    if not run.pods:
        folder.leave_out("pods", "the run has no pods: not made yet, or deleted, and their logs with them")
    return {**head_of(run), "stacks": sorted(taken), "time": read_at}


def _run_folder(run: ClusterRun, asking: Asking, folder: EvidenceFolder, taken: set[int]) -> None:
    """run/: the records on the volume, through a pod that runs. Without one they stay there, and it is said."""
    ranks = min(head_of(run)["world_size"] or 0, MAX_RANKS)
    with tempfile.TemporaryDirectory(prefix="trainyard-evidence-") as name:
        answer = asking.ask(
            "run", lambda: copy_run(run, Path(name), whole_bytes=folder.limits.file_bytes, ranks=ranks, dumps=FOLDERS)
        )
        if answer is None:
            return
        copy, tried = answer
        if copy is None:
            folder.leave_out("run", f"the run folder was not read: {'; '.join(tried)}")
            return
        for file in (*RECORDS, "checkpoints/latest", "checkpoints/tiers.json"):
            take_file(folder, Path(name), file, f"run/{file}")
        take_ranks(Path(name), folder)
        take_dumps(Path(name), folder, taken)
        for problem in copy.problems:
            folder.leave_out("run", problem)
        if not copy.complete:
            folder.leave_out("run", "the middle of steps.jsonl or events.jsonl, which are longer than the limit of a file")


def head_of(run: ClusterRun) -> dict[str, Any]:
    nodes = sum((pod.node_rank or 0) >= 0 and pod.node_rank is not None for pod in run.pods)
    per_node = procs_per_node(run)
    return {
        "run": run.name,
        "run_id": run.run_id,
        "engine": run.engine,
        "job": run.job_name,
        "namespace": run.cluster.namespace,
        "world_size": nodes * per_node if per_node and nodes else None,
        "procs_per_node": per_node,
        "pods": [{"name": pod.name, "node": pod.node, "node_rank": _rank(pod)} for pod in run.pods],
    }


def _rank(pod: RunPod) -> int | None:
    return pod.node_rank if pod.node_rank is not None and pod.node_rank >= 0 else None


def procs_per_node(run: ClusterRun) -> int | None:
    """As torchrun was told; None where it finds out itself (auto, gpu), or nothing tells."""
    spec = (run.job or {}).get("spec") or {}
    told: list[Any] = [spec.get("nprocPerNode"), (spec.get("trainer") or {}).get("numProcPerNode")]
    for pod in run.pods[:1]:
        main: dict[str, Any] = next((each for each in pod.object["spec"]["containers"] if each.get("name") == pod.main), {})
        told += [each.get("value") for each in main.get("env") or [] if each.get("name") == "PET_NPROC_PER_NODE"]
        words = [*(main.get("command") or []), *(main.get("args") or [])]
        told += [word.partition("=")[2] for word in words if word.replace("_", "-").startswith("--nproc-per-node=")]
    return next((int(each) for each in map(str, told) if each.isascii() and each.isdigit() and 0 < len(each) < 6), None)
