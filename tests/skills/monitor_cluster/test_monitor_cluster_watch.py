"""watch for a long time: API servers that go away, tokens that end, starts that come and go; nothing grows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

from a_run import JOBS, job, running, steps
from api_of_a_run import Api, log_of, write_kubeconfig
from monitor_calls import PROGRAM, Monitor


def test_watch_tells_unknown_while_the_server_is_away_and_goes_on_to_the_end(api: Api, played: Monitor) -> None:
    running(api)

    def happen() -> None:
        time.sleep(2)
        api.away = True
        time.sleep(2)
        api.objects[f"{JOBS}/tiny"] = job(ended="Succeeded")
        api.away = False

    thread = threading.Thread(target=happen)
    thread.start()
    answer = played("watch", "tiny", "--interval", "0.5", "--timeout-s", "60", streams=True)
    thread.join()
    states = [line["state"] for line in answer.stream]
    assert (answer.code, answer.data["state"]) == (0, "finished")
    assert states[0] == "running" and "unknown" in states


def test_a_token_that_ends_is_read_anew_and_the_watch_goes_on(api: Api, played: Monitor, tmp_path: Path) -> None:
    running(api)
    api.token = "t"

    def happen() -> None:
        time.sleep(2)
        api.token = "fresh"
        time.sleep(1.5)
        write_kubeconfig(tmp_path / "kubeconfig", api, "fresh")
        time.sleep(3)
        api.objects[f"{JOBS}/tiny"] = job(ended="Succeeded")

    thread = threading.Thread(target=happen)
    thread.start()
    answer = played("watch", "tiny", "--interval", "0.5", "--timeout-s", "60", streams=True)
    thread.join()
    assert (answer.code, answer.data["state"]) == (0, "finished")


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
    running(api)
    command = [sys.executable, str(PROGRAM), "watch", "tiny", "--interval", "0.1", "--timeout-s", "300"]
    program = subprocess.Popen(
        command, env={**os.environ, "KUBECONFIG": str(played.kubeconfig)}, stdout=subprocess.PIPE, text=True
    )
    assert program.stdout is not None
    try:
        sizes = []
        for turn in range(12):
            if turn:
                lines = steps(
                    60 + (turn - 1) * 8400,
                    60 + turn * 8400,
                    time.time() - 2,
                    0.0002,
                    text="trainyard step={step} loss={loss:.3f} step_s=0.001 blocked_s=0.0",
                )
                api.logs["tiny-master-0", False] = log_of(lines)
            while json.loads(program.stdout.readline())["step"] < (59 if not turn else 60 + turn * 8400):
                pass
            sizes.append(int(Path(f"/proc/{program.pid}/status").read_text().split("VmRSS:")[1].split()[0]) / 1024)
        assert sizes[-1] - sizes[4] < 25, sizes
    finally:
        program.terminate()
        program.wait(timeout=30)
