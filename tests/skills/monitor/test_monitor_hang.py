"""Stopped ranks and hangs: named first, told everywhere; and the verb that a supervisor asks for the last step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from monitor_call import call, check
from monitor_call import run as run_monitor
from monitor_process import RUN_ID, identity
from monitor_run_writer import RunWriter
from test_monitor_joblog import log_of, timeless

WHY = "hang: rank 1 (pid 12) has been stopped for 120 s; no step for 125 s"


@pytest.fixture
def ranks(tmp_path: Path) -> Iterator[tuple[RunWriter, list[int]]]:
    """A run with two living ranks; this process stands for its supervisor."""
    base = {**os.environ, "TRAINYARD_RUN_ID": RUN_ID}
    ranks = [subprocess.Popen(["sleep", "600"], env={**base, "RANK": str(rank)}) for rank in (0, 1)]
    run = RunWriter(tmp_path / "run", now=time.time() - 1)
    run.launch()
    run.runner("running", run_id=RUN_ID, supervisor=identity(os.getpid()), launcher=identity(ranks[0].pid))
    yield run, [rank.pid for rank in ranks]
    for rank in ranks:
        rank.kill()
        rank.wait()


def test_a_stopped_rank_is_the_first_thing_that_health_says(ranks: tuple[RunWriter, list[int]]) -> None:
    run, pids = ranks
    assert check(call("health", run.path, code=1), "ranks.stopped")["summary"] == "none of 2 ranks is stopped"
    os.kill(pids[1], signal.SIGSTOP)
    first = call("health", run.path, code=1)["checks"][0]
    assert (first["id"], first["status"]) == ("ranks.stopped", "fail")
    assert f"rank 1 (pid {pids[1]})" in first["summary"] and f"kill -CONT {pids[1]}" in first["fix"]
    assert "once it has been stopped for 120 s" in first["fix"]
    for spec, words in (({"hang_after_s": 20.0}, "stopped for 20 s"), ({"hang": "report"}, "nothing is done about it")):
        (run.path / "runner-spec.json").write_text(json.dumps(spec))
        assert words in call("health", run.path, code=1)["checks"][0]["fix"]
    assert check(call("health", run.path, "--start-limit-s", "0.1", code=1), "progress.stalled")["status"] == "fail"
    os.kill(pids[0], signal.SIGSTOP)
    answer = call("health", run.path, "--start-limit-s", "0.1", code=1)
    first = answer["checks"][0]
    assert first["status"] == "warn" and "paused by somebody" in first["summary"]
    stalled = check(answer, "progress.stalled")
    assert stalled["status"] == "skipped" and "ranks.stopped" in stalled["summary"]


def test_a_hang_and_a_pause_are_told_by_status_health_and_report(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", now=time.time() - 60)
    run.launch()
    run.live()
    run.train()
    run.event("hang", attempt=0, reason=WHY, action="restart", stacks="logs/attempt-0000.stacks.txt", pids={"1": 12})
    run.event("attempt-ended", attempt=0, exit_code=-15, reason=WHY)
    run.launch()
    run.event("paused", attempt=1, reason="paused by somebody: rank 0 (pid 11) is stopped; nothing is done about it")
    data = call("status", run.path)["data"]
    assert (data["hangs"], data["last_hang"]["reason"]) == (1, WHY) and "1 hang" in data["line"]
    assert data["paused"].startswith("paused by somebody: rank 0")
    run.runner("running")
    hangs = check(call("health", run.path, code=1), "run.hangs")
    assert hangs["status"] == "warn" and WHY in hangs["summary"] and "attempt-0000.stacks.txt" in hangs["fix"]
    page = Path(call("report", run.path)["data"]["path"]).read_text()
    assert WHY in page and "paused by somebody" in page
    run.event("goes-on", attempt=1, after="paused")
    assert call("status", run.path)["data"]["paused"] is None
    run.event("hang", attempt=1, reason="hang: no step for 600 s; only reported", action="report", stacks=None, pids={})
    assert check(call("health", run.path, code=1), "run.hangs")["status"] == "fail"
    run.event("goes-on", attempt=1, after="hang")
    assert check(call("health", run.path, code=1), "run.hangs")["status"] == "warn"


def progress(path: Path) -> dict[str, object]:
    return dict(call("progress", path)["data"])


def test_progress_is_another_mark_after_each_step_and_the_same_without_one(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path / "run", now=time.time() - 60)
    log = timeless(writer, count=5)
    first = progress(writer.path)
    assert (first["rows"], first["step"], first["format"], first["source"]) == (5, 5, "torchtune", "attempt-0000.log")
    with log.open("a") as file:
        file.write("a word that is not a step\n" * 3)
    assert progress(writer.path)["marker"] == first["marker"]
    timeless(writer, count=6)
    assert progress(writer.path)["marker"] != first["marker"]
    timeless(writer, count=20_000)
    end = progress(writer.path)
    assert end["step"] == 20_000 and 0 < int(str(end["rows"])) < 20_000, "the end of the log alone is read"
    log_of(writer, 1, ["hello"])
    assert (progress(writer.path)["rows"], progress(writer.path)["marker"]) == (0, None)
    writer.launch()
    writer.live()
    writer.train()
    assert (progress(writer.path)["source"], progress(writer.path)["step"]) == ("steps.jsonl", 1)


def test_lines_of_one_epoch_that_name_no_step_are_progress_too(tmp_path: Path) -> None:
    """As pytorch's word_language_model prints: the step that is read stays that of the epoch."""
    writer = RunWriter(tmp_path / "run", now=time.time() - 60)
    lines = [f"| epoch   1 |  {n:4d}/ 2983 batches | lr 20.00 | loss  {9 - n / 1000:5.2f}" for n in range(200, 1000, 200)]
    log_of(writer, 0, lines[:-1])
    first = progress(writer.path)
    log_of(writer, 0, lines)
    assert first["rows"] and progress(writer.path)["marker"] != first["marker"]


def test_progress_of_what_is_not_a_run_is_refused(tmp_path: Path) -> None:
    done = run_monitor("progress", tmp_path)
    assert done.returncode == 3 and json.loads(done.stdout)["error"]["code"] == "not-found"
