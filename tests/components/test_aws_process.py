"""The stand-in's processes: none is left, however it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.components.aws.needs import reason_against
from tests.components.aws.running import ROOT


def children(pid: int) -> set[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for file in found for child in file.read_text().split()}


def gone(pids: set[int], within_s: float = 10) -> bool:
    deadline = time.monotonic() + within_s
    while any(Path(f"/proc/{pid}").exists() for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


@pytest.mark.parametrize("how", ["stdin", "kill"])
def test_nothing_is_left(how: str, tmp_path: Path) -> None:
    """It ends when whoever started it goes away, and moto and docker-registry end with it, killed or not."""
    if reason := reason_against():
        pytest.skip(reason)
    command = [sys.executable, "-m", "tests.components.aws"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        place = json.loads(process.stdout.readline())
        urllib.request.urlopen(f"{place['endpoint']}/moto-api/data.json", timeout=10).close()
        started = children(process.pid)
        assert len(started) == 2
        process.stdin.close()
        if how == "kill":
            process.send_signal(signal.SIGKILL)
        process.wait(timeout=20)
        assert gone(started)
        assert how == "kill" or list(tmp_path.iterdir()) == []
    finally:
        process.kill()
        process.wait(timeout=10)
        process.stdout.close()
