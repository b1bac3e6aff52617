"""SIGTERM and SIGINT: the step is saved and the exit code is 143; a second one ends at once; 0 is for finished work alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training.rt_zygote import ROOT, Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

POLICY = {"rolling_steps": 100}


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_an_asked_stop_saves_its_step_exits_143_and_the_next_start_goes_on_exactly(
    zygote: Zygote, reference: dict[int, str], memory_path: Path, name: str
) -> None:
    ended = zygote.run(memory_path, steps=8, policy=POLICY, after={3: [["signal", name]]})
    assert ended.code == 143 and f"trainyard: {name}: stopping after this step" in ended.stderr
    (stopping,), (closed,), (committed,) = (events(memory_path, kind) for kind in ("stopping", "closed", "committed"))
    assert (stopping["step"], stopping["signal"], closed["finished"], committed["reasons"]) == (4, name, False, ["stop"])
    resumed = zygote.run(memory_path, steps=8, policy=POLICY)
    assert (resumed.code, resumed.restored) == (0, (4, reference[4])), resumed.stderr
    assert resumed.digests[8] == reference[8]
    assert events(memory_path, "closed")[-1]["finished"] is True


def test_a_second_signal_ends_at_once_without_a_save(zygote: Zygote, memory_path: Path) -> None:
    ended = zygote.run(memory_path, steps=8, policy=POLICY, after={3: [["signal", "SIGTERM"], ["signal", "SIGTERM"]]})
    assert ended.code == -15
    assert not events(memory_path, "committed") and not events(memory_path, "closed")


def test_an_end_before_the_last_step_is_not_called_finished(zygote: Zygote, memory_path: Path) -> None:
    assert zygote.run(memory_path, steps=3, total_steps=8).code == 0
    assert [event["finished"] for event in events(memory_path, "closed")] == [False]


def test_a_real_interpreter_exits_143_on_sigterm_and_0_when_it_has_finished(
    memory_path: Path, reference: dict[int, str]
) -> None:
    """As the fork server does it elsewhere, but with nothing in between."""
    env = {**os.environ, "TRAINYARD_RUN_DIR": str(memory_path), "TRAINYARD_CHECKPOINTS": str(memory_path / "checkpoints")}
    codes, outputs = [], []
    for after in ({3: [["signal", "SIGTERM"]]}, {}):
        options = json.dumps({"steps": 6, "policy": POLICY, "after": after})
        command = [sys.executable, "-m", "tests.training.rt_trainer", options]
        ended = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=180)
        codes.append(ended.returncode)
        outputs.append(ended.stdout)
    assert codes == [143, 0]
    assert f"restored step=4 {reference[4]}" in outputs[1] and f"digest step=6 {reference[6]}" in outputs[1]
