"""How a start begins: rank 0 takes the folder's lock for all ranks, and the run folder hears who is there."""

from __future__ import annotations

import contextlib
import os
import platform
import socket
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from trainyard.agreement import Agreement
from trainyard.commit import clean_temporary
from trainyard.disk_store import DiskStore
from trainyard.errors import ConfigError, FolderError, TrainyardError
from trainyard.lock import Claim, Lock, take
from trainyard.patience import Patience
from trainyard.policy import SavePolicy
from trainyard.process import process_started
from trainyard.rank_errors import as_data
from trainyard.speaking import warn
from trainyard.store import Store, told_problems
from trainyard.telemetry import Telemetry
from trainyard.whose import reason, remedy


def open_store(folder: Path, policy: SavePolicy, claim: Claim | None = None) -> Store:
    """Where the snapshots of this run are kept: the one place that says which kind of store. Without a `claim` it is only read."""
    return DiskStore(folder, policy, claim)


def claim_folder(
    folder: Path,
    patience: Patience,
    agreement: Agreement,
    held: contextlib.ExitStack,
    open_charts: Callable[..., None],
) -> Claim:
    """Collective. Rank 0's claim on every rank; `held` gives it back. Raises FolderError, ConfigError on every rank."""
    claim: Claim | None = None
    outcome: dict[str, Any] = {}
    if agreement.rank == 0:
        try:
            claim = _claim(folder, patience, held, open_charts)
            lock = claim.lock
            outcome = {"run_id": lock.run_id, "incarnation": lock.incarnation, "origin": lock.origin}
        except OSError as error:
            ways = [*filter(None, [remedy(error)]), "choose another with TRAINYARD_CHECKPOINTS"]
            outcome = {"error": as_data(FolderError(f"checkpoint folder {folder}: {reason(error)}; {', or '.join(ways)}"))}
        except TrainyardError as error:
            outcome = {"error": as_data(error)}
    outcome = agreement.broadcast(outcome)
    if "error" in outcome:
        raise (ConfigError if outcome["error"]["kind"] == "ConfigError" else FolderError)(outcome["error"]["text"])
    return claim or Claim(Lock(folder, **outcome))


def _claim(folder: Path, patience: Patience, held: contextlib.ExitStack, open_charts: Callable[..., None]) -> Claim:
    folder.mkdir(parents=True, exist_ok=True)
    claim = Claim(take(folder, patience))
    held.callback(claim.release)
    open_charts(run_id=claim.lock.run_id, is_restart=claim.lock.incarnation > 1)
    if problems := clean_temporary(folder):
        warn(f"trainyard: {folder}: left over, and cannot be removed: {told_problems(problems)}")
    return claim


def report_start(telemetry: Telemetry, agreement: Agreement, total_steps: int | None) -> None:
    """Collective."""
    pids, restarts = agreement.gather(os.getpid()), agreement.torchrun_restarts()
    telemetry.event(
        "start",
        process_started=process_started(),
        world_size=agreement.world_size,
        backend=str(dist.get_backend_config()) if dist.is_initialized() else None,
        restart_count=restarts,
        attempt=int(os.environ.get("TRAINYARD_ATTEMPT", "0")),
        total_steps=total_steps,
        pids=pids,
        host=socket.gethostname(),
        python=platform.python_version(),
        torch=str(torch.__version__),
        trainyard=_own_version(),
    )


def _own_version() -> str | None:
    """None where the runtime is used from a checkout that nobody installed."""
    try:
        return version("trainyard")
    except PackageNotFoundError:
        return None
