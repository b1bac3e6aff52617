"""gpu_check.py answers within its time whatever happens, calls nothing proven that was not tried, and its checks run (here: on a CPU)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_check import BUDGET_S, LIMITS_S, is_ready
from benchmarks.gpu_finding import Finding, judged

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "benchmarks" / "gpu_check.py"


def run(*words: str, python: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, str(SCRIPT), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, cwd="/", env={**os.environ, **env})


def checks(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    document = json.loads(done.stdout)
    assert document["ok"] == (done.returncode == 0)
    return {check["check"]: check for check in document["checks"]}


def test_the_checks_run_on_a_cpu_and_pass() -> None:
    """The logic of the script, the saving and restoring, the arithmetic: all but CUDA itself."""
    done = run("--device", "cpu", "--json", TRAINYARD_RUN_ID="feed", TRAINYARD_CHECKPOINTS="/nowhere", RANK="3", WORLD_SIZE="4")
    found = checks(done)
    assert {name: check["verdict"] for name, check in found.items()} == dict.fromkeys(LIMITS_S, "pass"), done.stdout
    assert done.returncode == 0
    assert all(value > 0 for name in ("fp8", "blocked") for value in found[name]["ratios"].values())
    assert found["fp8"]["ratios"] and len(found["blocked"]["ratios"]) == 2


def test_without_a_gpu_everything_is_skipped_at_once_and_that_is_no_pass() -> None:
    done = run("--json", python=("-X", "importtime"), CUDA_VISIBLE_DEVICES="")
    found = checks(done)
    assert (done.returncode, {check["verdict"] for check in found.values()}, set(found)) == (1, {"skipped"}, set(LIMITS_S))
    assert all(check["because"] == "device" and check["summary"] for check in found.values())
    assert "json" in done.stderr and "| torch" not in done.stderr, "it waited for torch"


def test_a_check_that_does_not_answer_costs_its_limit_and_is_a_failure() -> None:
    done = run("--device", "cpu", "--only", "machine,nccl", "--json", "--budget-s", "0.4")  # no torch is imported in that time
    found = checks(done)
    assert done.returncode == 1 and {check["verdict"] for check in found.values()} == {"fail"}
    assert all("no answer within" in check["summary"] for check in found.values())
    done = run("--device", "cpu", "--only", "machine", "--json", "--budget-s", "0")
    assert (done.returncode, checks(done)["machine"]["because"]) == (1, "time")


def test_a_process_that_dies_is_a_failure_with_its_last_words(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('libtorch_cuda.so: cannot open shared object file')")
    found = checks(run("--device", "cpu", "--only", "machine", "--json", PYTHONPATH=str(tmp_path)))["machine"]
    assert found["verdict"] == "fail" and "libtorch_cuda.so: cannot open" in found["summary"]


def test_without_numpy_what_needs_it_is_skipped_by_name_and_that_is_no_pass(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['numpy'] = None\n")
    done = run("--device", "cpu", "--only", "machine,resume", "--json", PYTHONPATH=str(tmp_path))
    found = checks(done)
    verdicts = {name: (check["verdict"], check["because"]) for name, check in found.items()}
    assert verdicts == {"machine": ("pass", None), "resume": ("skipped", "package")}
    assert done.returncode == 1 and "pip install numpy" in found["resume"]["summary"]
    assert "not installed: numpy" in found["machine"]["summary"]


@pytest.mark.parametrize(
    ("verdicts", "ready"),
    [
        ([("pass", None), ("warn", None)], True),
        ([("pass", None), ("skipped", "hardware")], True),
        ([("pass", None), ("skipped", "package")], False),
        ([("pass", None), ("skipped", "time")], False),
        ([("pass", None), ("fail", None)], False),
        ([("skipped", "hardware")], False),
        ([], False),
    ],
)
def test_what_was_not_tried_is_no_pass(verdicts: list[tuple[str, str | None]], ready: bool) -> None:
    assert is_ready([Finding("x", verdict, "", because=because) for verdict, because in verdicts]) == ready


def test_a_ratio_over_its_bound_is_a_warning_on_a_gpu_and_no_verdict_on_a_cpu() -> None:
    ratios = {"copy": (2.0, 1.0), "other": (0.5, 1.0)}
    on_gpu, on_cpu = (judged("x", "told", ratios, is_gpu=is_gpu) for is_gpu in (True, False))
    assert (on_gpu.verdict, on_gpu.summary) == ("warn", "told; over its bound: copy")
    assert (on_cpu.verdict, on_cpu.ratios) == ("pass", {"copy": 2.0, "other": 0.5})


def test_the_limits_fit_into_eight_minutes() -> None:
    assert sum(LIMITS_S.values()) <= BUDGET_S < 8 * 60


def test_an_unknown_check_is_refused_with_those_there_are() -> None:
    done = run("--only", "speed")
    assert done.returncode == 2 and "no check 'speed'; there are machine" in done.stderr
