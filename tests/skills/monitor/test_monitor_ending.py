"""A run that ends while it is looked at: its supervisor writes the end and leaves, between the look at its record and the look for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from monitor_call import PROGRAM
from monitor_run_writer import RunWriter

SOURCE = Path(__file__).with_name("waiting_look.c")


@pytest.fixture(scope="module")
def waiting_look(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("library") / "waiting_look.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True, timeout=120)
    return library


@pytest.mark.parametrize(("ending", "expected"), [({"state": "finished", "exit_code": 0}, "finished"), ({}, "lost")])
def test_an_end_in_mid_look(
    living_run: RunWriter, sleeper: subprocess.Popen[bytes], waiting_look: Path, tmp_path: Path, ending: dict, expected: str
) -> None:
    """It has finished, as its record says, and is not lost. Control: a supervisor that is killed leaves no end."""
    (living_run.path / "checkpoints").mkdir(exist_ok=True)
    began, goes_on, runner = tmp_path / "began", tmp_path / "goes-on", living_run.path / "runner.json"
    env = {**os.environ, "LD_PRELOAD": str(waiting_look), "LOOK_BEGAN": str(began), "LOOK_GOES_ON": str(goes_on)}
    words = [sys.executable, PROGRAM, "status", living_run.path]
    with subprocess.Popen(words, env=env, stdout=subprocess.PIPE, text=True) as look:
        deadline = time.monotonic() + 60
        while not began.exists():
            assert time.monotonic() < deadline and look.poll() is None, "it never came to the checkpoints"
            time.sleep(0.005)
        runner.write_text(json.dumps({**json.loads(runner.read_text()), **ending}))
        sleeper.kill()
        sleeper.wait(timeout=10)
        goes_on.touch()
        document = json.loads(look.communicate(timeout=60)[0])
    assert document["data"]["state"] == expected
