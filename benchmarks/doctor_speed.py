"""The doctor over the long logs of many pods, against a program that reads the same files line by line."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import disk, doctor_logs
from benchmarks.measuring import Bound, Comparison, Group, interleave, progress

PODS = {"small": 8, "2g": 256}
GOAL, MAX_MB = 3.0, 300.0
MANY = 64
"""Of fewer pods the ratio is told only: the start of the program is most of it."""
PROGRAM = Path("skills", "monitor", "src", "diagnose_training.py")
READING = """
import pathlib, sys
for path in pathlib.Path(sys.argv[1]).glob("pods/*/*.log"):
    with path.open("rb") as file:
        for line in file:
            pass
"""


def run(root: Path, folder: Path, pods: int, repeats: int) -> Group:
    """Seconds of whole programs; the files are in the page cache for both."""
    series, comparisons, megabytes = [], [], []
    for kind in doctor_logs.KINDS:
        disk.check_room(folder, pods * doctor_logs.LOG_BYTES)
        progress(f"making {pods} logs: {kind}")
        evidence = doctor_logs.make(folder / "evidence", kind, pods)
        doctor = _Doctor(root, evidence, pods)
        reading = f"reading {kind}"
        told = interleave({f"doctor, {kind}": doctor.seconds, reading: functools.partial(_read, evidence)}, repeats)
        ours, peer = told.values()
        comparisons.append(Comparison(kind, ours, peer, GOAL if pods >= MANY else None))
        series += [ours, peer]
        megabytes.append(doctor.most_mb)
        disk.remove_whole(evidence, pods * doctor_logs.LOG_BYTES)
    bounds = [Bound("most memory of the doctor, per kind of log", tuple(megabytes), MAX_MB, "MB")]
    notes = [
        f"the guilty rank and its cause were named in every run; {doctor_logs.LOG_BYTES / 1e6:.0f} MB a pod",
        "reading: one Python process, `for line in file`, its start included as the doctor's is",
        "of a log that ends with step lines the middle is not read, and repeated warnings are read some thousand lines long",
    ]
    return Group(f"the doctor over {pods} pods' logs", series, comparisons, notes, bounds)


class _Doctor:
    def __init__(self, root: Path, evidence: Path, pods: int) -> None:
        self._command = [sys.executable, str(root / PROGRAM), "doctor", str(evidence), "--json"]
        self._rank = doctor_logs.PROCS * doctor_logs.guilty(pods) + 3
        self.most_mb = 0.0

    def seconds(self) -> float:
        started = time.monotonic()
        with subprocess.Popen(self._command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            output = process.stdout.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        taken_s = time.monotonic() - started
        root = (json.loads(output).get("data") or {}).get("root") or {}
        if (root.get("cause"), root.get("rank")) != ("assertion", self._rank):
            raise RuntimeError(
                f"the doctor named {root.get('cause')} of rank {root.get('rank')}, not rank {self._rank}'s assertion"
            )
        self.most_mb = max(self.most_mb, usage.ru_maxrss / 1000)
        return taken_s


def _read(evidence: Path) -> float:
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", READING, str(evidence)], check=True)
    return time.monotonic() - started
