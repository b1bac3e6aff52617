"""A run whose trainer writes no records of its own: status, health and report tell what its log tells, and no more."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from monitor_call import PROGRAM, call, check, statuses
from monitor_call import run as run_monitor
from monitor_log_lines import BEGIN, stamp, titan, tune
from monitor_process import RUN_ID, identity
from monitor_run_writer import RunWriter
from test_monitor_report import LOADS, Page


def log_of(run: RunWriter, attempt: int, lines: list[str]) -> Path:
    path = run.path / "logs" / f"attempt-{attempt:04}.log"
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def two_attempts(tmp_path: Path) -> RunWriter:
    """torchtitan, a line every 10 steps and 5 s; killed 2 s after step 100, up again 10 s later from step 80."""
    run = RunWriter(tmp_path / "titan", now=BEGIN)
    run.launch(launcher_s=15)
    first = [f"[rank0]:[titan] {stamp(1)} - root - INFO - Starting job"]
    first += [titan(10 * n, 9.0 - n / 10, seconds=15 + 5 * n) for n in range(11)]
    run.now = BEGIN + 67
    run.event("attempt-ended", attempt=0, exit_code=-9, reason="killed by signal 9")
    run.now += 10
    run.attempt, run.incarnation = 1, 2
    run.event("attempt", attempt=1, pid=1001)
    second = [titan(10 * n, 9.0 - n / 10, seconds=77 + 5 * (n - 7)) for n in range(8, 21)]
    run.now = BEGIN + 77 + 5 * 13 + 1
    run.event("attempt-ended", attempt=1, exit_code=0, reason="exit code 0")
    run.end("finished")
    run.runner("finished", ended=run.now)
    log_of(run, 0, first)
    log_of(run, 1, second)
    return run


def timeless(run: RunWriter, count: int = 20, loss: float = 2.5) -> Path:
    return log_of(run, 0, [tune(n, loss) for n in range(1, count + 1)])


def test_status_tells_progress_and_where_it_comes_from(two_attempts: RunWriter) -> None:
    data = call("status", two_attempts.path)["data"]
    assert (data["state"], data["step"], data["loss"]) == ("finished", 200, 7.0)
    assert data["log"]["format"] == "torchtitan" and data["log"]["throughput_unit"] == "tokens/s/device"
    assert data["log"]["throughput"] == 12345.0 and data["tokens_per_s"] is None
    assert data["step_s_median"] == pytest.approx(0.5) and data["log"]["pace_s"] == pytest.approx(5)
    assert any("no steps.jsonl" in note for note in data["notes"])
    assert (data["summary"]["steps"], data["summary"]["restarts"], data["summary"]["kills_survived"]) == (200, 1, 1)
    assert data["summary"]["steps_repeated"] == 3


def test_the_account_from_the_times_of_the_log_adds_up_and_books_what_it_can(two_attempts: RunWriter) -> None:
    summary = call("report", two_attempts.path)["data"]["summary"]
    parts = summary["account"]
    assert sum(parts.values()) == pytest.approx(summary["wall_s"], abs=0.01)
    assert (parts["starting"], parts["down"]) == pytest.approx((15, 10), abs=0.1)
    assert parts["saving"] == pytest.approx(1, abs=0.1)  # from the last line to the end of the attempt
    assert parts["restoring"] == parts["stalled"] == 0
    assert parts["repeated"] == pytest.approx(3 * 5 + 2, abs=0.1)
    assert summary["death_to_new_step_s"] == pytest.approx([10 + 4 * 5], abs=0.1)


def test_the_report_has_the_curves_with_the_unit_of_the_log(two_attempts: RunWriter) -> None:
    page = Page(Path(call("report", two_attempts.path)["data"]["path"]).read_text())
    for words in (
        "tokens/s/device",
        "Time between the log's lines",
        "does not tell saves and restores",
        "undone, then repeated",
    ):
        assert words in page.text, words
    assert not LOADS & {tag for tag, _ in page.tags}


def test_the_end_of_each_attempt_of_a_job_without_records_is_its_own(tmp_path: Path) -> None:
    """Its log has no times, so the order of the runner's events alone says whose a stop was."""
    run = RunWriter(tmp_path / "run")
    for attempt, code in enumerate((1, 143, 1, 0)):
        run.launch()
        log_of(run, attempt, [tune(step, 2.5) for step in range(1, 9)])
        if code == 143:
            run.event("stop-requested", by="me")
        run.event("attempt-ended", attempt=attempt, exit_code=code, reason="its reason")
        if attempt == 2:
            run.event("stop-requested", by="me")  # while the next attempt is waited for
        if code in (0, 143):
            run.end("finished" if code == 0 else "stopped")
    run.runner("finished")
    page = Path(call("report", run.path)["data"]["path"]).read_text()
    assert re.findall(r"<td>(died|stopped|finished|no end recorded)[^<]*</td></tr>", page) == [
        *("died", "stopped", "died", "finished")
    ]


def test_without_times_there_is_no_account_and_it_says_so(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "tune")
    run.launch()
    run.end("finished")
    run.runner("finished")
    timeless(run)
    answer = call("report", run.path)["data"]
    assert answer["goodput"] is None and answer["account"] is None and answer["summary"]["kills_survived"] is None
    assert (answer["summary"]["steps"], answer["summary"]["last_loss"]) == (20, 2.5)
    text = Path(answer["path"]).read_text()
    assert "no times that could be used" in text and "Time between" not in text
    assert any("no times" in note for note in answer["notes"])


def test_times_of_another_zone_are_not_placed_in_the_run(two_attempts: RunWriter) -> None:
    two_attempts.runner("finished", started=BEGIN + 7200, ended=BEGIN + 7400)
    answer = call("report", two_attempts.path)["data"]
    assert answer["account"] is None and any("time zone" in note for note in answer["notes"])


def living(tmp_path: Path, sleeper: subprocess.Popen[bytes], *, age_s: float) -> RunWriter:
    run = RunWriter(tmp_path / "living", now=time.time() - age_s)
    run.launch()
    whose = identity(sleeper.pid)
    run.runner("running", run_id=RUN_ID, supervisor=whose, launcher=whose)
    return run


def test_a_living_log_with_times_is_judged_by_its_own_pace(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    run = living(tmp_path, sleeper, age_s=500)
    lines = [titan(n, 2.0, seconds=time.time() - BEGIN - 400 + 20 * n) for n in range(1, 21)]
    log = log_of(run, 0, lines)
    answer = call("health", run.path)
    assert statuses(answer)["progress.stalled"] == "pass" and answer["ok"]
    assert "every 20 s (times in the log)" in check(answer, "progress.stalled")["evidence"]

    old = time.time() - 250
    os.utime(log, (old, old))
    assert statuses(call("health", run.path, code=1))["progress.stalled"] == "fail"
    assert statuses(call("health", run.path, "--stall-factor", 30))["progress.stalled"] == "pass"


def test_lines_that_tell_nothing_do_not_hide_a_stall(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    """The log is written to all the time; the last metric line is 300 s old by the log's own times."""
    run = living(tmp_path, sleeper, age_s=900)
    lines = [titan(n, 2.0, seconds=time.time() - BEGIN - 500 + 10 * n) for n in range(1, 21)]
    lines += [f"[rank0]:[titan] {stamp(time.time() - BEGIN - 300 + n)} - root - INFO - waiting" for n in range(0, 300, 10)]
    log_of(run, 0, lines)
    assert statuses(call("health", run.path, code=1))["progress.stalled"] == "fail"


def test_a_log_without_times_is_judged_by_the_mean_since_the_attempt_began(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    run = living(tmp_path, sleeper, age_s=100)
    log = timeless(run)
    answer = call("health", run.path)
    assert statuses(answer)["progress.stalled"] == "pass" and statuses(answer)["clock.order"] == "skipped"
    assert "mean since the attempt began" in check(answer, "progress.stalled")["evidence"]
    old = time.time() - 60
    os.utime(log, (old, old))  # 20 lines in 40 s, so 2 s a line; silent for 60 s
    assert statuses(call("health", run.path, code=1))["progress.stalled"] == "fail"


def test_where_nothing_tells_the_pace_the_answer_is_unknown(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    run = living(tmp_path, sleeper, age_s=100)
    (run.path / "events.jsonl").unlink()
    timeless(run)
    answer = call("health", run.path, code=1)
    assert statuses(answer)["progress.stalled"] == "unknown" and statuses(answer)["run.state"] == "pass"


def test_a_log_in_no_format_is_unknown_and_a_silent_one_has_failed(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    run = living(tmp_path, sleeper, age_s=2000)
    log = log_of(run, 0, ["starting", "hello"])
    answer = call("health", run.path, code=1)
    assert statuses(answer)["progress.stalled"] == "unknown" and "--pattern" in check(answer, "progress.stalled")["fix"]
    old = time.time() - 1000
    os.utime(log, (old, old))
    assert statuses(call("health", run.path, code=1))["progress.stalled"] == "fail"
    assert statuses(call("health", run.path, "--start-limit-s", 3000, code=1))["progress.stalled"] == "unknown"


def test_a_loss_that_is_no_number_is_found_in_the_log(two_attempts: RunWriter) -> None:
    with (two_attempts.path / "logs" / "attempt-0001.log").open("a") as file:
        file.write(titan(210, float("nan"), seconds=145) + "\n")
    answer = call("health", two_attempts.path, code=1)
    assert check(answer, "loss.finite")["summary"] == "loss is nan at step 210"


def test_another_trainers_checkpoints_are_not_judged(two_attempts: RunWriter) -> None:
    answer = call("health", two_attempts.path)
    assert statuses(answer)["checkpoint.age"] == statuses(answer)["saves.failing"] == "skipped"
    assert "no checkpoint" not in call("status", two_attempts.path)["data"]["line"]


def test_records_of_the_trainer_count_before_its_log(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run")
    run.launch()
    run.live()
    run.train()
    log_of(run, 0, [tune(999, 0.5)])
    data = call("status", run.path)["data"]
    assert (data["step"], data["log"]) == (1, None)


def test_watch_tells_the_throughput_with_its_unit(two_attempts: RunWriter) -> None:
    first = json.loads(run_monitor("watch", two_attempts.path, "--once").stdout.splitlines()[0])
    assert first["log"]["throughput_unit"] == "tokens/s/device" and first["step"] == 200


def test_a_log_alone_has_a_report_beside_it(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_text("\n".join(titan(n, 9.0 - n, seconds=2 * n) for n in range(1, 8)) + "\n")
    answer = call("report", log)
    assert answer["changed"] == [f"{log}.report.html"] and answer["data"]["state"] == "unknown"
    assert answer["data"]["summary"]["wall_s"] == pytest.approx(12, abs=0.01)
    assert answer["data"]["summary"]["kills_survived"] is None  # a log alone does not tell a kill from a stop
    call("report", log)
    log.write_text("hello\n")
    assert call("report", log, code=2)["data"]["samples"] == ["hello"]
    (tmp_path / "train.log.report.html").write_text("mine")
    log.write_text(tune(1, 2.5) + "\n" + tune(2, 2.0) + "\n")
    assert call("report", log, code=5)["error"]["code"] == "conflict"
    assert call("report", log, "--output", tmp_path / "out.html")["data"]["account"] is None


def read_bytes_of(*words: object) -> int:
    """What the program read from files and pipes, by the kernel's count; the interpreter's own modules included."""
    code = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print(open('/proc/self/io').read(), file=sys.stderr)"
    )
    environment = {**os.environ, "PYTHONPATH": str(PROGRAM.parent)}
    done = subprocess.run(
        [sys.executable, "-c", code, str(PROGRAM), *map(str, words)],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
    )
    return next(int(line.split()[1]) for line in done.stderr.splitlines() if line.startswith("rchar:"))


def test_a_long_log_is_looked_at_by_its_end_only(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "run", now=BEGIN)
    run.launch()
    run.runner("finished")
    log_of(run, 0, ["no metrics here " * 60] * 40_000 + [titan(n, 2.0, seconds=n) for n in range(1, 50)])
    data = call("status", run.path)["data"]
    assert data["step"] == 49 and data["log"]["format"] == "torchtitan"
    shown = read_bytes_of("status", run.path)
    assert shown < 3 * (4 << 20) < (run.path / "logs" / "attempt-0000.log").stat().st_size


# --- the job file's pattern -----------------------------------------------------------------------------------------

OWN = r"at (?P<step>\d+): it costs (?P<loss>\S+)"


@pytest.fixture
def own_words(tmp_path: Path) -> RunWriter:
    """A log in no known format, of a run whose job file says how to read it."""
    run = RunWriter(tmp_path / "own")
    run.launch()
    run.runner("running")
    log_of(run, 0, [f"at {n}: it costs {9 - n}.5" for n in range(1, 6)])
    return run


def with_pattern(run: RunWriter, pattern: str = OWN) -> Path:
    (run.path / "run.json").write_text(json.dumps({"job": {"name": "own", "monitor": {"pattern": pattern}}}))
    return run.path


def test_no_step_read_is_not_step_0(own_words: RunWriter) -> None:
    data = call("status", own_words.path)["data"]
    assert (data["step"], data["percent"], data["eta_s"]) == (None, None, None)
    assert "no step read yet" in data["line"] and "step 0" not in data["line"]


def test_the_job_files_pattern_reaches_every_verb(own_words: RunWriter) -> None:
    folder = with_pattern(own_words)
    status = call("status", folder)["data"]
    assert (status["step"], status["loss"], status["log"]["format"]) == (5, 4.5, "pattern")
    assert check(call("health", folder, code=1), "loss.finite")["status"] == "pass"
    assert call("progress", folder)["data"]["step"] == 5
    assert call("metrics", folder)["data"]["summary"]["last_step"] == 5
    assert call("report", folder, "--dry-run")["data"]["summary"]["steps"] == 5


def test_a_format_that_is_asked_for_goes_before_the_job_files_pattern(own_words: RunWriter) -> None:
    error = call("metrics", with_pattern(own_words), "--log-format", "verl", code=2)["error"]
    assert "in the format verl" in error["message"]
    other = r"costs (?P<loss>\S+)"
    assert call("metrics", own_words.path, "--pattern", other)["data"]["fields"] == {"loss": "--pattern"}


# --- the whole log --------------------------------------------------------------------------------------------------


def test_every_loss_that_the_log_holds_is_looked_at(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "long")
    run.launch()
    run.runner("running")
    padding = "x" * 4000
    log_of(run, 0, [f"step {n} loss {'nan' if n in (7, 9) else '2.5'} {padding}" for n in range(1, 1500)])
    found = check(call("health", run.path, code=1), "loss.finite")
    assert (found["status"], found["summary"]) == ("warn", "2 losses of the log are not finite")
    assert found["evidence"] == "first at step 7, last at step 9"


def test_the_end_of_a_long_log_counts_its_epochs_as_its_beginning_does(tmp_path: Path) -> None:
    run = RunWriter(tmp_path / "long")
    run.launch()
    run.runner("running")
    padding = "x" * 4000
    log_of(run, 0, [f"epoch {e} batch {b}/500 loss 2.5 {padding}" for e in range(4) for b in range(1, 501)])
    assert call("status", run.path)["data"]["step"] == 2000
    assert call("progress", run.path)["data"]["step"] == 2000


# --- a log file alone -----------------------------------------------------------------------------------------------


def test_status_and_health_read_a_log_file_as_report_does(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    now = time.time()
    stamps = [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(now - 2 * (20 - n))) for n in range(1, 21)]
    log.write_text("\n".join(f"{at} step {n}/100 loss {'nan' if n == 3 else 2.5}" for n, at in enumerate(stamps, 1)) + "\n")
    status = call("status", log)["data"]
    assert (status["state"], status["step"], status["total_steps"], status["loss"]) == ("unknown", 20, 100, 2.5)
    assert status["eta_s"] == pytest.approx(160)
    health = call("health", log)
    assert statuses(health) == {"progress.stalled": "pass", "loss.finite": "warn", "validation.rising": "skipped"}


def test_a_file_that_is_no_log_has_no_step(tmp_path: Path) -> None:
    log = tmp_path / "notes.txt"
    log.write_text("bread\nmilk\n")
    data = call("status", log)["data"]
    assert data["step"] is None and "no step read yet" in data["line"]
