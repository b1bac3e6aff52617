"""`watch`: JSON lines, a live view, and how both end."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from monitor_call import PROGRAM, call, run
from monitor_run_writer import RunWriter, random_history


def _watch(path: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, PROGRAM, "watch", path, "--interval", "0.1", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _line(stream: IO[str] | None) -> dict[str, object]:
    assert stream is not None
    found = json.loads(stream.readline())
    assert isinstance(found, dict)
    return found


def test_each_line_has_a_type_and_the_envelope_comes_last(living_run: RunWriter) -> None:
    done = run("watch", living_run.path, "--once")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("type") for line in lines] == ["status", None] and done.returncode == 0
    assert lines[0]["checks"][0]["id"] == "progress.stalled" and lines[1]["verb"] == "watch"


def test_it_follows_the_run_and_ends_with_it(living_run: RunWriter) -> None:
    watcher = _watch(living_run.path)
    assert _line(watcher.stdout)["step"] == 20
    living_run.train()
    living_run.close(finished=True)
    living_run.end("finished")
    living_run.runner("finished")
    output, errors = watcher.communicate(timeout=60)
    document = json.loads(output.splitlines()[-1])
    assert (document["ok"], document["data"]["step"], watcher.returncode, errors) == (True, 21, 0, "")


def test_it_ends_with_1_when_the_run_is_lost(living_run: RunWriter, sleeper: subprocess.Popen[bytes]) -> None:
    watcher = _watch(living_run.path)
    _line(watcher.stdout)
    sleeper.kill()
    output, _ = watcher.communicate(timeout=60)
    assert json.loads(output.splitlines()[-1])["data"]["state"] == "lost" and watcher.returncode == 1


def test_it_gives_up_at_its_deadline(living_run: RunWriter) -> None:
    done = run("watch", living_run.path, "--timeout-s", "0")
    assert done.returncode == 7 and json.loads(done.stdout.splitlines()[-1])["error"]["retryable"]


def test_an_interrupt_is_clean(living_run: RunWriter) -> None:
    watcher = _watch(living_run.path)
    _line(watcher.stdout)
    watcher.send_signal(signal.SIGINT)
    output, errors = watcher.communicate(timeout=60)
    assert watcher.returncode == 7 and "Traceback" not in errors
    assert json.loads(output.splitlines()[-1])["error"]["message"] == "interrupted"


def test_a_terminal_gets_a_live_view(tmp_path: Path) -> None:
    finished = random_history(tmp_path / "run", 11)
    finished.runner("finished")
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    watcher = subprocess.Popen([sys.executable, PROGRAM, "watch", finished.path], stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    text = _drain(master)
    assert watcher.wait(timeout=60) == 0
    assert "made-up: finished" in text and "loss, last " in text and '"type"' not in text


def _drain(master: int) -> str:
    """What is written until the other side closes."""
    data, deadline = b"", time.monotonic() + 60
    while time.monotonic() < deadline and select.select([master], [], [], 60)[0]:
        try:
            piece = os.read(master, 65536)
        except OSError:  # Linux: the last user of the other side has gone
            break
        if not piece:
            break
        data += piece
    os.close(master)
    return data.decode()


def test_a_missing_folder_is_an_error_and_no_endless_wait(tmp_path: Path) -> None:
    assert call("watch", tmp_path / "nowhere", code=3)["error"]["code"] == "not-found"
