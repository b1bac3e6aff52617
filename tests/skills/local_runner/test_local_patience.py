"""Failures that cannot pass end the run after two attempts; everything that may pass gets all its restarts."""

from __future__ import annotations

from pathlib import Path

import pytest

FORGED = """
Root Cause (first observed failure):
[0]:
  time      : 2026-01-01_00:00:00
  host      : x
  rank      : 7 (local_rank: 7)
  exitcode  : 42 (pid: 1)
"""
MANY = "import os, signal, sys, time; n = int(os.environ['TRAINYARD_ATTEMPT']); "
NAMED = "twice in the same way before the first step; a restart cannot help"
HOPELESS = {
    "a missing module": ("import nosuchmodule", "No module named 'nosuchmodule'"),
    "no accelerator": ("print(f'{n} cores, {os.getpid()}'); raise RuntimeError('No CUDA GPUs are available')", "No CUDA GPUs"),
    "an unknown option": ("import argparse; argparse.ArgumentParser().parse_args(['--sped', '1'])", "arguments: --sped"),
    "missing data": ("open('/no/data')", "'/no/data'"),
    "a message and an exit": ("sys.exit('no data in /data')", "no data in /data"),
    "another number, address, id and folder": (
        "raise ValueError(f'<X at {id(object()) + n:#x}> {n * 17}.5 of {os.getpid()}: /tmp/x{n}/part {n + 0xabcdef12:x}')",
        "ValueError: <X at",
    ),
    "a crash in native code": (
        "print('loading the kernels', flush=True); os.kill(os.getpid(), signal.SIGSEGV)",
        "killed by SIGSEGV",
    ),
    "no step, whatever it prints": ("print('epochs: 10, batch_size=32'); raise KeyError('tokens')", "KeyError: 'tokens'"),
}
PASSING = {
    "a kill": "print('error: reading'); os.kill(os.getpid(), signal.SIGKILL)",
    "the code of a killed child": "print('error: the child is dead'); sys.exit(137)",
    "a peer that is gone": "raise RuntimeError('Connection closed by peer [127.0.0.1]:1439')",
    "a taken port": "raise OSError(98, 'Address already in use')",
    "a busy disk": "raise OSError(5, 'Input/output error')",
    "another error each time": "raise ValueError('abcd'[n] * 3)",
    "the same error after a step": "print('step=1 loss=2.5'); raise ValueError('it happens')",
    "the same error after some progress": "print(' 12%|x  | 12/100 [00:01<00:07, 11.9it/s]'); raise ValueError('it happens')",
    "no word": "sys.exit(1)",
    "a last line that says nothing of the end": "print('reading the data'); sys.exit(1)",
}


@pytest.mark.parametrize("kind", HOPELESS)
def test_the_same_death_before_the_first_step_is_not_tried_a_third_time(run, kind):
    script, says = HOPELESS[kind]
    run.submit(job=["python", "-c", MANY + script])
    data = run.wait().data
    assert (data["state"], data["restarts"], data["attempt"]) == ("failed", 1, 1)
    assert says in data["reason"] and NAMED in data["reason"]
    assert [says in event["reason"] for event in run.events("attempt-ended")] == [True, True]


@pytest.mark.parametrize("kind", PASSING)
def test_what_may_pass_is_tried_as_often_as_allowed(run, kind):
    run.submit("--max-restarts", "2", "--backoff-s", "0", job=["python", "-c", MANY + PASSING[kind]])
    data = run.wait().data
    assert (data["state"], data["restarts"], data["attempt"]) == ("failed", 2, 2)
    assert "max_restarts (2) is used up" in data["reason"]


REPORTING = """
import json, os, sys
run, kind = os.environ["TRAINYARD_RUN_DIR"], sys.argv[1]
def tell(file, **fields):
    with open(f"{run}/{file}", "a") as opened:
        opened.write(json.dumps(fields) + "\\n")
tell("events.jsonl", time=1.0, type="start", source="trainer", attempt=int(os.environ["TRAINYARD_ATTEMPT"]), restart_count=0)
print("step 5 of what the script prints itself")
if kind != "early":
    tell("steps.jsonl", step=7 if kind != "late" else 7 + int(os.environ["TRAINYARD_ATTEMPT"]), time=2.0, loss=1.0)
if kind == "nan":
    tell("events.jsonl", time=3.0, type="nan-loss", source="trainer", step=7)
raise RuntimeError("the loss is bad" if kind == "nan" else "the data is bad")
"""


@pytest.mark.parametrize(
    ("kind", "restarts", "says"),
    [
        ("early", 1, NAMED),
        ("late", 2, "max_restarts (2) is used up"),
        ("same", 2, "3 times in the same words after step 7; a restart cannot help"),
        ("nan", 1, "twice in the same way, with NaN or Inf at step 7 both times; a restart cannot help"),
    ],
)
def test_what_the_runtime_reports_decides_whether_there_was_a_step(run, tmp_path, kind, restarts, says):
    script = tmp_path / "reporting.py"
    script.write_text(REPORTING)
    run.submit("--max-restarts", "2" if kind != "same" else "9", "--backoff-s", "0", job=["python", str(script), kind])
    data = run.wait().data
    assert (data["state"], data["restarts"]) == ("failed", restarts)
    assert says in data["reason"]


def test_nan_at_another_step_is_another_failure_and_at_the_same_one_the_same(run):
    script = MANY + "print('step 9 loss 2'); raise FloatingPointError(f'loss is nan at step {12 if n else 10}')"
    run.submit("--max-restarts", "9", "--backoff-s", "0", job=["python", "-c", script])
    data = run.wait().data
    assert (data["restarts"], data["attempt"]) == (2, 2)
    assert "nan at step 12" in data["reason"] and "twice at the same NaN or Inf" in data["reason"]


FORGER = """
import json, os, sys
attempt = int(os.environ["TRAINYARD_ATTEMPT"])
with open(os.environ["TRAINYARD_RUN_DIR"] + "/events.jsonl", "a") as events:
    events.write(json.dumps({"time": 1.0, "type": "start", "source": "trainer", "attempt": attempt, "restart_count": 99}) + "\\n")
print(sys.argv[1], flush=True)
sys.exit(attempt < 1)
"""


def test_torchruns_last_message_and_its_count_written_by_a_script_decide_nothing(run, tmp_path):
    script = tmp_path / "forger.py"
    script.write_text(FORGER)
    run.submit("--max-restarts", "3", job=["torchrun", str(script), FORGED])
    done = run.wait()
    assert (done.data["state"], done.data["restarts"]) == ("finished", 1)
    ended = run.events("attempt-ended")[0]["reason"]
    assert "rank 7" not in ended and "42" not in ended.replace("(pid: 1)", ""), ended


def test_the_reason_stands_wherever_the_run_is_shown(run):
    run.submit("--max-restarts", "1", "--backoff-s", "0", job=["python", "attempts.py", "1", "wait"])
    run.wait_for_log(1)
    seen = run.status()
    told = run.events("attempt-ended")[0]["reason"]
    assert told.startswith("exited with 1") and Path(seen["log"]).name == "attempt-0001.log"
    assert (seen["state"], seen["reason"], seen["last_failure"], run.runner()["last_failure"]) == ("running", None, told, told)
