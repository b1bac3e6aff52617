"""The benchmark of `health` and `capacity` runs, at a small size, and reads what is there. Nothing here judges a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.usefixtures("cluster")
def test_the_ratio_is_printed_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """It starts a cluster of its own; the fixture waits until the programs are built."""
    kept = tmp_path / "result.json"
    command = [sys.executable, "-m", "benchmarks", "--only", "reading", "--nodes", "40", "--size", "small", "--repeat", "1"]
    done = subprocess.run(
        [*command, "--dir", str(tmp_path), "--output", str(kept)], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    (group,) = json.loads(kept.read_text())["groups"]
    assert group["title"] == "reading a cluster of 40 nodes and 160 pods" and group["comparisons"][0]["ratio"] > 0
    assert "MB" in group["notes"][0]
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
