"""Attempts of one job that may overlap: which of them this process belongs to, and which one another has overtaken.

On Ray the end of an attempt is not the end of its processes. A RayJob's retry (backoffLimit) is a new RayCluster, made while the pods of
the last one still have their grace period, or go on unseen on a node that does not answer; a submitter's retry is a new driver on the
same cluster. lock.json therefore lists the attempts in the order in which they came, and only the newest may take the folder or commit.

An attempt is named CLUSTER, where KubeRay says which (RAY_CLUSTER_NAME), and CLUSTER/DRIVER below trainyard.on_ray. Without torch: the
launcher asks too.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trainyard.checkpoint_manifest import LOCK, MAX_LOCK_BYTES
from trainyard.errors import FolderError
from trainyard.files import read_json_bounded, write_atomically

ATTEMPT, CLUSTER = "TRAINYARD_FENCE", "RAY_CLUSTER_NAME"
ELSEWHERE = "-"
"""An attempt of the same run that is not on Ray: it has overtaken all before it."""
NAME = re.compile(r"[A-Za-z0-9_.@-]{1,200}(?:/[A-Za-z0-9_.@-]{1,100})?")
MAX_KEPT = 64


def own_attempt() -> str | None:
    """Of this process; None where attempts cannot overlap."""
    told = os.environ.get(ATTEMPT)
    return told if told and NAME.fullmatch(told) else own_cluster()


def own_cluster() -> str | None:
    """The same cluster's name, started again by the user (TRAINYARD_SUBMISSION), is another one."""
    name, start = os.environ.get(CLUSTER), os.environ.get("TRAINYARD_SUBMISSION")
    told = "@".join(filter(None, [name, start])) if name else None
    return re.sub(r"[^A-Za-z0-9_.@-]", "_", told[:200]) if told else None


def entered(attempts: Sequence[str], own: str | None) -> list[str]:
    """The list when `own` takes the folder: it is the last of it then. Raises FolderError when a later one has overtaken it."""
    if why := overtaken(attempts, own):
        raise FolderError(why)
    last = attempts[-1] if attempts else None
    name = own or (ELSEWHERE if last else None)
    # What runs on the cluster of the newest attempt beside its driver is no later one.
    if name is None or last == name or (last or "").startswith(f"{name}/"):
        return list(attempts)
    return [*attempts, name][-MAX_KEPT:]


def overtaken(attempts: Sequence[str], own: str | None) -> str | None:
    """Why an attempt may not write any more; None where it may. One on a cluster that was overtaken by another one may not either,
    though it was never seen: that cluster is gone, or should be."""
    if own is None or not attempts or own == attempts[-1]:
        return None
    before, last = attempts[:-1], attempts[-1]
    clusters = {_cluster(name) for name in before} - {_cluster(last)}
    if own in before or _cluster(own) in clusters:
        return f"attempt {own} of this run was overtaken by attempt {last}, which alone may write now"
    return None


# --- for who is no rank ------------------------------------------------------------------------------------------


def announce(root: Path) -> None:
    """This attempt begins: from here on no earlier one commits or takes the folder, though no rank of this one has taken it yet.

    A lock of another run, or one that is not of this format, is left alone: the ranks say what is wrong with it. Raises FolderError
    when a later attempt has overtaken this one, OSError.
    """
    run_id, own, found = os.environ.get("TRAINYARD_RUN_ID"), own_attempt(), _lock(root)
    if not run_id or not own or (found.get("run_id") != run_id if found else os.path.lexists(root / LOCK)):
        return
    first = {"format": 1, "run_id": run_id, "incarnation": 0, "origin": None}
    root.mkdir(parents=True, exist_ok=True)
    attempts = entered(found.get("attempts", []), own)
    # Nobody holds it until a rank takes it: whoever held it sees that, and does not commit.
    write_atomically(root / LOCK, json.dumps({**first, **found, "holder": None, "attempts": attempts}).encode())


def why_overtaken(root: Path) -> str | None:
    """Why this process's attempt may not write into `root` any more; None where it may, or where that cannot be read now."""
    own = own_attempt()
    try:
        return overtaken(_lock(root).get("attempts", []), own) if own else None
    except OSError:
        return None


def _lock(root: Path) -> dict[str, Any]:
    """{} where there is none of this format."""
    found = read_json_bounded(root / LOCK, MAX_LOCK_BYTES) or {}
    return found if found.get("format") == 1 and is_listed(found.get("attempts", [])) else {}


# --- their names -------------------------------------------------------------------------------------------------


def is_listed(attempts: object) -> bool:
    """Whether that is a list as `entered` makes it."""
    return isinstance(attempts, list) and len(attempts) <= MAX_KEPT and all(_is_name(name) for name in attempts)


def _is_name(name: object) -> bool:
    return isinstance(name, str) and NAME.fullmatch(name) is not None


def _cluster(name: str) -> str:
    return name.partition("/")[0]
