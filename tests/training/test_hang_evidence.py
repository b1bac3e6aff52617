"""What /proc says about real processes: at work, waiting, stopped, traced, gone; and their stacks."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trainyard.hang_evidence import Evidence
from trainyard.hang_stacks import collect

PATIENCE_S = 60.0
MOODS = {
    "sleeps": "time.sleep(600)",
    "computes": "while True: sum(range(100000))",
    "its child computes": "subprocess.run([sys.executable, '-c', 'while True: sum(range(100000))'])",
    "saves": "while True: open('bulk', 'wb').write(bytes(2_000_000)); time.sleep(0.05)",
    "prints": "while True: print('word', flush=True); time.sleep(0.2)",
    "fails to print": "f = os.open('/dev/full', os.O_WRONLY)\nwhile True:\n try: os.write(f, b'x')\n except OSError: time.sleep(0.2)",
    "compiles": "while True: subprocess.run(['sleep', '0.3'])",
    # A thread that started a child in the way of vfork sleeps as one in fsync does.
    "syncs in a thread": "import ctypes, threading\n"
    "clone = lambda: ctypes.CDLL(None).syscall(220 if os.uname().machine == 'aarch64' else 56, 0x4000 | 17, 0, 0, 0, 0)\n"
    "threading.Thread(target=lambda: clone() or time.sleep(600)).start()\ntime.sleep(600)",
    "waits in a shell": "os.execvp('sh', ['sh', '-c', 'sleep 600; true'])",
    "prints its stacks": "import faulthandler, signal; faulthandler.register(signal.SIGUSR2)\nprint('ready', flush=True)\ntime.sleep(600)",
}
LAUNCHER = """
import os, subprocess, sys
for rank, mood in enumerate(sys.argv[1:]):
    place = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(len(sys.argv) - 1), "LOCAL_WORLD_SIZE": str(len(sys.argv) - 1)}
    subprocess.Popen([sys.executable, "-c", "import os, subprocess, sys, time\\n" + mood], env=os.environ | place)
while True: os.wait()
"""


class Job:
    """A launcher with one rank a mood; all print into one file."""

    def __init__(self, folder: Path, moods: list[str], *, pipe: bool = False, silent: bool = False) -> None:
        launcher = LAUNCHER.replace('"LOCAL_WORLD_SIZE"', '"OTHER"') if silent else LAUNCHER
        words = [sys.executable, "-c", launcher, *(MOODS[mood] for mood in moods)]
        with (folder / "log").open("wb") as log:
            self.launcher = subprocess.Popen(
                words, cwd=folder, stdout=subprocess.PIPE if pipe else log, stderr=log, start_new_session=True
            )
        self.evidence, self._log = Evidence(self.launcher.pid), folder / "log"
        self.size = len(moods)

    def look(self) -> dict[str, Any]:
        return self.evidence.look(time.monotonic())

    def until(self, ready: Callable[[dict[str, Any]], bool], every_s: float = 0.5) -> dict[str, Any]:
        """The first look that is as wanted."""
        deadline = time.monotonic() + PATIENCE_S
        while not ready(seen := self.look()):
            assert time.monotonic() < deadline, seen
            time.sleep(every_s)
        return seen

    def all_there(self) -> dict[str, Any]:
        return self.until(lambda seen: sum(row[2] != "gone" for row in seen["ranks"]) == self.size)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Job]]:
    jobs: list[Job] = []

    def start(*moods: str, **more: bool) -> Job:
        jobs.append(Job(tmp_path, list(moods), **more))
        return jobs[-1]

    yield start
    for job in jobs:
        os.killpg(job.launcher.pid, signal.SIGKILL)
        job.launcher.communicate()


@pytest.mark.parametrize(
    ("mood", "word", "where"),
    [
        ("saves", "storage", "busy"),
        ("computes", "processors", "busy"),
        ("its child computes", "processors", "busy"),
        ("fails to print", "calls of its own", "sign"),
        ("compiles", "new processes", "sign"),
        ("syncs in a thread", "waits for storage", "sign"),
    ],
)
def test_work_is_seen_and_one_that_waits_is_told_from_it(start: Callable[..., Job], mood: str, word: str, where: str) -> None:
    job = start("sleeps", mood)
    job.until(lambda seen: word in seen[where] and seen["ranks"][0][3] and not seen["ranks"][-1][3])
    other = "sign" if where == "busy" else "busy"
    assert any(not job.look()[other] for _ in range(3))


def test_only_what_is_printed_is_output(start: Callable[..., Job]) -> None:
    job = start("sleeps", "waits in a shell")
    job.until(lambda seen: len(seen["ranks"]) == 2 and all(row[3] for row in seen["ranks"]))
    first = job.look()
    time.sleep(0.5)
    assert job.look()["output"] == first["output"]


@pytest.mark.parametrize("pipe", [False, True])
def test_output_is_seen_in_a_file_and_in_a_pipe(start: Callable[..., Job], pipe: bool) -> None:
    job = start("prints", pipe=pipe)
    first = job.all_there()["output"]
    job.until(lambda seen: seen["output"] >= first + 3)


def test_a_rank_that_is_stopped_or_gone_is_named_with_its_pid_and_an_early_one_too(start: Callable[..., Job]) -> None:
    job = start("sleeps", "sleeps", "waits in a shell")
    job.until(lambda seen: all(row[3] for row in seen["ranks"]) and len(seen["ranks"]) == 3)
    pids = [row[1] for row in job.look()["ranks"]]
    shells_child = int(Path(f"/proc/{pids[2]}/task/{pids[2]}/children").read_text().split()[0])
    os.kill(pids[0], signal.SIGSTOP)
    os.kill(shells_child, signal.SIGSTOP)
    seen = job.until(lambda seen: [row[2] for row in seen["ranks"]] == ["stopped", "lives", "stopped"])
    assert [row[:2] for row in seen["ranks"]] == [[0, pids[0]], [1, pids[1]], [2, pids[2]]]
    os.kill(pids[1], signal.SIGKILL)
    seen = job.until(lambda seen: seen["ranks"][-1][2] == "gone")
    assert seen["ranks"][-1][:2] == [1, pids[1]]
    os.kill(pids[2], signal.SIGKILL)
    os.kill(shells_child, signal.SIGKILL)
    job.until(lambda seen: [row[:3] for row in seen["ranks"][1:]] == [[1, pids[1], "gone"], [2, pids[2], "gone"]])
    # Somebody who looks only now knows which one is missing, and not its pid.
    assert Evidence(job.launcher.pid).look(0.0)["ranks"][1:] == [[1, None, "gone", False], [2, None, "gone", False]]


def test_a_rank_that_is_gone_is_known_where_the_launcher_does_not_say_how_many_there_are(start: Callable[..., Job]) -> None:
    job = start("sleeps", "sleeps", silent=True)
    pids = [row[1] for row in job.all_there()["ranks"]]
    os.kill(pids[0], signal.SIGKILL)
    seen = job.until(lambda seen: seen["ranks"][-1][2] == "gone")
    assert [row[:3] for row in seen["ranks"]] == [[1, pids[1], "lives"], [0, pids[0], "gone"]]


def test_a_rank_under_a_debugger_is_told_from_a_stopped_one(start: Callable[..., Job]) -> None:
    job = start("sleeps")
    pid = job.all_there()["ranks"][0][1]
    seize, detach = 0x4206, 17
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes, ptrace.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_long
    if ptrace(seize, pid, None, None) != 0:
        pytest.skip("by design: this machine does not let a test trace its own child")
    job.until(lambda seen: seen["ranks"][0][2] == "traced")
    os.kill(pid, signal.SIGSTOP)
    os.waitpid(job.launcher.pid, os.WNOHANG)
    ptrace(detach, pid, None, None)


def test_stacks_name_the_line_of_a_rank_that_prints_them_and_the_threads_of_every_rank(
    start: Callable[..., Job], tmp_path: Path
) -> None:
    job = start("sleeps", "prints its stacks")
    job.all_there()
    deadline = time.monotonic() + PATIENCE_S
    while "ready" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ranks = job.evidence.ranks
    assert "File" not in (tmp_path / "log").read_text()
    assert "asked to print" not in collect(ranks, sys.executable, ask=False)
    text = collect({**ranks, 7: 2**22 + 1}, sys.executable, ask=True)
    assert f"=== rank 0, pid {ranks[0]} ===" in text and f"thread {ranks[1]} 'python" in text
    assert "asked to print their stacks to the log: 1\n" in text and "=== rank 7, pid 4194305 ===\nthe process is gone" in text
    while "line 4 in <module>" not in (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert job.look()["ranks"][0][2] == "lives", "a signal that nobody catches would have ended it"


ASKED = """
import os, signal
from trainyard.stacks import print_when_asked
if "TAKEN" in os.environ: signal.signal(signal.SIGUSR2, lambda *_: print("mine", flush=True))
print_when_asked()
os.kill(os.getpid(), signal.SIGUSR2)
"""


@pytest.mark.parametrize(
    ("variables", "code", "told"),
    [({"TRAINYARD_RUN_ID": "r"}, 0, "line 6 in <module>"), ({"TRAINYARD_RUN_ID": "r", "TAKEN": "1"}, 0, "mine"), ({}, -12, "")],
)
def test_a_rank_prints_its_stacks_in_a_run_unless_the_script_has_the_signal(
    variables: dict[str, str], code: int, told: str
) -> None:
    kept = {name: value for name, value in os.environ.items() if name != "TRAINYARD_RUN_ID"}
    done = subprocess.run(
        [sys.executable, "-c", ASKED], env=kept | variables, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == code and told in done.stdout + done.stderr and "torch" not in done.stderr
