"""The dashboard's queries, in a real Prometheus, over what `watch --serve-metrics` really serves."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calling import SKILLS
from tests.components.prometheus import program
from tests.components.prometheus.running import Prometheus
from tests.training.forking import SkillPopen

DASHBOARD = Path(__file__).resolve().parents[2] / "infrastructure" / "kubernetes" / "grafana" / "trainyard-runs.json"
PROGRAM = SKILLS / "monitor" / "src" / "monitor_training.py"
STEP_S = 0.5


def write_run(folder: Path) -> None:
    """A run that goes on, with its last restart: steps up to now, evaluations, a checkpoint; this process stands for its supervisor."""
    folder.mkdir()
    began = time.time() - 60
    start = {"type": "start", "source": "trainer", "incarnation": 1, "time": began, "process_started": began, "world_size": 2}
    events = [start | {"total_steps": 1000, "attempt": 0, "restart_count": 0, "pids": [1, 2]}]
    events += [{"type": "training", "source": "trainer", "incarnation": 1, "time": began + 1, "step": 0}]
    events += [
        {"type": "committed", "source": "trainer", "incarnation": 1, "time": began + 31, "step": 60, "bytes": 1, "seconds": 0.1}
    ]
    steps = [
        {
            "step": n,
            "time": began + 1 + n * STEP_S,
            "incarnation": 1,
            "loss": 5 / n,
            "val_loss": 5 / n,
            "step_s": STEP_S,
            "tokens_per_s": 2048.0,
        }
        for n in range(1, 117)
    ]
    for name, rows in (("events.jsonl", events), ("steps.jsonl", steps)):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "checkpoints" / "step_00000060").mkdir(parents=True)
    (folder / "checkpoints" / "step_00000060" / "manifest.json").write_text("{}")
    runner = {
        "format": 1,
        "run_id": "5f0c5f0c5f0c5f0c",
        "name": "tiny-lm",
        "state": "running",
        "attempt": 0,
        "restarts": 3,
        "max_restarts": 3,
    }
    (folder / "runner.json").write_text(json.dumps(runner | {"supervisor": own_identity()}))


def own_identity() -> dict[str, Any]:
    """Of this process, which stands for the supervisor: see shared-docs/run-folder.md."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"boot_id": boot_id, "pid": os.getpid(), "start_time": int(fields[19])}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The page of a program that watches."""
    write_run(tmp_path / "tiny-lm")
    words = ["watch", str(tmp_path / "tiny-lm"), "--serve-metrics", "0", "--timeout-s", "120"]
    pipe = subprocess.PIPE
    watcher = SkillPopen([sys.executable, str(PROGRAM), *words], stdout=pipe, stderr=pipe, text=True)
    try:
        assert watcher.stderr is not None and watcher.stdout is not None
        address = watcher.stderr.readline().split()[-1]
        watcher.stdout.readline()  # the first look has been served when the second is shown
        watcher.stdout.readline()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/metrics", address)
        with urllib.request.urlopen(address, timeout=10) as answer:
            yield answer.read().decode()
    finally:
        watcher.kill()
        watcher.communicate()


def expressions() -> list[tuple[str, str]]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return [(panel["title"], target["expr"]) for panel in dashboard["panels"] for target in panel["targets"]]


def test_every_panel_has_a_series(prometheus: Prometheus, served: str) -> None:
    """And none where the exporter is gone: the queries ask for what only it has."""
    for _, expression in expressions():
        assert prometheus.query(expression.replace("$run", ".+")) == [], expression
    prometheus.front.exported = served
    empty, deadline = expressions(), time.monotonic() + 60
    while empty:  # a scrape that takes too long ends every series until the next one
        assert time.monotonic() < deadline, empty
        empty = [(title, each) for title, each in empty if not prometheus.query(each.replace("$run", ".+"))]
    assert {each["metric"]["run"] for each in prometheus.query("trainyard_run_state")} == {"tiny-lm"}


def test_the_page_is_well_formed(served: str) -> None:
    """Prometheus' own linter has nothing to say, and every family of the page is on the dashboard."""
    programs = program.kept() if program.reason_against() is None else None
    if programs is None:
        pytest.skip("no promtool")
    done = subprocess.run(
        [programs / "promtool", "check", "metrics"], input=served, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    families = set(re.findall(r"^# TYPE (\S+)", served, re.MULTILINE))
    assert families and families == {name for _, each in expressions() for name in re.findall(r"trainyard_\w+", each)}
