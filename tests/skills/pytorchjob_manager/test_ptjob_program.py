"""assets/program.py, as a container runs it, with a Python that has no trainyard."""

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

import pytest

PROGRAM = Path(__file__).resolve().parents[3] / "skills" / "pytorchjob-manager" / "assets" / "program.py"
PYTHON: str = getattr(sys, "_base_executable", sys.executable)
LIVES = "import time; file = open('began', 'a'); file.write('x'); file.flush(); time.sleep(600)"
"""Written by `flush`: what a signal handler raises while a file is closed by its end of life is ignored by Python."""
PATIENCE_S = 60.0
Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def start(*words: str, **variables: str) -> subprocess.Popen[str]:
        ours = {"TRAINYARD_RUN_DIR": str(tmp_path / "run"), "TRAINYARD_MAX_RESTARTS": "1", **variables}
        command = [PYTHON, "-I", "-c", PROGRAM.read_text(), *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env={**os.environ, **ours}, cwd=tmp_path, stdout=pipe, stderr=subprocess.STDOUT, text=True
        )

    return start


def end(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=PATIENCE_S)
    return process.returncode, said


def count(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "run" / "trainyard-program.json").read_text()))


def wait_until_it_runs(folder: Path, times: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not ((folder / "began").exists() and len((folder / "began").read_text()) >= times):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_program_that_finishes_is_not_heard_of(start: Start, tmp_path: Path) -> None:
    assert end(start(PYTHON, "-c", "print(42)")) == (0, "42\n")


def test_a_program_that_fails_is_started_again_up_to_the_limit_and_a_new_start_by_the_user_has_its_own(
    start: Start, tmp_path: Path
) -> None:
    fails = (PYTHON, "-c", "open('began', 'a').write('x'); raise SystemExit(3)")
    code, said = end(start(*fails))
    assert code == 1 and "the program ended with 3; max_restarts (1) is used up" in said
    assert (tmp_path / "began").read_text() == "xx"
    assert end(start(*fails))[0] == 1
    assert (tmp_path / "began").read_text() == "xxxx"


def test_a_pod_that_is_killed_is_counted_by_the_next(start: Start, tmp_path: Path) -> None:
    for number in (1, 2):
        process = start(PYTHON, "-c", LIVES)
        wait_until_it_runs(tmp_path, number)
        program = int(Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        process.kill()
        os.kill(program, 9)
        end(process)
    code, said = end(start(PYTHON, "-c", LIVES))
    assert code == 1 and "killed again; max_restarts (1) is used up" in said


def test_what_process_1_is_sent_reaches_the_program(start: Start, tmp_path: Path) -> None:
    process = start(
        PYTHON, "-c", "import signal, sys; signal.signal(signal.SIGUSR1, lambda *_: (print('told'), sys.exit()));" + LIVES
    )
    wait_until_it_runs(tmp_path, 1)
    process.send_signal(signal.SIGUSR1)
    assert end(process) == (0, "told\n")


def test_a_stop_reaches_the_program_and_is_no_restart(start: Start, tmp_path: Path) -> None:
    process = start(PYTHON, "-c", "import signal, sys; signal.signal(15, lambda *_: sys.exit('saved'));" + LIVES)
    wait_until_it_runs(tmp_path, 1)
    process.terminate()
    assert end(process) == (143, "saved\n")
    assert (count(tmp_path)["running"], count(tmp_path)["restarts"]) == (False, 0)


def test_a_program_that_is_not_there_is_not_tried_again(start: Start) -> None:
    code, said = end(start("no-such-program", "--steps", "4"))
    assert code == 1 and "no-such-program cannot be started: No such file or directory" in said


@pytest.mark.parametrize("text", ["[" * 4096, "{}", '{"start": "", "restarts": "x", "running": true}', "\xff"])
def test_a_count_that_is_damaged_is_as_if_there_were_none(start: Start, tmp_path: Path, text: str) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "trainyard-program.json").write_text(text, encoding="latin-1")
    assert end(start(PYTHON, "-c", "pass"))[0] == 0
