"""The ways in which a job's ranks are started here: each returns the commands of its nodes and their environments."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
RUNNER = ROOT / "skills" / "local-runner" / "src" / "run_local.py"
MAX_RESTARTS = 3


@dataclass(frozen=True)
class Job:
    """One script with its ranks, to be started in `folder`."""

    folder: Path
    run_id: str
    script: Path
    words: tuple[str, ...]
    ranks: int
    env: dict[str, str]

    @property
    def run_dir(self) -> Path:
        return self.folder / "run"

    def environment(self) -> dict[str, str]:
        """What every engine sets, and what one machine needs."""
        ours = {"TRAINYARD_RUN_ID": self.run_id, "TRAINYARD_RUN_DIR": str(self.run_dir)}
        ours |= {"TRAINYARD_CHECKPOINTS": str(self.run_dir / "checkpoints"), "TRAINYARD_MAX_RESTARTS": str(MAX_RESTARTS)}
        return {**os.environ, **ours, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **self.env}


Node = tuple[list[str], dict[str, str]]
"""A command and its environment."""


def local(job: Job, *launcher: str) -> list[Node]:
    """local-runner: its supervisor starts the launcher, and starts it again."""
    submit = [sys.executable, str(RUNNER), "submit", "--run-dir", str(job.run_dir), "--run-id", job.run_id]
    submit += ["--workdir", str(job.folder), "--python", sys.executable, "--procs", str(job.ranks)]
    submit += ["--max-restarts", str(MAX_RESTARTS), "--backoff-s", "0.2", "--stop-grace-s", "20"]
    submit += [word for name, value in job.env.items() for word in ("--env", f"{name}={value}")]
    return [([*submit, "--", *launcher, str(job.script), *job.words], {**os.environ, "OMP_NUM_THREADS": "1"})]


def standalone(job: Job) -> list[Node]:
    return local(job, "torchrun")


def module(job: Job) -> list[Node]:
    """Whose rendezvous is static where nobody says otherwise."""
    return local(job, "python", "-m", "torch.distributed.run")


def accelerate(job: Job) -> list[Node]:
    return local(job, "accelerate", "launch")


def one_node(job: Job) -> list[Node]:
    """trainyard.launch with all ranks on one node."""
    words = [sys.executable, "-m", "trainyard.launch", str(job.script), *job.words]
    return [(words, job.environment() | {"PET_NPROC_PER_NODE": str(job.ranks)})]


def two_nodes(job: Job) -> list[Node]:
    """trainyard.launch on two nodes, each with half of the ranks."""
    words = [sys.executable, "-m", "trainyard.launch", str(job.script), *job.words]
    shared = job.environment() | {"PET_NNODES": "2", "PET_NPROC_PER_NODE": str(job.ranks // 2)}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [(words, shared | {"PET_NODE_RANK": str(node)}) for node in range(2)]


def c10d_two_nodes(job: Job) -> list[Node]:
    """Stock torchrun with restarts of its own, as an elastic job gets it: c10d, and torch's switch for a store of its own."""
    words = [sys.executable, "-m", "torch.distributed.run", str(job.script), *job.words]
    shared = job.environment() | {"PET_NNODES": "2", "PET_NPROC_PER_NODE": str(job.ranks // 2)}
    shared |= {"PET_RDZV_BACKEND": "c10d", "PET_RDZV_ENDPOINT": f"127.0.0.1:{free_port()}", "PET_RDZV_ID": job.run_id}
    shared |= {"PET_MAX_RESTARTS": str(MAX_RESTARTS), "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1", "PET_LOCAL_ADDR": "127.0.0.1"}
    return [(words, shared) for _ in range(2)]


LAUNCHERS: dict[str, Callable[[Job], list[Node]]] = {
    "torchrun, local-runner": standalone,
    "torch.distributed.run, local-runner": module,
    "accelerate launch, local-runner": accelerate,
    "trainyard.launch": one_node,
    "trainyard.launch, two nodes": two_nodes,
    "torchrun c10d, two nodes": c10d_two_nodes,
}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
