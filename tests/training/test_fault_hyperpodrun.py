"""Under HyperPod's launcher SIGUSR1 is an agreed stop; elsewhere it is nobody's. (The launcher itself: tests/e2e/test_hyperpod_stops.py.)"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.rt_zygote import ROOT, Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

POLICY = {"rolling_steps": 100}
LAUNCHER = {"HYPERPOD_ELASTICAGENT_SOCKET_SERVER_PATH": "/tmp/none.sock", "HYPERPOD_SIGNAL_COORDINATION": "disabled"}


@pytest.mark.parametrize("second", [None, "SIGTERM", "SIGUSR1"])
def test_sigusr1_saves_the_step_and_nothing_that_follows_it_ends_the_save(
    zygote: Zygote, memory_path: Path, second: str | None
) -> None:
    """The launcher may send SIGTERM next, when its pod is deleted; what takes too long it ends itself."""
    signals = [["signal", "SIGUSR1"], *([["signal", second]] if second else [])]
    ended = zygote.run(memory_path, steps=8, policy=POLICY, env=LAUNCHER, after={3: signals})
    assert ended.code == 143 and "trainyard: SIGUSR1: stopping after this step; the launcher ends" in ended.stderr
    (stopping,), (committed,) = events(memory_path, "stopping"), events(memory_path, "committed")
    assert (stopping["step"], stopping["signal"], committed["reasons"]) == (4, "SIGUSR1", ["stop"])


def test_two_sigterms_of_the_launcher_save_and_two_of_somebody_else_do_not(zygote: Zygote, memory_path: Path) -> None:
    twice = {3: [["signal", "SIGTERM"], ["signal", "SIGTERM"]]}
    assert zygote.run(memory_path, steps=8, policy=POLICY, env=LAUNCHER, after=twice).code == 143
    assert zygote.run(memory_path / "alone", steps=8, policy=POLICY, after=twice).code == -15


def test_ctrl_c_twice_ends_at_once_under_the_launcher_too(zygote: Zygote, memory_path: Path) -> None:
    twice = {3: [["signal", "SIGINT"], ["signal", "SIGINT"]]}
    assert zygote.run(memory_path, steps=8, policy=POLICY, env=LAUNCHER, after=twice).code == -2


def test_without_the_launcher_sigusr1_is_left_alone(zygote: Zygote, memory_path: Path) -> None:
    """local-runner's supervisor has one of its own, and a script may."""
    coordination = {"HYPERPOD_SIGNAL_COORDINATION": "distributed"}
    ended = zygote.run(memory_path, steps=8, policy=POLICY, env=coordination, after={3: [["signal", "SIGUSR1"]]})
    assert ended.code == -10 and not events(memory_path, "committed")


SCRIPT = """
import os, signal
heard = []
theirs = lambda number, frame: heard.append(number)
def event_handler(): signal.signal(signal.SIGUSR1, theirs)   # what importing AWS's elastic_event_handler does
from trainyard.signals import StopSignals
{order}
signals.keep()
os.kill(os.getpid(), signal.SIGUSR1)
got = signals.received
signals.restore()
print(got, heard == [signal.SIGUSR1], signal.getsignal(signal.SIGUSR1) is theirs)
"""


@pytest.mark.parametrize(
    "order", ["event_handler(); signals = StopSignals()", "signals = StopSignals(); event_handler()"], ids=["before", "after"]
)
def test_a_handler_of_the_scripts_own_hears_sigusr1_as_well_and_is_given_back(order: str) -> None:
    environment = {**os.environ, **LAUNCHER, "PYTHONPATH": str(ROOT / "training")}
    words = [sys.executable, "-c", SCRIPT.format(order=order)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "SIGUSR1 True True\n", done.stderr


def test_a_loaders_worker_outlives_sigusr1_and_the_parent_goes_on() -> None:
    """The launcher signals the whole process group."""
    script = """
import os, signal, time
from trainyard.signals import StopSignals
from trainyard.loader import begin_worker
signals = StopSignals()
told, tell = os.pipe()
workers = []
for begins in (False, True):
    if (worker := os.fork()) == 0:
        if begins: begin_worker(None, 0)
        os.write(tell, b"b")
        for _ in range(2): time.sleep(0.3)
        os._exit(0)
    workers.append(worker)
os.read(told, 1); os.read(told, 1)
for worker in workers: os.kill(worker, signal.SIGUSR1)
print([os.waitpid(worker, 0)[1] for worker in workers])
"""
    environment = {**os.environ, **LAUNCHER, "PYTHONPATH": str(ROOT / "training")}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == "[0, 0]\n", done.stderr
