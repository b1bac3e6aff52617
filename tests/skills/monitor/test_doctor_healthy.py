"""Nothing is claimed of the healthy logs and runs that lie in this repository, whoever printed them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.calling import SKILLS, call

ROOT = SKILLS.parent
PROGRAM = SKILLS / "monitor" / "src" / "diagnose_training.py"
HEALTHY = (
    "skills/monitor/assets/example-run",
    "skills/monitor/assets/example-titan.log",
    "tests/skills/local_runner/recorded/handled.log",
    "tests/skills/monitor/faults/logs/handled.log",
    "tests/skills/monitor/faults/logs/healthy.log",
    "tests/skills/monitor/samples/lightning-2.6.6.log",
    "tests/skills/monitor/samples/transformers-5.23.0.log",
)


@pytest.mark.parametrize("name", HEALTHY)
def test_no_cause_is_claimed(name: str) -> None:
    root = call(PROGRAM, "doctor", ROOT / name).data["root"]
    assert (root["cause"], root["rank"]) == ("none", None)


def test_the_same_log_with_an_end_has_one(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    text = (ROOT / "tests/skills/monitor/samples/transformers-5.23.0.log").read_text()
    log.write_text(text + 'Traceback (most recent call last):\n  File "t.py", line 1, in <module>\nKeyError: 7\n')
    assert call(PROGRAM, "doctor", log).data["root"]["cause"] == "script-error"
