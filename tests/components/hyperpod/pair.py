"""Two nodes of a job on this machine: AWS's launcher twice, each with one rank of tests/e2e/slow_loop.py, in one run folder.

The launcher writes into /opt/ml, so each has a mount namespace of its own (root). With `as_process_1` it is process 1 of a PID
namespace too, as it is in a container.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.components.hyperpod import agents, launcher

ROOT = Path(__file__).resolve().parents[3]
LOOP = ROOT / "tests" / "e2e" / "slow_loop.py"
STEP_S, ROLLING_STEPS = 0.02, 25
PATIENCE_S = 150.0
OURS = ("--shutdown-signal=SIGTERM", "--shutdown-timeout=25")
"""The options of our manifest (ptjob_manifest.hyperpodrun), with less time."""
NODES = 2


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def environment(folder: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": f"{ROOT / 'training'}:{ROOT}",
        "TRAINYARD_RUN_ID": "5f0c000000000000",
        "TRAINYARD_RUN_DIR": str(folder),
        "TRAINYARD_CHECKPOINTS": str(folder / "checkpoints"),
        "TRAINYARD_ROLLING_STEPS": str(ROLLING_STEPS),
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NNODES": str(NODES),
    }


def lines_of(path: Path) -> list[dict[str, Any]]:
    try:
        return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    except FileNotFoundError:
        return []


class Node:
    """One launcher and its worker."""

    def __init__(self, folder: Path, number: int, options: tuple[str, ...], steps: int, *, as_process_1: bool = False) -> None:
        self.number, port = number, free_port()
        self.agent = agents.Local(port)
        self.logs = folder / "launchers" / f"{number}-{time.monotonic_ns()}"
        self.logs.mkdir(parents=True)
        own = [f"--server-port={port}", f"--nnodes={NODES}", "--nproc-per-node=1", "--rdzv-backend=hyperpod"]
        own += ["--server-host=127.0.0.1", f"--log-dir={self.logs}", "--tee=3", *options]
        private = ["unshare", "--mount", *(["--pid", "--fork"] if as_process_1 else []), "--"]
        words = ["sh", "-c", 'mount -t tmpfs none /opt && exec "$@"', "sh", str(launcher.program()), *own]
        with (self.logs / "launcher.log").open("wb") as output:
            command = [*private, *words, str(LOOP), str(steps), str(STEP_S)]
            self.process = subprocess.Popen(command, env=environment(folder), stdout=output, stderr=output)
        self.as_process_1 = as_process_1

    @property
    def pid(self) -> int:
        """Of the launcher itself."""
        return children(self.process.pid)[0] if self.as_process_1 else self.process.pid

    def log(self) -> str:
        return (self.logs / "launcher.log").read_text(errors="replace")

    def worker(self) -> int:
        return next(pid for pid in children(self.pid) if LOOP.name in Path(f"/proc/{pid}/cmdline").read_text())

    def worker_ends(self) -> list[int]:
        """Exit codes of its workers so far; -9 is SIGKILL."""
        statuses = re.findall(r"Reaped child process \d+ with status (\d+)", self.log())
        return [os.waitstatus_to_exitcode(int(each)) for each in statuses]

    def heard(self) -> list[str]:
        """Signals that its workers took as the wish for a stop, in order."""
        paths = sorted(self.logs.glob("none_*/attempt_*/0/stderr.log"), key=lambda path: path.stat().st_mtime)
        return [name for path in paths for name in re.findall(r"trainyard: (SIG\w+): stopping", path.read_text())]

    def end(self) -> None:
        """Whatever is left of it."""
        if self.process.poll() is None:
            for pid in [*children(self.process.pid), self.process.pid]:
                for each in [*children(pid), pid]:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(each, signal.SIGKILL)
        self.process.wait(30)


def children(pid: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


class Pair:
    """A run on two nodes."""

    def __init__(self, folder: Path, steps: int, options: tuple[str, ...] = OURS) -> None:
        self.folder, self.steps, self.options, self.faults = folder, steps, options, 0
        self.nodes = [self._node(number) for number in range(NODES)]

    def _node(self, number: int) -> Node:
        return Node(self.folder, number, self.options, self.steps)

    @property
    def agents(self) -> list[agents.Agent]:
        return [node.agent for node in self.nodes]

    def begin(self, rules: list[dict[str, Any]] | None = None) -> None:
        """As soon as all are ready: a start, the next attempt."""
        agents.wait_for(self.agents, "ready", PATIENCE_S)
        agents.start(self.agents, self.faults, "127.0.0.1", free_port(), ["127.0.0.1"] * NODES, rules)
        self.faults += 1

    def replace(self, number: int) -> None:
        """A new pod for one that ended."""
        self.nodes[number] = self._node(number)

    def last_step(self) -> int:
        return max((line["step"] for line in self.step_lines()), default=0)

    def step_lines(self) -> list[dict[str, Any]]:
        return lines_of(self.folder / "steps.jsonl")

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in lines_of(self.folder / "events.jsonl") if event["type"] == kind]

    def until(self, what: str, ready: Callable[[], Any]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            told = "\n".join(node.log()[-3000:] for node in self.nodes)
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:.0f} s\n{told}"
            time.sleep(agents.LOOK_S)

    def end(self) -> None:
        for node in self.nodes:
            node.end()


@contextlib.contextmanager
def running(folder: Path, steps: int, options: tuple[str, ...] = OURS) -> Iterator[Pair]:
    pair = Pair(folder, steps, options)
    try:
        yield pair
    finally:
        pair.end()


def uninterrupted(folder: Path, steps: int) -> dict[int, float]:
    """Step -> loss of the same training with the same torch, never disturbed: two ranks under torchrun."""
    folder.mkdir(parents=True)
    torchrun = [str(launcher.python()), "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={NODES}"]
    done = subprocess.run(
        [*torchrun, str(LOOP), str(steps), "0"], env=environment(folder), capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {line["step"]: line["loss"] for line in lines_of(folder / "steps.jsonl")}
