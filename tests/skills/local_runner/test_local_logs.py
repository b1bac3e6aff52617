"""Reading: logs with and without follow, wait's exit codes, the list."""

from __future__ import annotations

import json

COUNT = "import os; a = os.environ['TRAINYARD_ATTEMPT']; [print(a, 'step', i) for i in range(5)]; raise SystemExit(a != '2')"


def test_logs_prints_the_last_lines_of_the_newest_attempt(run):
    run.submit(job=["python", "-c", COUNT])
    run.wait()
    shown = run.call("logs", str(run.folder), "--lines", "2")
    assert (shown.data["attempt"], shown.data["lines"]) == (2, ["2 step 3", "2 step 4"])
    assert shown.document["truncated"]
    first = run.call("logs", str(run.folder), "--attempt", "0")
    assert (first.data["lines"][0], first.document["truncated"]) == ("0 step 0", False)
    assert run.call("logs", str(run.folder), "--attempt", "9").code == 3


def test_logs_are_bounded_and_free_of_control_characters(run):
    noisy = "import sys; print('x' * 5_000_000); print('\\x1b[31mred\\x00'); sys.stdout.write('no newline')"
    run.submit(job=["python", "-c", noisy])
    run.wait()
    lines = run.call("logs", str(run.folder)).data["lines"]
    assert lines[-2:] == ["red", "no newline"]
    assert len(json.dumps(lines)) < 10_000


def test_follow_streams_every_line_over_all_attempts_and_ends_with_the_run(run):
    run.submit(job=["python", "-c", COUNT])
    reader = run.popen("logs", str(run.folder), "--follow", "--attempt", "0")
    assert reader.communicate(timeout=60)[0].count('"type": "line"') == 5, "one attempt when it is named"
    reader = run.popen("logs", str(run.folder), "--follow")
    documents = [json.loads(line) for line in reader.communicate(timeout=60)[0].splitlines()]
    assert documents[-1]["ok"] and documents[-1]["data"]["state"] == "finished"
    assert all("type" in document for document in documents[:-1])


def test_follow_goes_on_from_one_attempt_to_the_next(run):
    job = ["python", "attempts.py", "wait", "wait", "0"]
    run.submit(job=job)
    run.wait_for_log(0)
    reader = run.popen("logs", str(run.folder), "--follow")
    seen = []
    for line in reader.stdout:
        document = json.loads(line)
        seen.append(document)
        if document.get("type") == "line" and document["line"].endswith("wait"):
            run.kill_launcher()
    reader.communicate(timeout=60)
    lines = [document["line"] for document in seen if document.get("type") == "line"]
    assert lines == ["attempt 0, step 1: wait", "attempt 1, step 1: wait", "attempt 2, step 1: 0"]
    assert [document["attempt"] for document in seen if document.get("type") == "attempt"] == [0, 1, 2]
    assert reader.returncode == 0


def test_follow_ends_with_a_line_that_has_no_newline(run):
    run.submit(job=["python", "-c", "import sys; sys.stdout.write('the end')"])
    out = run.popen("logs", str(run.folder), "--follow").communicate(timeout=60)[0]
    assert '"line": "the end"' in out


def test_follow_has_a_deadline(run):
    run.submit(job=["python", "family.py"])
    run.wait_for_log(0)
    out = run.popen("logs", str(run.folder), "--follow", "--timeout", "0")
    document = json.loads(out.communicate(timeout=60)[0].splitlines()[-1])
    assert (out.returncode, document["error"]["code"]) == (7, "timeout")


def test_wait_tells_finished_failed_and_still_going_apart(run):
    run.submit("--max-restarts", "0", job=["python", "attempts.py", "wait", "3", "0"])
    run.wait_for_log(0)
    going = run.call("wait", str(run.folder), "--timeout", "0")
    assert (going.code, going.error["retryable"], going.data["state"]) == (7, True, "running")
    run.stop()
    assert (run.wait().code, run.wait().data["state"]) == (1, "stopped")
    words = ["--max-restarts", "0", "--resume"]
    run.submit(*words, job=["python", "attempts.py", "wait", "3", "0"])
    failed = run.wait()
    assert (failed.code, failed.data["state"], failed.document["checks"][0]["status"]) == (1, "failed", "fail")
    run.submit(*words, job=["python", "attempts.py", "wait", "3", "0"])
    done = run.wait()
    assert (done.code, done.data["state"], done.document["checks"][0]["status"]) == (0, "finished", "pass")


def test_list_shows_the_runs_of_a_project_with_their_state(run, tmp_path):
    runs = tmp_path / ".trainyard" / "runs"
    for name, word in (("good", "0"), ("bad", "3")):
        run.folder = runs / name
        run.submit(
            "--name",
            name,
            "--max-restarts",
            "0",
            "--run-id",
            name.encode().hex().ljust(16, "0"),
            job=["python", "attempts.py", word],
        )
        run.wait()
    (runs / "no-run").mkdir()
    listed = run.call("list", str(tmp_path)).data
    assert {row["name"]: row["state"] for row in listed["runs"]} == {"good": "finished", "bad": "failed"}
    assert run.call("list", str(runs)).data["runs"] == listed["runs"]
    bounded = run.call("list", str(tmp_path), "--limit", "1")
    assert (len(bounded.data["runs"]), bounded.data["total"], bounded.document["truncated"]) == (1, 2, True)
    assert run.call("list", str(tmp_path / "nowhere")).code == 3
