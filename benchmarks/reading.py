"""What it costs to look at a large cluster: `health` and `capacity` against kubectl fetching the same nodes and pods."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import api_server
from benchmarks.measuring import Comparison, Group, interleave
from tests.components.cluster import build

NODES = {"small": 100, "2g": 2000}
MAX_MB = 250
PROGRAM = Path("skills", "cluster-manager", "src", "manage_cluster.py")
OURS, PEER = "health, then capacity", "kubectl get nodes,pods -A -o json"


def missing() -> list[str]:
    """Programs of the test cluster that are not built here."""
    return build.missing(api_server.NEEDS)


def run(root: Path, folder: Path, nodes: int, repeats: int) -> Group:
    """Seconds of whole processes, their start included; the most memory of any one of them in a note."""
    with api_server.populated(folder, nodes) as kubeconfig:
        watch = _Watch({**os.environ, "KUBECONFIG": str(kubeconfig)}, folder / "output")
        program = [sys.executable, str(root / PROGRAM)]

        def ours() -> float:
            return watch.seconds(OURS, [*program, "health"], {0, 1}) + watch.seconds(OURS, [*program, "capacity"], {0})

        def peer() -> float:
            return watch.seconds(PEER, [build.kubectl(), "get", "nodes,pods", "-A", "-o", "json"], {0})

        series = interleave({OURS: ours, PEER: peer}, repeats)
    comparison = Comparison("two looks at a cluster", series[OURS], series[PEER], 1.0)
    title = f"reading a cluster of {nodes} nodes and {nodes * api_server.PODS_A_NODE} pods"
    return Group(title, list(series.values()), [comparison], watch.notes())


class _Watch:
    """Runs processes and keeps the most memory that each kind has held."""

    def __init__(self, env: dict[str, str], output: Path) -> None:
        self.env, self.output, self.most_mb = env, output, {OURS: 0.0, PEER: 0.0}

    def seconds(self, kind: str, command: list[str], codes: set[int]) -> float:
        started = time.monotonic()
        with self.output.open("wb") as output:
            process = subprocess.Popen(command, stdout=output, env=self.env)
            _, status, usage = os.wait4(process.pid, 0)
        taken_s = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in codes:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {self.output.read_text()[:500]}")
        self.most_mb[kind] = max(self.most_mb[kind], usage.ru_maxrss / 1000)
        return taken_s

    def notes(self) -> list[str]:
        verdict = "met" if self.most_mb[OURS] <= MAX_MB else "MISS"
        ours = f"most memory of one process: {self.most_mb[OURS]:.0f} MB (goal <= {MAX_MB} MB: {verdict})"
        return [ours, f"kubectl: {self.most_mb[PEER]:.0f} MB"]
