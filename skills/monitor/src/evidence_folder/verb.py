"""`collect` of diagnose_training.py."""

from __future__ import annotations

import functools
import re
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from cluster_run.named import Named
from evidence_folder.from_run import collect_run
from evidence_folder.limits import Limits
from evidence_folder.writing import EvidenceFolder
from run_folder.folder import open_run_folder

if TYPE_CHECKING:
    from cluster_run.run import ClusterRun

Fill = Callable[[EvidenceFolder], dict[str, Any]]
SHOWN_LEFT_OUT = 20


def collect_result(run: Named, output: str | None, limits: Limits, *, dry_run: bool) -> shell.Result:
    """A run folder here, or a run on a cluster. Raises SkillError; then nothing half-made is left."""
    if run.is_on_cluster:
        found = run.find()
        name, fill = found.name, _from_cluster(found)
    else:
        path = open_run_folder(run.text or "")
        name, fill = path.resolve().name, functools.partial(collect_run, path)
    folder = EvidenceFolder(_output(output, name), limits, dry_run)
    try:
        head = fill(folder)
        folder.finish(head)
    except BaseException:
        folder.drop()
        raise
    return result_of(folder, head)


def _from_cluster(found: ClusterRun) -> Fill:
    from evidence_folder.from_cluster import collect_cluster  # needs packages that a local run does without

    return functools.partial(collect_cluster, found)


def _output(output: str | None, name: str) -> Path:
    """A name of this second: a later call makes another folder."""
    if output is not None:
        return Path(output)
    plain = re.sub(r"[^\w.-]", "-", name)[:100].lstrip(".-") or "run"
    return Path(f"evidence-{plain}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")


def result_of(folder: EvidenceFolder, head: dict[str, Any]) -> shell.Result:
    total = len(folder.left_out) + folder.more_left_out
    data = {
        "folder": str(folder.output),
        **{name: head[name] for name in ("run", "run_id", "engine", "job", "namespace", "world_size")},
        "pods": len(head["pods"]),
        "files": folder.files,
        "bytes": folder.size_bytes,
        "left_out": folder.left_out[:SHOWN_LEFT_OUT],
        "left_out_total": total,
        "written": not folder.dry_run,
    }
    return shell.Result(
        data=data,
        changed=[] if folder.dry_run else [str(folder.output)],
        next=[] if folder.dry_run else [f"diagnose_training.py doctor {shlex.quote(str(folder.output))}"],
        truncated=total > SHOWN_LEFT_OUT,
    )
