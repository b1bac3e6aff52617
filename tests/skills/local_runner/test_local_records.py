"""Records that are damaged, edited by hand or forged: no verb breaks, no supervisor dies, and the words name the file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SRC = Path(__file__).resolve().parents[3] / "skills" / "local-runner" / "src"
FAMILY = ["python", "family.py"]
DEEP = b"[" * 100_000
READ = """
import json, os, sys, time
from pathlib import Path
from trainyard_files import Unusable, read_object
answers = []
for name in sorted(os.listdir(sys.argv[1])):
    try: answers.append([name, repr(read_object(Path(sys.argv[1], name), {"n": "a whole number", "t": "text", "x": "a number"}))])
    except Unusable as error: answers.append([name, "unusable: " + str(error)])
print(json.dumps(answers))
"""
FILES = {
    "deep-list": (DEEP, "nested deeper"),
    "deep-objects": (b'{"a":' * 50_000, "nested deeper"),
    "long-quotes": (b'{"a":"' + b'\\"' * 500_000, "not JSON"),
    "brackets-in-text": (b'{"t": "' + b"[" * 1000 + b'"}', "{'t'"),
    "empty": (b"", "not JSON"),
    "latin-1": ('{"t": "Müller"}'.encode("latin-1"), "not JSON"),
    "utf-16": ('{"t": "x"}'.encode("utf-16"), "not JSON"),
    "from-an-editor": (b"\xef\xbb\xbf{}", "{}"),
    "digits": (b'{"n": ' + b"9" * 100_000 + b"}", "not JSON"),
    "huge-whole": (b'{"n": ' + b"9" * 400 + b"}", "member n is not a whole number"),
    "huge-float": (b'{"x": 1e999999}', "member x is not a number"),
    "nan": (b'{"x": NaN}', "member x is not a number"),
    "true-is-no-number": (b'{"n": true}', "member n is not a whole number"),
    "half-number": (b'{"n": 1.5}', "member n is not a whole number"),
    "text-with-nul": (b'{"t": "a\\u0000b"}', "member t is not text"),
    "half-a-pair": (b'{"t": "\\ud800"}', "member t is not text"),
    "list": (b"[1]", "no JSON object"),
    "twice": (b'{"n": 1, "n": 2}', "{'n': 2}"),
    "null": (b'{"n": null, "other": [[1]]}', "{'n': None"),
}


def test_one_reader_takes_whatever_lies_there(tmp_path):
    for name, (raw, _) in FILES.items():
        (tmp_path / name).write_bytes(raw)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "gigabyte").open("wb") as file:
        file.truncate(1 << 30)
    done = subprocess.run([sys.executable, "-c", READ, tmp_path], cwd=SRC, capture_output=True, text=True, timeout=60)
    answers = dict(json.loads(done.stdout))
    expected = {name: says for name, (_, says) in FILES.items()}
    expected |= {"pipe": "a pipe or a device", "folder": "a folder", "gigabyte": "longer than"}
    assert {name: says for name, says in expected.items() if says not in answers[name]} == {}


def test_the_supervisor_skips_what_is_no_event_and_counts_what_is(run, wait_for):
    run.submit(job=FAMILY)
    run.pid("job")
    odd = [DEEP, b"9" * 100_000, b"\xff\xfe", b"NaN", b'"text"', b"x" * (3 << 20), b'{"type": ["start"], "attempt": {}}']
    start = {"time": 1.0, "type": "start", "source": "trainer", "restart_count": 2, "attempt": 0}
    with (run.folder / "events.jsonl").open("ab") as file:
        file.write(b"\n".join([*odd, json.dumps(start).encode()]) + b"\n")
    wait_for(lambda: run.runner()["restarts"] == 2, "the start behind the damaged lines")
    assert run.status()["state"] == "running"
    assert run.stop().data["state"] == "stopped"


DAMAGED = [b'{"attempt": "x", "state": "backing-off"}', b'{"attempt": 1e999}', b"\xff", b'{"started": "now"}', DEEP]


def test_a_damaged_runner_json_costs_no_run(run):
    job = ["python", "attempts.py", "3", "0"]
    run.submit("--max-restarts", "0", job=job)
    run.wait()
    odd = json.dumps({**run.runner(), "last_failure": 7}).encode()
    for text in [*DAMAGED, odd]:
        (run.folder / "runner.json").write_bytes(text)
        refused = run.call("status", str(run.folder))
        assert refused.code == 5 and "runner.json" in refused.error["message"] and "--resume" in refused.error["hint"]
    assert run.submit("--max-restarts", "0", job=job).code == 5, "nobody knows whether it was finished"
    assert run.call("logs", str(run.folder)).data["lines"] == ["attempt 0, step 1: 3"]
    os.mkfifo(run.folder / "logs" / "attempt-0001.log")
    assert run.call("logs", str(run.folder)).code == 4, "a pipe is no log, and nobody waits for its writer"
    (run.folder / "logs" / "attempt-0001.log").unlink()
    assert run.submit("--max-restarts", "0", "--resume", job=job).code == 0
    assert (run.wait().data["state"], run.status()["attempt"]) == ("finished", 1), "the logs tell the attempts"


def test_damaged_records_hide_no_process(run, is_alive):
    run.submit("--stop-grace-s", "1", job=FAMILY)
    job = run.pid("job")
    (run.folder / "runner-spec.json").write_bytes(DEEP)
    seen = run.call("status", str(run.folder))
    assert (seen.code, seen.data["state"], seen.data["run_id"]) == (0, "running", run.run_id)
    assert any("runner-spec.json" in check["summary"] for check in seen.document["checks"])
    (run.folder / "runner.json").write_text("{")
    refused = run.call("status", str(run.folder))
    assert refused.code == 5 and refused.document["data"]["supervisor_pid"], "its command line tells the supervisor"
    assert run.stop().data["state"] == "stopped"
    assert not is_alive(job) and run.processes() == set()


def test_a_run_whose_specification_is_damaged_goes_on_with_the_words_of_the_call(run):
    job = ["python", "attempts.py", "3", "0"]
    run.submit("--max-restarts", "0", job=job)
    run.wait()
    (run.folder / "runner-spec.json").write_text('{"command": "rm -rf"}')
    assert run.submit("--max-restarts", "0", "--resume", job=job).code == 0
    assert run.wait().data["state"] == "finished"
    assert json.loads((run.folder / "runner-spec.json").read_text())["command"] == job


def test_the_list_shows_the_other_runs_too(run, tmp_path):
    run.submit(job=["python", "attempts.py", "0"])
    run.wait()
    for name, text in (("b", "{"), ("c", '{"run_id": 7}'), ("d", "[]")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "runner-spec.json").write_text(text)
    os.mkfifo(tmp_path / "d" / "runner.json")
    listed = run.call("list", str(tmp_path))
    assert {row["run_dir"].rpartition("/")[2]: row["state"] for row in listed.data["runs"]} == {
        **dict.fromkeys("bcd", "lost"),
        "a-run": "finished",
    }
