"""Real launchers (`python -m trainyard.launch`), one a node, on this machine. Instead of torchrun they start a stand-in without torch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
STUB = Path(__file__).parent / "stub_torchrun"
RUN_ID = "00c0ffee00c0ffee"
PATIENCE_S = 90.0


def environment(run_dir: Path | None, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PET_", "MASTER_", "TRAINYARD_"))}
    ours = {"PYTHONPATH": f"{STUB}{os.pathsep}{ROOT / 'training'}", "TRAINYARD_RUN_ID": RUN_ID, "TRAINYARD_STOP_GRACE_S": "10"}
    return {**kept, **ours, **({"TRAINYARD_RUN_DIR": str(run_dir)} if run_dir else {}), **more}


def of_node(node: int, nodes: int, port: int) -> dict[str, str]:
    topology = {"PET_NNODES": nodes, "PET_NODE_RANK": node, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    return {name: str(value) for name, value in topology.items()}


class Launcher:
    """One launcher; its output lies in a file."""

    def __init__(self, folder: Path, words: list[str], variables: dict[str, str], **options: Any) -> None:
        self.log = folder / f"launcher-{time.monotonic_ns()}.log"
        with self.log.open("wb") as log:
            streams = {"stdout": log, "stderr": subprocess.STDOUT} | options
            command = [sys.executable, "-m", "trainyard.launch", *words]
            self.process = subprocess.Popen(command, env=variables, cwd=folder, stdin=subprocess.DEVNULL, **streams)

    def ends(self) -> int:
        """Its exit code."""
        try:
            return self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"still running after {PATIENCE_S:.0f} s:\n{self.text()}") from error

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait(PATIENCE_S)


def wait_for(what: str, ready: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (value := ready()):
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:.0f} s"
        time.sleep(0.05)
    return value


def runner(run_dir: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((run_dir / "runner.json").read_text()))
    except FileNotFoundError:
        return {}


def events(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
