"""One contract for runner.json and the runner's events, and both who write them: local-runner's supervisor and trainyard.launch.

The contract is read from shared-docs/run-folder.md, so that neither program nor document can move alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.training.launch_runs import ROOT, environment, runner, wait_for

DOCUMENT = (ROOT / "shared-docs" / "run-folder.md").read_text()
RUN_LOCAL = ROOT / "skills" / "local-runner" / "src" / "run_local.py"
EXAMPLE: dict[str, Any] = json.loads(DOCUMENT.partition("## runner.json\n```json\n")[2].partition("```")[0])
STATES = re.search(r"`state` as written: `([^`]+)`", DOCUMENT)
MAY_BE_NULL = (
    "reason",
    "last_failure",
    "supervisor",
    "launcher",
    "exit_code",
    "ended",
    "log",
    "stop_requested",
    "longest_pause_s",
)
KINDS = {"attempt": int, "pid": (int, type(None)), "exit_code": (int, type(None)), "delay_s": float, "restarts": int}
ENDS = ("finished", "failed", "stopped")
COMES_BACK = "import os, sys; sys.exit('first' if os.environ['TRAINYARD_ATTEMPT'] == '0' else 0)"
GIVES_UP = "import os, sys; sys.exit(['alpha', 'beta'][int(os.environ['TRAINYARD_ATTEMPT'])])"


def local_runner(folder: Path, code: str) -> None:
    words = [sys.executable, str(RUN_LOCAL), "submit", "--run-dir", str(folder), "--workdir", str(folder.parent)]
    limits = ["--max-restarts", "1", "--backoff-s", "0"]
    subprocess.run([*words, *limits, "--", sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


def trainyard_launch(folder: Path, code: str) -> None:
    variables = environment(folder, TRAINYARD_MAX_RESTARTS="1")
    words = [sys.executable, "-m", "trainyard.launch", "--program", "--", sys.executable, "-c", code]
    subprocess.run(words, env=variables, cwd=folder.parent, capture_output=True, timeout=60, check=False)


def documented_events() -> dict[str, set[str]]:
    """Type -> fields, of the rows whose source is the runner."""
    rows = re.findall(r"^\| `([a-z-]+)` \| runner \| (.*?) \|$", DOCUMENT, re.MULTILINE)
    names = {type: re.findall(r"`(\w+)`", re.sub(r"\([^)]*\)", "", fields)) for type, fields in rows}
    return {
        type: {name for name in found if name in KINDS or name in ("reason", "state", "by")} for type, found in names.items()
    }


def is_as_documented(told: dict[str, Any]) -> None:
    assert STATES is not None
    assert told.keys() >= EXAMPLE.keys()
    assert {key for key in told.keys() - EXAMPLE.keys() if f"`{key}`" not in DOCUMENT} == set()
    assert told["format"] == 1 and told["state"] in STATES[1].split(" | ")
    for key, example in EXAMPLE.items():
        value = told[key]
        if value is None:
            assert key in MAY_BE_NULL, key
        elif example is not None:
            assert type(value) is type(example), (key, value)
        if isinstance(example, dict) and value is not None:
            assert value.keys() == example.keys()
    assert (told["ended"] is not None) == (told["state"] in ENDS)
    assert all(told[key] is None or isinstance(told[key], str) for key in ("reason", "last_failure"))
    assert 0 <= told["restarts"] <= told["max_restarts"]


@pytest.mark.parametrize(("code", "state", "exit_code"), [(COMES_BACK, "finished", 0), (GIVES_UP, "failed", 1)])
@pytest.mark.parametrize("write", [local_runner, trainyard_launch])
def test_both_writers_of_runner_json_keep_its_contract(
    tmp_path: Path, write: Callable[[Path, str], None], code: str, state: str, exit_code: int
) -> None:
    folder = tmp_path / "run"
    write(folder, code)
    told = wait_for("the end", lambda: runner(folder) if runner(folder).get("state") in ENDS else None)
    is_as_documented(told)
    assert (told["state"], told["exit_code"], told["attempt"], told["restarts"]) == (state, exit_code, 1, 1)
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    types = ["attempt", "attempt-ended", "restart-scheduled", "attempt", "attempt-ended", "run-ended"]
    assert [event["type"] for event in events] == types
    fields = documented_events()
    for event in events:
        assert event["source"] == "runner" and isinstance(event["time"], float)
        assert event.keys() >= fields[event["type"]], event
        assert all(isinstance(value, KINDS[name]) for name, value in event.items() if name in KINDS), event
    assert events[2]["attempt"] == events[3]["attempt"] == 1
    assert told["last_failure"] == events[1]["reason"]
    assert events[-1]["state"] == told["state"] and events[-1]["reason"] == told["reason"]


def test_the_contract_is_read_from_the_document() -> None:
    assert len(EXAMPLE) > 12 and len(documented_events()) >= 5
    assert documented_events()["restart-scheduled"] == {"attempt", "delay_s", "restarts"}
