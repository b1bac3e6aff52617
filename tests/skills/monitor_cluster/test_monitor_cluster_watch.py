"""watch for a long time: API servers that go away, tokens that end, starts that come and go; nothing grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from a_run import JOBS, job, running, steps
from api_of_a_run import Api, log_of, write_kubeconfig
from monitor_calls import PROGRAM, Monitor


@contextmanager
def watching(played: Monitor) -> Iterator[Iterator[dict[str, Any]]]:
    """The lines as they come: a test acts on what was said, whatever time the machine takes."""
    command = [sys.executable, str(PROGRAM), "watch", "tiny", "--interval", "0.1", "--timeout-s", "300"]
    environment = {**os.environ, "KUBECONFIG": str(played.kubeconfig)}
    with subprocess.Popen(command, env=environment, cwd=played.folder, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            yield (json.loads(line) | {"pid": program.pid} for line in program.stdout)
        finally:
            program.terminate()


def until(lines: Iterator[dict[str, Any]], state: str) -> None:
    assert next(line for line in lines if line.get("state") == state)


def test_watch_tells_unknown_while_the_server_is_away_and_goes_on_to_the_end(api: Api, played: Monitor) -> None:
    running(api)
    with watching(played) as lines:
        until(lines, "running")
        api.away = True
        until(lines, "unknown")
        api.away = False
        until(lines, "running")
        api.objects[f"{JOBS}/tiny"] = job(ended="Succeeded")
        until(lines, "finished")
        assert next(lines)["ok"]


def test_a_token_that_ends_is_read_anew_and_the_watch_goes_on(api: Api, played: Monitor, tmp_path: Path) -> None:
    running(api)
    api.token = "t"
    with watching(played) as lines:
        until(lines, "running")
        api.token = "fresh"
        until(lines, "unknown")
        write_kubeconfig(tmp_path / "kubeconfig", api, "fresh")
        until(lines, "running")


def test_a_server_that_stays_away_is_exit_8_and_never_healthy(api: Api, played: Monitor) -> None:
    running(api)
    api.away = True
    assert played("health", "tiny").code == 8
    assert played("status", "tiny").code == 8
    assert played("watch", "tiny", "--interval", "0.2", "--timeout-s", "1", streams=True).code == 8


def test_an_operator_that_never_looked_is_unknown(api: Api, played: Monitor) -> None:
    silent = job(began=time.time() - 300)
    silent["status"] = {}
    api.objects[f"{JOBS}/tiny"] = silent
    answer = played("health", "tiny")
    assert (answer.code, answer.data["state"]) == (1, "unknown")
    assert "operator" in answer.check("run.state")["evidence"]


def test_watching_a_log_that_grows_takes_no_more_memory(api: Api, played: Monitor) -> None:
    """100,000 lines come while it watches; each look asks for what is new alone."""
    text, sizes = "trainyard step={step} loss={loss:.3f} step_s=0.001 blocked_s=0.0", list[float]()
    running(api, lines=[row for row in steps(1, 59, time.time() - 600, text=text) if "trainyard" in row[1]])
    with watching(played) as said:
        for turn in range(5):
            if turn:
                new = steps(60 + (turn - 1) * 25_000, 60 + turn * 25_000, time.time() - 2, 0.0002, text=text)
                api.logs["tiny-master-0", False] = log_of([row for row in new if "trainyard" in row[1]])
            line = next(line for line in said if line["step"] >= 59 + turn * 25_000)
            status = Path(f"/proc/{line['pid']}/status").read_text()
            sizes.append(int(status.split("VmRSS:")[1].split()[0]) / 1024)
    assert sizes[-1] - sizes[1] < 25, sizes
