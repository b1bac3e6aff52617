"""Whatever becomes of stdout and stderr, a training goes on, an asked stop saves and exits 143, and finished work exits 0."""

from __future__ import annotations

import io
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from trainyard import checkpoint_format as fmt
from trainyard import speaking

from tests.training.rt_zygote import ROOT, Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

POLICY = {"rolling_steps": 100}
DEADLINE_S = 120.0

STREAMS: list[dict[str, str]] = [
    {"stdout": "file"},
    {"stdout": "pipe"},
    {"stdout": "full"},
    {"stdout": "closed"},
    {"stderr": "pipe"},
    {"stderr": "full"},
    {"stderr": "closed"},
    {"stdout": "pipe", "stderr": "pipe"},
    {"stdout": "full", "stderr": "full"},
    {"stdout": "closed", "stderr": "closed"},
]


@pytest.mark.parametrize("streams", STREAMS, ids=lambda streams: "-".join(f"{name}-{kind}" for name, kind in streams.items()))
def test_a_stop_saves_and_a_finished_run_exits_0_whatever_the_streams_are(
    zygote: Zygote, memory_path: Path, streams: dict[str, str]
) -> None:
    """The script prints at every step, as the runtime does."""
    stopped = zygote.run(memory_path, steps=8, policy=POLICY, streams=streams, after={3: [["signal", "SIGTERM"]]})
    assert (stopped.code, [event["step"] for event in events(memory_path, "committed")]) == (143, [4]), stopped.stderr
    finished = zygote.run(memory_path, steps=8, policy=POLICY, streams=streams)
    assert finished.code == 0, finished.stderr
    assert events(memory_path, "closed")[-1]["finished"] is True
    for step in (4, 8):
        fmt.verify_folder(memory_path / "checkpoints" / f"step_{step:08d}")


LOOP = """
import sys, time, torch, trainyard
early = sys.stderr  # as a progress bar or a log handler has it that was made before
model = torch.nn.Linear(4, 4)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
policy = trainyard.SavePolicy(rolling_steps=10**6)
checkpointer = trainyard.Checkpointer(sys.argv[1], policy=policy, model=model, optimizer=optimizer)
step = checkpointer.restore()
while step < int(sys.argv[2]):
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step(); optimizer.zero_grad(); time.sleep(0.02); step += 1
    print("own line", step)
    print("own error", step, file=early, flush=True)
    checkpointer.step(step, loss=1.0)
checkpointer.close()
print("done")
"""


def loop(folder: Path, steps: int, **streams: Any) -> subprocess.Popen[bytes]:
    """A real interpreter, at the head of a process group of its own."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRAINYARD_RUN")}
    command = [sys.executable, "-c", LOOP, str(folder), str(steps)]
    return subprocess.Popen(
        command, cwd=ROOT, env={**env, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": ""}, process_group=0, **streams
    )


def test_ctrl_c_ends_tee_too_and_the_step_is_saved_all_the_same(tmp_path: Path) -> None:
    """`python loop.py 2>&1 | tee log`, then Ctrl-C: the terminal sends SIGINT to both."""
    log, (reader, writer) = tmp_path / "log", os.pipe()
    script = loop(tmp_path / "c", 10**6, stdout=writer, stderr=writer)
    tee = subprocess.Popen(["tee", str(log)], stdin=reader, stdout=subprocess.DEVNULL, process_group=script.pid)
    os.close(reader)
    os.close(writer)
    deadline = time.monotonic() + DEADLINE_S
    while not log.exists() or b"trainyard step=3 " not in log.read_bytes():
        assert script.poll() is None and time.monotonic() < deadline, log.read_bytes()
        time.sleep(0.05)
    os.killpg(script.pid, signal.SIGINT)
    assert tee.wait(DEADLINE_S) == -signal.SIGINT
    assert script.wait(DEADLINE_S) == 143
    (saved,) = fmt.committed(fmt.scan(tmp_path / "c"))
    assert fmt.verify_folder(tmp_path / "c" / saved.name)["reasons"] == ["stop"]


def test_a_real_interpreter_on_a_full_device_exits_0_when_it_has_finished(tmp_path: Path) -> None:
    """Python's own flush at exit would make it 120."""
    with open("/dev/full", "wb", buffering=0) as full:
        assert loop(tmp_path / "c", 3, stdout=full, stderr=full).wait(DEADLINE_S) == 0
    fmt.verify_folder(tmp_path / "c" / "step_00000003")


# --- without a training ------------------------------------------------------------------------------------------


class Raising(io.StringIO):
    def write(self, text: str) -> int:
        raise KeyError("a stream of somebody's own")


class WriteOnly:
    """As a script's Tee: no flush, no fileno."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text


def test_a_stream_of_the_scripts_own_that_fails_costs_the_line_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    closed.close()
    for stream in (None, closed, Raising(), io.TextIOWrapper(io.BytesIO(), encoding="ascii")):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        speaking.say("step ü")
        speaking.warn("step ü")
        speaking.warn_from_handler("step ü")
        if isinstance(stream, io.TextIOWrapper):
            assert stream.buffer.getvalue() == b"step \\xfc\n" * 2  # type: ignore[attr-defined]
    own = WriteOnly()
    monkeypatch.setattr(sys, "stdout", own)
    speaking.say("step 1")
    assert own.text == "step 1\n"


def python(script: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, **options)


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_reader_that_does_not_read_is_waited_for_once_and_then_loses_whole_lines(unbuffered: str) -> None:
    script = """
import os, sys
from trainyard import speaking
speaking.guard(patience_s=0.3)
for number in range(3000):
    print("x" * 100, number)
sys.stderr.write("went on\\n")
sys.stdin.readline()
print("heard again")
"""
    env = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = python(script, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin and process.stdout and process.stderr
    assert process.stderr.readline() == b"went on\n", "with nobody reading stdout"
    os.set_blocking(process.stdout.fileno(), False)
    first = process.stdout.read()
    os.set_blocking(process.stdout.fileno(), True)
    process.stdin.write(b"\n")
    process.stdin.close()
    lines = (first + process.stdout.read()).splitlines()
    assert process.wait(DEADLINE_S) == 0
    assert len(lines) < 3000 and lines[0].endswith(b" 0") and lines[-1] == b"heard again"
    torn = [line for line in lines[:-1] if not re.fullmatch(rb"x{100} \d+", line)]
    assert len(torn) <= 1, "the one that was being written when the pipe was full"
    process.stdout.close()
    process.stderr.close()


def test_the_handler_of_a_stop_waits_for_no_reader_and_survives_a_full_pipe() -> None:
    script = """
import os, signal
from trainyard.signals import StopSignals
signals = StopSignals()
os.set_blocking(2, False)
try:
    while True: os.write(2, bytes(4096))
except BlockingIOError: pass
os.set_blocking(2, True)
os.kill(os.getpid(), signal.SIGTERM)
print(signals.received)
"""
    reader, writer = os.pipe()
    process = python(script, stdout=subprocess.PIPE, stderr=writer)
    assert process.communicate(timeout=DEADLINE_S)[0] == b"SIGTERM\n" and process.returncode == 0
    os.close(reader)
    os.close(writer)


def test_a_script_that_wants_to_die_of_a_closed_pipe_saves_first() -> None:
    """`signal.signal(SIGPIPE, SIG_DFL)`, as recipes for the command line have it."""
    script = """
import os, signal, sys
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
from trainyard.signals import StopSignals
from trainyard.speaking import guard
guard()
signals = StopSignals()
print("to nobody", flush=True)
signals.restore()
sys.exit(7 if signal.getsignal(signal.SIGPIPE) is signal.SIG_DFL else 8)
"""
    reader, writer = os.pipe()
    os.close(reader)
    assert python(script, stdout=writer).wait(DEADLINE_S) == 7
    os.close(writer)


def test_a_descriptor_that_is_closed_does_not_become_a_checkpoints_file(tmp_path: Path) -> None:
    script = """
import os, sys
os.close(1); os.close(2)
sys.stdout = sys.stderr = None
from trainyard.speaking import guard
guard()
with open(sys.argv[1], "wb") as shard:
    os.write(1, b"from C code"); os.write(2, b"from C code")
    shard.write(b"a shard")
"""
    target = tmp_path / "shard"
    assert subprocess.run([sys.executable, "-c", script, str(target)], cwd=ROOT, timeout=DEADLINE_S).returncode == 0
    assert target.read_bytes() == b"a shard"


def test_ctrl_c_leaves_the_loaders_workers_alive_until_the_parent_ends_them() -> None:
    """They are forked with the parent's handler; a worker that died would fail the step that is to be saved."""
    script = """
import os, signal, time
from trainyard.signals import StopSignals
signals = StopSignals()
told, tell = os.pipe()
worker = os.fork()
if worker == 0:
    os.close(told)
    os.write(tell, b"b")  # a signal before this point would be lost: Python drops those that come amid a fork
    for _ in range(2):
        time.sleep(0.3)   # SIGINT comes here, and Python goes on sleeping
        os.write(tell, b"l")
    time.sleep(60)
    os._exit(3)
os.close(tell)
os.read(told, 1)
lives = []
for _ in range(2):
    os.kill(worker, signal.SIGINT)
    lives.append(os.read(told, 1) == b"l")
os.kill(worker, signal.SIGTERM)
print(lives, os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]), signals.received)
"""
    process = python(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.communicate(timeout=DEADLINE_S)[0] == b"[True, True] -15 None\n"
