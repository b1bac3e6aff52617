"""One fixture: the program as its users call it, and the promise that nothing it started survives the test."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.calling import SKILLS, Answer, answer_of
from tests.training.forking import skill_run

PROGRAM = SKILLS / "local-runner" / "src" / "run_local.py"
JOBS = Path(__file__).resolve().parent / "jobs"
DEADLINE_S = 400.0
MARK = "TRAINYARD_TEST_GUARD"


def until(ready: Callable[[], Any], what: str = "it") -> Any:
    """The first true value of `ready()`; fails after DEADLINE_S."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := ready()):
        assert time.monotonic() < deadline, f"waited {DEADLINE_S} s for {what}"
        time.sleep(0.02)
    return value


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def with_variable(name: str, value: str) -> set[int]:
    """Living processes started with this variable."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environ = (folder / "environ").read_bytes()
        except OSError:
            continue
        if f"{name}={value}".encode() in environ.split(b"\0") and alive(int(folder.name)):
            found.add(int(folder.name))
    return found


def children_of(pids: set[int]) -> set[int]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) in pids and fields[0] not in "ZX":
            found.add(int(folder.name))
    return found


@dataclass
class Runner:
    """The command line of run_local.py with one run folder."""

    folder: Path
    run_id: str
    environ: dict[str, str]
    program: Path = PROGRAM

    def beside(self, name: str) -> Runner:
        """Another run, which goes on at the same time."""
        return replace(self, folder=self.folder.with_name(name), run_id=secrets.token_hex(8))

    def popen(self, *words: str, **options: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        arguments = [sys.executable, str(self.program), *words]
        return subprocess.Popen(arguments, env=self.environ, text=True, **{**pipes, **options})

    def call(self, *words: str) -> Answer:
        done = skill_run([sys.executable, str(self.program), *words], env=self.environ, timeout=DEADLINE_S * 2)
        return answer_of(done.returncode, done.stdout, done.stderr)

    def submit_words(self, *options: str, job: list[str]) -> list[str]:
        defaults = ["--run-dir", str(self.folder), "--run-id", self.run_id, "--name", "a-run"]
        quick = [] if "--backoff-s" in options else ["--backoff-s", "0.05"]
        return ["submit", *defaults, *quick, "--workdir", str(JOBS), "--python", sys.executable, *options, "--", *job]

    def submit(self, *options: str, job: list[str]) -> Answer:
        return self.call(*self.submit_words(*options, job=job))

    def status(self) -> dict[str, Any]:
        called = self.call("status", str(self.folder))
        assert called.code == 0, called
        return called.data

    def wait(self) -> Answer:
        return self.call("wait", str(self.folder), "--timeout", str(DEADLINE_S))

    def stop(self, *options: str) -> Answer:
        return self.call("stop", str(self.folder), *options)

    def runner(self) -> dict[str, Any]:
        return json.loads((self.folder / "runner.json").read_text())

    def events(self, type: str) -> list[dict[str, Any]]:
        path = self.folder / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [event for event in map(json.loads, lines) if event["type"] == type]

    def all_events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "events.jsonl").read_text().splitlines()]

    def launcher(self) -> int:
        """The pid of the running launcher."""
        return int(until(lambda: (self.runner().get("launcher") or {}).get("pid"), "the launcher"))

    def kill_launcher(self) -> None:
        os.kill(self.launcher(), signal.SIGKILL)

    def wait_for_log(self, attempt: int) -> None:
        until(lambda: self.log(attempt), f"output of attempt {attempt}")

    def start_of(self, name: str) -> int | None:
        """The pid of a worker's start, named RANK-NUMBER."""
        path = self.folder / "starts" / name
        word = path.read_text() if path.exists() else ""
        return int(word) if word else None

    def log(self, attempt: int = 0) -> str:
        path = self.folder / "logs" / f"attempt-{attempt:04d}.log"
        return path.read_text() if path.exists() else ""

    def pid(self, role: str) -> int:
        """The pid that a process of the job wrote into the run folder."""
        path = self.folder / "pids" / role
        return int(until(lambda: path.exists() and path.read_text(), f"{role} of the job"))

    def processes(self) -> set[int]:
        return with_variable("TRAINYARD_RUN_ID", self.run_id)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Runner]:
    mark = secrets.token_hex(8)
    environ = {**os.environ, MARK: mark, "JOBS": str(JOBS)}
    yield Runner(tmp_path / "a-run", secrets.token_hex(8), environ)
    family = with_variable(MARK, mark)
    while family:  # children first looked up, then all killed: one that wiped its environment is found below its parent
        grown = family | children_of(family)
        while grown != family:
            family, grown = grown, grown | children_of(grown)
        for pid in family:
            if alive(pid):
                os.kill(pid, signal.SIGKILL)
        family = with_variable(MARK, mark)
    for path in (tmp_path / "a-run" / "pids").glob("*"):  # a wiped orphan is known only by what it wrote
        pid = int(path.read_text())
        if alive(pid) and str(JOBS) in Path(f"/proc/{pid}/cmdline").read_text():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture
def wait_for() -> Callable[..., Any]:
    return until


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    return alive
