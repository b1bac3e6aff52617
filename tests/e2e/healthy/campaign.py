"""Run slow but healthy jobs under the default rule for hangs: none may be ended, and the doctor, asked again and again, claims nothing.
Two jobs that hang are the control.

    python -m tests.e2e.healthy.campaign --pause-s 660 --output benchmarks/results/healthy.md

Real processes and the real limits: a quarter of an hour for each eight jobs, which need 9 GB of memory. Exit 0: every healthy job ended by itself
without a restart and without a claim of the doctor, and both controls were ended for their hang.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.e2e.killing.launchers import RUNNER, Job, local
from tests.e2e.killing.trial import until

DOCTOR = Path(__file__).resolve().parents[3] / "skills" / "monitor" / "src" / "diagnose_training.py"
NO_CLAIM = ("none", "unknown")
"""`unknown` of a pause says that it may be an evaluation, a save, or the begin of a hang."""
ASKED = 6
"""Times in a pause."""
SHAPES = Path(__file__).with_name("shapes.py")
PAUSED, STOPPED = "a pause by somebody", "CONTROL: a rank is stopped"
ENOUGH_S = 900.0
"""On top of the pause: starts and steps on a busy machine."""


@dataclass
class Run:
    name: str
    job: Job
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0
    said: Counter[str] = field(default_factory=Counter)
    """The doctor's answers: causes, and how often each."""

    def ask_doctor(self) -> None:
        command = [sys.executable, str(DOCTOR), "doctor", str(self.job.run_dir), "--json"]
        done = subprocess.run(command, capture_output=True, timeout=300)
        self.said[str(json.loads(done.stdout)["data"]["root"]["cause"])] += 1

    @property
    def claims(self) -> list[str]:
        """But that a rank is stopped, while somebody has stopped it."""
        true = (*NO_CLAIM, "rank-stopped") if self.name == PAUSED else NO_CLAIM
        return [cause for cause in self.said if cause not in true]

    @property
    def is_control(self) -> bool:
        return self.name.startswith("CONTROL")

    def runner(self) -> dict[str, Any]:
        return dict(json.loads((self.job.run_dir / "runner.json").read_bytes()))

    def hangs(self) -> list[str]:
        lines = (self.job.run_dir / "events.jsonl").read_text().splitlines()
        return [event["reason"] for event in map(json.loads, lines) if event["type"] == "hang"]

    def has_ended(self) -> bool:
        """A control has when its hang was found: the next attempt hangs too. A short pause is over before the rule calls it a hang."""
        over = (self.is_control and bool(self.hangs())) or self.runner()["state"] not in (
            "starting",
            "running",
            "stopping",
            "backing-off",
        )
        if over and not self.seconds:
            self.seconds = time.monotonic() - self.began
        return over

    @property
    def good(self) -> bool:
        runner = self.runner()
        return bool(self.hangs()) if self.is_control else (runner["state"], runner["restarts"]) == ("finished", 0)

    def row(self) -> str:
        runner = self.runner()
        ended = "ended by the rule" if self.is_control and self.hangs() else runner["state"]
        cells = [
            self.name,
            ", ".join(f"{cause} {count}" for cause, count in self.said.most_common()),
            ended,
            runner["restarts"],
            f"{self.seconds:.0f}",
            "; ".join([*self.hangs(), runner.get("reason") or ""]),
        ]
        return f"| {' | '.join(' '.join(str(cell).split())[:160] for cell in cells)} |"


def names() -> list[str]:
    """Of all shapes."""
    done = subprocess.run(
        [sys.executable, str(SHAPES), "--names", "0"], check=True, capture_output=True, text=True, timeout=300
    )
    return done.stdout.splitlines()


def start(folder: Path, name: str, pause_s: float) -> Run:
    folder.mkdir()
    job = Job(folder, secrets.token_hex(8), SHAPES, (name, str(pause_s)), 2, {"TMPDIR": str(folder)})
    for words, env in local(job, "torchrun"):
        subprocess.run(words, env=env, check=True, stdout=subprocess.DEVNULL, timeout=300)
    return Run(name, job)


def hold(run: Run, ranks: list[int]) -> list[int]:
    """Stop these ranks when they have made their first five steps."""
    log = run.job.run_dir / "logs" / "attempt-0000.log"
    until(lambda: "step 5" in log.read_text(errors="replace"), f"{run.name}: no step 5")
    status = subprocess.run([sys.executable, str(RUNNER), "status", str(run.job.run_dir)], capture_output=True, check=True)
    pids = [each["pid"] for each in json.loads(status.stdout)["data"]["ranks"] if each["rank"] in ranks]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    return pids


def endure(runs: list[Run], pause_s: float) -> None:
    by_name = {run.name: run for run in runs}
    paused = hold(by_name[PAUSED], [0, 1]) if PAUSED in by_name else []
    if STOPPED in by_name:
        hold(by_name[STOPPED], [1])
    until_go = time.monotonic() + pause_s
    asked_at = time.monotonic()
    deadline = time.monotonic() + pause_s + ENOUGH_S
    while sum(run.has_ended() for run in runs) < len(runs) and time.monotonic() < deadline:
        time.sleep(1)
        if time.monotonic() - asked_at > pause_s / ASKED:
            asked_at = time.monotonic()
            for run in runs:
                run.ask_doctor()
        if paused and time.monotonic() > until_go:
            for pid in paused:
                os.kill(pid, signal.SIGCONT)
            paused = []
    for run in runs:
        if run.is_control or not run.has_ended():
            stop = [sys.executable, str(RUNNER), "stop", str(run.job.run_dir), "--now"]
            subprocess.run(stop, capture_output=True, timeout=120)


def table(runs: list[Run], pause_s: float) -> str:
    healthy = [run for run in runs if not run.is_control]
    lines = [
        "# Slow but healthy runs, and the rule for hangs",
        "",
        f"Two ranks each, several jobs at once on one machine, each with a pause of {pause_s:.0f} s between two steps; the default rule "
        "(`monitor.hang: restart`, `hang_after_s: auto`). CPU, gloo.",
        f"**{sum(run.good for run in healthy)} of {len(healthy)} were left alone** and finished without a restart; "
        f"{sum(run.good for run in runs if run.is_control)} of {len(runs) - len(healthy)} controls were ended.",
        f"The doctor was asked {sum(run.said.total() for run in healthy)} times about the healthy ones, before, in and after the pause: "
        f"**{sum(bool(run.claims) for run in healthy)} of them were said to be ill**.",
        "",
        "| what the pause is | the doctor's answers | end | restarts | seconds | reason |",
        "|---|---|---|---|---|---|",
        *[run.row() for run in runs],
    ]
    return "\n".join(lines) + "\n"


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pause-s", type=float, default=660)
    options.add_argument("--at-once", type=int, default=8)
    options.add_argument("--output", type=Path, help="write the table there too")
    words = options.parse_args()
    folder, runs, all_names = Path(tempfile.mkdtemp(prefix="healthy-")), [], names()
    for first in range(0, len(all_names), words.at_once):
        batch = [
            start(folder / f"{first}-{n}", name, words.pause_s)
            for n, name in enumerate(all_names[first : first + words.at_once])
        ]
        endure(batch, words.pause_s)
        runs += batch
        print("\n".join(run.row() for run in batch), flush=True)
    text = table(runs, words.pause_s)
    print(text)
    if words.output:
        words.output.write_text(text)
    if all(run.good for run in runs) and not any(run.claims for run in runs if not run.is_control):
        shutil.rmtree(folder)
        return 0
    print(f"kept: {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
