"""`watch` calls for somebody: each occurrence once, whoever fails to listen, and no secret on the way."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alert_receivers import Hook, hook, keeping, kept
from monitor_call import PROGRAM
from monitor_run_writer import RunWriter

from tests.calling import Answer, call


@pytest.fixture
def told() -> Iterator[Hook]:
    with hook() as server:
        yield server


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    """Where is remembered what was sent: the test's own place."""
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


def watch(run: RunWriter, *words: object, env: dict[str, str], code: int = 0) -> Answer:
    answer = call(PROGRAM, "watch", run.path, "--interval", "0.1", *words, env=env, streams=True)
    assert answer.code == code and "Traceback" not in answer.stderr, (answer.document, answer.stderr[-3000:])
    return answer


def kinds(file: Path) -> list[str]:
    return [alert["alert"] for alert in kept(file)]


def _ended(path: Path, state: str, **fields: Any) -> RunWriter:
    run = RunWriter(path)
    run.launch()
    run.live()
    for _ in range(20):
        run.train()
    run.end(state)
    run.runner(state, name="tiny-lm", **fields)
    return run


def test_a_stall_is_told_once(living_run: RunWriter, tmp_path: Path, state: dict[str, str]) -> None:
    """Not once a look, nor once a call; a stall at another step is another one."""
    file = tmp_path / "alerts.jsonl"
    words = ("--timeout-s", "1.5", "--alert-command", keeping(file))
    watch(living_run, *words, env=state, code=7)
    assert kinds(file) == ["stall"]
    alert = kept(file)[0]
    assert (alert["run"], alert["step"], alert["check"]) == ("made-up", 20, "progress.stalled") and alert["fix"]
    assert alert["text"].startswith("made-up: stall: no step line for ")
    watch(living_run, *words, env=state, code=7)
    assert kinds(file) == ["stall"]
    living_run.train()
    watch(living_run, *words, env=state, code=7)
    assert kinds(file) == ["stall", "stall"]
    healthy = tmp_path / "healthy.jsonl"
    watch(living_run, "--stall-factor", 1e6, "--timeout-s", "0.5", "--alert-command", keeping(healthy), env=state, code=7)
    assert kinds(healthy) == []


def test_how_it_ended(tmp_path: Path, state: dict[str, str]) -> None:
    """finished, failed and nan, from one look; a secret in the reason stays here, and nothing invisible goes out."""
    for name, fields in (
        ("finished", {}),
        ("failed", {"exit_code": 1, "reason": "401 for HF_TOKEN=hf_" + "aB3dE5gH7j" * 4 + "\x1b[31m"}),
    ):
        file = tmp_path / f"{name}.jsonl"
        run = _ended(tmp_path / name, name, **fields)
        watch(run, "--once", "--alert-command", keeping(file), env=state)
        assert kinds(file) == [name]
    assert (
        "401 for HF_TOKEN=***" in kept(file)[0]["summary"]
        and "\\u001b" not in file.read_text()
        and "hf_aB" not in file.read_text()
    )
    run = RunWriter(tmp_path / "nan")
    run.launch()
    run.live()
    run.train()
    run.train(loss="nan")
    run.runner("stopped")
    watch(run, "--once", "--alert-command", keeping(tmp_path / "nan.jsonl"), env=state)
    assert kinds(tmp_path / "nan.jsonl") == ["nan"]


def test_budget_and_goodput(tmp_path: Path, state: dict[str, str]) -> None:
    """The last restart is used; an hour of which most was a stall. Above the limit nothing is said."""
    run = RunWriter(tmp_path / "run", now=time.time() - 4000)
    run.launch()
    run.live()
    for _ in range(100):
        run.train(work_s=10.0)
    run.train(work_s=10.0, stall_s=2900.0)
    run.runner("failed", restarts=3, exit_code=1)
    file = tmp_path / "alerts.jsonl"
    answer = watch(run, "--once", "--min-goodput", 0.5, "--alert-command", keeping(file), env=state)
    assert set(kinds(file)) == {"low-goodput", "budget", "failed"}
    assert "goodput.low" in [check["id"] for check in answer.stream[0]["checks"]]
    other = tmp_path / "other.jsonl"
    watch(run, "--once", "--min-goodput", 0.1, "--alert-command", keeping(other), env=state)
    assert "low-goodput" not in kinds(other)


def test_a_webhook(tmp_path: Path, state: dict[str, str], told: Hook) -> None:
    """Posted as JSON; after 503 it is tried again; a redirect on the same host is followed, to another it is not."""
    run = _ended(tmp_path / "run", "finished")
    told.answers = [(503, {}), (307, {"location": "/moved"})]
    answer = watch(run, "--once", "--webhook", "HOOK", env={**state, "HOOK": told.url})
    assert [path for path, _ in told.posted] == ["/hook", "/hook", "/moved"]
    assert told.posted[-1][1]["alert"] == "finished" and answer.data["alerts"][0]["sent"] == ["finished"]
    with hook() as elsewhere:
        told.answers, told.posted = [(307, {"location": elsewhere.url})], []
        (tmp_path / "url").write_text(told.url + "/other\n")
        answer = watch(run, "--once", "--webhook", f"@{tmp_path / 'url'}", env=state)
        assert "another host" in answer.data["alerts"][0]["failed"]["finished"] and not elsewhere.posted
    answer = watch(run, "--once", "--webhook", f"@{tmp_path / 'url'}", env=state)
    assert answer.data["alerts"][0]["sent"] == ["finished"], "what did not arrive is sent by the next call"


def test_a_receiver_that_hangs(living_run: RunWriter, tmp_path: Path, state: dict[str, str], told: Hook) -> None:
    """The looks go on beside it, and the end comes with its deadline; a command is ended with what it has started."""
    told.delay_s = 30.0
    began = time.monotonic()
    words = (
        "--timeout-s",
        "1",
        "--alert-timeout-s",
        "1",
        "--webhook",
        "HOOK",
        "--alert-command",
        "sh -c 'sleep 4711 & sleep 4711'",
    )
    answer = watch(living_run, *words, env={**state, "HOOK": told.url}, code=7)
    assert time.monotonic() - began < 15 and len(answer.stream) >= 3
    assert "did not arrive" in answer.stderr
    deadline = time.monotonic() + 5
    while subprocess.run(["pgrep", "-fx", "sleep 4711"], capture_output=True, check=False).returncode == 0:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("--webhook", "https://hooks.example/T0/secret"), 2, "no argument"),
        (("--webhook", "HOOK"), 3, "variable HOOK"),
        (("--webhook", "PLAIN"), 2, "not https"),
        (("--webhook", "@/nonexistent"), 3, "cannot be read"),
        (("--alert-command", ""), 2, "empty"),
        (("--alert-command", "notify 'half"), 2, "split"),
        (("--alert-command", "notify --api-key 0123456789abcdef0123"), 2, "secret"),
    ],
)
def test_words_that_cannot_be_used(
    living_run: RunWriter, state: dict[str, str], words: tuple[str, ...], code: int, says: str
) -> None:
    """Refused before the first look; the URL is not repeated."""
    answer = watch(living_run, "--once", *words, env={**state, "PLAIN": "http://hooks.example/T0/secret"}, code=code)
    assert says in answer.error["message"] and "T0/secret" not in str(answer.document) + answer.stderr


def test_a_command_that_is_not_there(tmp_path: Path, state: dict[str, str]) -> None:
    """Is said, and changes nothing of the answer; where nothing can be remembered the alert is sent all the same."""
    run = _ended(tmp_path / "run", "finished")
    answer = watch(run, "--once", "--alert-command", "/nonexistent/notify", env=state)
    assert "cannot be started" in answer.data["alerts"][0]["failed"]["finished"]
    file = tmp_path / "alerts.jsonl"
    (tmp_path / "file").write_text("")
    answer = watch(run, "--once", "--alert-command", keeping(file), env={"XDG_STATE_HOME": str(tmp_path / "file")})
    assert kinds(file) == ["finished"] and "cannot be kept" in answer.stderr
    assert os.listdir(tmp_path / "state" / "trainyard" / "alerts")
