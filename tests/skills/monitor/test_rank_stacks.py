"""`stacks`: what every rank does now. Ranks are small processes; some have the runtime's signal, which needs no torch."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.calling import SKILLS
from tests.training.forking import skill_run

PROGRAM = SKILLS / "monitor" / "src" / "diagnose_training.py"
RANK = """
import os, signal, sys, threading, time
from trainyard.stacks import print_when_asked

def train(): wait()
def wait(): time.sleep(600)
def evaluate(): time.sleep(600)
def spin():
    while True: pass

mood = sys.argv[1]
if "silent" not in mood: print_when_asked()
if "own" in mood: signal.signal(signal.SIGUSR2, lambda *_: open("own-handler-ran", "w").close())
print("up", flush=True)
evaluate() if "evaluates" in mood else spin() if "spins" in mood else train()
"""
Start = Callable[..., list[subprocess.Popen[bytes]]]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir(mode=0o700)
    (folder / "runner.json").write_text(
        json.dumps({"format": 1, "state": "running", "run_id": secrets.token_hex(8), "name": "r"})
    )
    return folder


@pytest.fixture
def start(run: Path) -> Iterator[Start]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*moods: str, **variables: str) -> list[subprocess.Popen[bytes]]:
        told = {"TRAINYARD_RUN_ID": json.loads((run / "runner.json").read_text())["run_id"], "TRAINYARD_RUN_DIR": str(run)}
        for rank, mood in enumerate(moods):
            place = {"RANK": str(rank), "WORLD_SIZE": str(len(moods)), "TRAINYARD_FLIGHT": "off"}
            words = [sys.executable, "-c", RANK, mood]
            started.append(subprocess.Popen(words, cwd=run, env=os.environ | told | place | variables, stdout=subprocess.PIPE))
        for process in started[-len(moods) :]:
            assert process.stdout is not None and process.stdout.readline() == b"up\n"
        return started

    yield start
    for process in started:
        process.kill()
        process.communicate(timeout=30)


def spy(folder: Path, does: str) -> str:
    """A PATH whose py-spy does that; the real one lies beside this Python, and is found after it."""
    folder.mkdir(exist_ok=True)
    (folder / "py-spy").write_text(f'#!/bin/sh\ncase "$*" in *--nonblocking*--json*) ;; *) exit 3;; esac\n{does}\n')
    (folder / "py-spy").chmod(0o755)
    return f"{folder}:/bin:/usr/bin"


REFUSES = 'echo "Permission Denied: Try running again with elevated permissions" >&2; exit 1'
ANSWERS = """echo '[{"thread_name": "MainThread", "frames": [{"name": "step", "filename": "/job/train.py", "line": 7}]}]'"""


def stacks(run: Path, code: int, *words: str, does: str = REFUSES) -> dict[str, Any]:
    """`does`: what py-spy does; "" for the real one."""
    path = spy(run.parent / "tools", does) if does else "/bin:/usr/bin"
    done = skill_run([sys.executable, str(PROGRAM), "stacks", str(run), *words], env={**os.environ, "PATH": path}, timeout=120)
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return dict(json.loads(done.stdout))


def check(document: dict[str, Any], id: str) -> dict[str, Any]:
    return dict(next(check for check in document["checks"] if check["id"] == id))


def test_the_outlier_comes_first(run: Path, start: Start) -> None:
    """Equal stacks are one line; the one that differs is named with its line in the script."""
    start("trains", "trains", "evaluates", "trains")
    data = stacks(run, 0)["data"]
    first, second = data["groups"]
    assert (first["ranks"], first["outlier"], first["doing"], first["read_with"]) == ("2", True, "waits", "signal")
    assert first["where"].endswith(" in evaluate") and second["where"].endswith(" in wait")
    assert (second["ranks"], second["outlier"], data["outliers"]) == ("0-1, 3", False, "2")
    assert data["line"].startswith("rank 2 (waits) at ")
    assert [oct(path.stat().st_mode)[-3:] for path in sorted((run / "stacks").rglob("*")) if path.is_dir()] == ["700"]
    again = stacks(run, 0)["data"]
    assert again["groups"][0]["stack"] == first["stack"], "the newest answer is read, not the first"


def test_states(run: Path, start: Start) -> None:
    """Stopped, ended, spinning: by /proc, beside the stacks; a stopped rank goes on being stopped and is sent nothing."""
    ranks = start("trains", "trains", "spins", "trains", "trains")
    os.kill(ranks[1].pid, signal.SIGSTOP)
    ranks[3].kill()  # nobody waits for it: a zombie
    while Path(f"/proc/{ranks[3].pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.02)
    document = stacks(run, 1)
    doing = document["data"]["doing"]
    assert (doing["stopped"], doing["zombie"]) == ("1", "3") and doing.get("works", doing.get("spins")) == "2"
    states = check(document, "ranks.states")
    assert states["status"] == "fail" and "stopped: ranks 1" in states["summary"] and "kill -CONT" in states["fix"]
    assert "State:\tT" in Path(f"/proc/{ranks[1].pid}/status").read_text()
    pending = next(line for line in Path(f"/proc/{ranks[1].pid}/status").read_text().splitlines() if line.startswith("ShdPnd"))
    assert int(pending.split()[1], 16) >> (signal.SIGUSR2 - 1) & 1 == 0
    assert check(document, "stacks.read")["status"] == "unknown"


def test_what_may_not_be_read_is_unknown(run: Path, start: Start) -> None:
    """Ranks of other scripts, and those whose script has the signal itself: never signalled, and never called fine."""
    ranks = start("silent", "silent own")
    document = stacks(run, 1)
    read = check(document, "stacks.read")
    assert read["status"] == "unknown" and "ranks 0-1" in read["summary"] and "Permission Denied" in read["summary"]
    assert "as the job's user" in read["fix"] and "Checkpointer" in read["fix"]
    assert all(rank.poll() is None for rank in ranks) and not (run / "own-handler-ran").exists()
    assert document["data"]["doing"] == {"waits": "0-1"}


def test_a_shared_group_is_named(run: Path, start: Start) -> None:
    """Two outliers of eight that make one block."""
    start(*["trains"] * 4, "evaluates", "evaluates", "trains", "trains")
    data = stacks(run, 0)["data"]
    assert data["outliers"] == "4-5" and data["shared_group"] == "the block of 2 ranks 4-5"
    assert data["line"].endswith("the outliers share the block of 2 ranks 4-5")


def test_py_spy(run: Path, start: Start) -> None:
    """It is asked where the runtime is not there, also of a rank that is stopped, which it leaves stopped."""
    (rank,) = start("silent")
    group = stacks(run, 0, does=ANSWERS)["data"]["groups"][0]
    assert (group["where"], group["read_with"]) == ("/job/train.py:7 in step", "py-spy")
    assert check(stacks(run, 1, does="echo '[7]'"), "stacks.read")["status"] == "unknown"
    os.kill(rank.pid, signal.SIGSTOP)
    document = stacks(run, 1, does="")
    group = document["data"]["groups"][0]
    assert (group["doing"], group["read_with"]) == ("stopped", "py-spy") and group["where"].endswith(" in wait")
    assert "State:\tT" in Path(f"/proc/{rank.pid}/status").read_text()


def test_no_rank_lives(run: Path, tmp_path: Path) -> None:
    assert "no rank" in stacks(run, 3)["error"]["message"]
    (run / "runner.json").write_text("[" * 100_000)
    assert stacks(run, 3)["error"]["code"] == "not-found"


def test_a_launcher_with_the_rank_of_its_node_is_no_rank(run: Path, start: Start) -> None:
    """As in a pod of an operator: RANK of the node for the launcher, and of the world beside LOCAL_RANK for its workers."""
    start("silent trains")
    workers = start("trains", "trains", LOCAL_RANK="0")[1:]
    pids = {group["ranks"]: group["pid"] for group in stacks(run, 0)["data"]["groups"]}
    assert pids == {"0-1": workers[0].pid}


def test_the_doctor_looks_at_a_run_that_makes_no_step(run: Path, start: Start) -> None:
    """A stopped rank is named; of a run that moves, whatever a rank does is no cause, and a pause alone is not known to be one.
    Its evidence, with the same stacks in it, says the same."""

    def root_of(what: Path) -> tuple[str, object]:
        done = skill_run([sys.executable, str(PROGRAM), "doctor", str(what)], env={**os.environ}, timeout=120)
        root = json.loads(done.stdout)["data"]["root"]
        return root["cause"], root["rank"]

    def judged(last_step_s_ago: float) -> tuple[str, object]:
        times = [time.time() - last_step_s_ago - 0.1 * step for step in range(20, 0, -1)]
        lines = [{"step": step, "time": at, "incarnation": 1, "loss": 2.0, "step_s": 0.1} for step, at in enumerate(times, 1)]
        (run / "steps.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        found, folder = root_of(run), run.parent / f"evidence-{secrets.token_hex(4)}"
        words = [sys.executable, str(PROGRAM), "collect", str(run), "--output", str(folder)]
        skill_run(words, env={**os.environ}, timeout=120).check_returncode()
        assert {path.name for path in (folder / "stacks").iterdir()} == {f"rank-000{rank}.txt" for rank in range(3)}
        assert root_of(folder) == found
        return found

    (run / "events.jsonl").write_text(
        json.dumps({"time": time.time() - 60, "type": "attempt", "source": "runner", "attempt": 0}) + "\n"
    )
    ranks = start("trains", "trains", "evaluates")
    assert judged(0.0)[0] == "none"
    assert judged(30.0)[0] == "unknown"
    os.kill(ranks[1].pid, signal.SIGSTOP)
    assert judged(30.0) == ("rank-stopped", 1)
