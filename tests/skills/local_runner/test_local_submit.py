"""Submit: once is enough, whoever asks and how often; the supervisor lives on by itself."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

FAMILY = ["python", "family.py"]


def test_the_job_gets_its_run_in_the_environment_and_nothing_of_its_caller(run):
    run.environ |= {"RANK": "7", "PET_NNODES": "4", "MASTER_ADDR": "elsewhere", "TRAINYARD_RUN_ID": "0" * 16}
    assert run.submit("--env", "SEED=a b;$(c)", job=["python", "tell.py", "x y", "$HOME"]).code == 0
    assert run.wait().code == 0
    assert oct(run.folder.stat().st_mode & 0o777) == "0o700", "nobody else looks into it"
    told = json.loads(run.log())
    cores = len(os.sched_getaffinity(0))
    assert (
        told["environ"].items()
        >= {
            "TRAINYARD_RUN_ID": run.run_id,
            "TRAINYARD_RUN_DIR": str(run.folder),
            "TRAINYARD_CHECKPOINTS": str(run.folder / "checkpoints"),
            "TRAINYARD_ATTEMPT": "0",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": str(cores),
            "SEED": "a b;$(c)",
        }.items()
    )
    assert not {"RANK", "PET_NNODES", "MASTER_ADDR", "TRAINYARD_RUNNER_ENV"} & told["environ"].keys()
    assert told["argv"] == ["x y", "$HOME"]
    assert told["stdin_null"]
    log = str(run.folder / "logs" / "attempt-0000.log")
    opened = {number: path for number, path in told["files"].items() if not path.startswith("/proc/")}
    assert opened == {"0": "/dev/null", "1": log, "2": log}


def test_the_users_own_interface_and_thread_count_win(run):
    run.environ["GLOO_SOCKET_IFNAME"] = "eth7"
    run.submit("--env", "OMP_NUM_THREADS=5", "--checkpoints", str(run.folder / "elsewhere"), job=["python", "tell.py"])
    run.wait()
    environ = json.loads(run.log())["environ"]
    assert (environ["GLOO_SOCKET_IFNAME"], environ["OMP_NUM_THREADS"]) == ("eth7", "5")
    assert environ["TRAINYARD_CHECKPOINTS"] == str(run.folder / "elsewhere")


def test_the_same_submit_again_changes_nothing_while_it_runs_and_after_it_finished(run):
    first = run.submit("--stop-grace-s", "5", job=[*FAMILY, "--saves", "--then", "0"])
    assert first.document["changed"] and first.data["run_id"] == run.run_id
    run.pid("job")
    for more in ([], ["--resume"]):
        again = run.submit("--stop-grace-s", "5", *more, job=[*FAMILY, "--saves", "--then", "0"])
        assert (again.code, again.document["changed"], again.data["run_id"]) == (0, [], run.run_id)
        assert again.data["supervisor_pid"] == first.data["supervisor_pid"]
    assert len(run.events("attempt")) == 1


@pytest.mark.parametrize("more", [[], ["--resume"]])
def test_a_finished_run_says_so_and_is_not_started_again(run, more):
    run.submit(job=["python", "attempts.py", "0"])
    run.wait()
    again = run.submit(*more, job=["python", "attempts.py", "0"])
    assert (again.code, again.document["changed"], again.data["state"]) == (0, [], "finished")
    assert len(run.events("attempt")) == 1


@pytest.mark.parametrize(
    ("options", "job", "named"),
    [
        (["--max-restarts", "1"], FAMILY, "max_restarts"),
        (["--env", "SEED=2"], FAMILY, "env SEED"),
        ([], [*FAMILY, "--deaf"], "command"),
        (["--run-id", "f" * 16], FAMILY, "belongs to run"),
    ],
)
def test_another_specification_is_a_conflict_that_names_the_difference(run, options, job, named):
    run.submit(job=FAMILY)
    run.pid("job")
    other = run.submit(*options, job=job)
    assert (other.code, other.error["code"]) == (5, "conflict")
    assert named in other.error["message"]
    assert len(run.events("attempt")) == 1


@pytest.mark.parametrize("word", ["3", "wait"])
def test_an_ended_run_is_started_again_only_with_resume(run, word):
    job = ["python", "attempts.py", word, "0"]
    run.submit("--max-restarts", "0", job=job)
    if word == "wait":
        run.stop()
    state = run.wait().data["state"]
    refused = run.submit("--max-restarts", "0", job=job)
    assert refused.code == 5 and state in refused.error["message"] and "--resume" in refused.error["hint"]
    resumed = run.submit("--max-restarts", "0", "--resume", job=job)
    assert resumed.code == 0 and resumed.document["changed"]
    done = run.wait()
    assert (done.code, done.data["attempt"], done.data["state"]) == (0, 1, "finished")
    assert "attempt 1, step 1: 0" in run.log(1)


@pytest.mark.parametrize(("word", "state"), [("0", "finished"), ("3", "failed")])
def test_an_ended_run_goes_on_as_the_call_says_where_its_changes_are_accepted(run, word, state):
    run.submit("--max-restarts", "0", job=["python", "attempts.py", word])
    assert run.wait().data["state"] == state
    changed = {"job": ["python", "attempts.py", word, "0"]}
    refused = run.submit("--max-restarts", "1", "--resume", **changed)
    assert refused.code == 5 and "command" in refused.error["message"] and "--accept-changes" in refused.error["hint"]
    accepted = ("--max-restarts", "1", "--resume", "--accept-changes")
    assert run.submit(*accepted, "--dry-run", **changed).data["would_start"] is True
    resumed = run.submit(*accepted, **changed)
    assert resumed.code == 0 and resumed.document["changed"] and resumed.data["run_id"] == run.run_id
    done = run.wait()
    assert (done.code, done.data["attempt"], done.data["state"], done.data["max_restarts"]) == (0, 1, "finished", 1)


def test_accepted_changes_move_no_checkpoints_and_touch_no_living_run(run):
    run.submit(job=FAMILY)
    run.pid("job")
    alive = run.submit("--resume", "--accept-changes", job=[*FAMILY, "--deaf"])
    assert alive.code == 5 and "command" in alive.error["message"]
    run.stop()
    moved = run.submit("--resume", "--accept-changes", "--checkpoints", str(run.folder / "elsewhere"), job=FAMILY)
    assert moved.code == 5 and "checkpoints" in moved.error["message"]
    assert run.submit("--accept-changes", job=FAMILY).code == 2
    assert len(run.events("attempt")) == 1


def test_the_call_that_status_prints_resumes_the_run_as_it_stands(run):
    job = ["python", "attempts.py", "3", "0", "a b", "$HOME"]
    run.submit("--max-restarts", "0", "--stop-grace-s", "7.5", "--env", "SEED=a b", job=job)
    run.wait()
    pasted = shlex.split(run.call("status", str(run.folder)).document["next"][-1])
    assert pasted[0] == "run_local.py"
    resumed = run.call(*pasted[1:])
    assert resumed.code == 0 and resumed.document["changed"], resumed
    assert run.wait().data["attempt"] == 1


def test_five_submits_at_once_make_one_supervisor(run):
    words = run.submit_words(job=FAMILY)
    callers = [run.popen(*words) for _ in range(5)]
    answers = [json.loads(caller.communicate(timeout=60)[0]) for caller in callers]
    assert [caller.returncode for caller in callers] == [0] * 5, answers
    assert len([answer for answer in answers if answer["changed"]]) == 1
    assert len({answer["data"]["supervisor_pid"] for answer in answers}) == 1
    run.pid("job")
    assert len(run.processes()) == 2, "the supervisor and the job"


def test_a_second_supervisor_cannot_start_beside_the_first(run):
    run.submit(job=FAMILY)
    program = Path(run.environ["JOBS"]).parents[3] / "skills" / "local-runner" / "src" / "local_supervisor.py"
    with (run.folder / "runner.lock").open("rb+") as lock:
        arguments = [sys.executable, str(program), str(run.folder), str(lock.fileno())]
        second = subprocess.run(arguments, env=run.environ, pass_fds=[lock.fileno()], capture_output=True, text=True)
    assert second.returncode != 0 and "BlockingIOError" in second.stderr


def test_the_supervisor_survives_the_death_of_its_callers_whole_group(run, is_alive):
    caller = run.popen(*run.submit_words(job=FAMILY), start_new_session=True)
    job = run.pid("job")
    with contextlib.suppress(ProcessLookupError):  # it may have returned already
        os.killpg(caller.pid, signal.SIGKILL)
    caller.communicate(timeout=60)
    assert is_alive(job)
    assert run.status()["state"] == "running"


def test_dry_run_shows_what_would_be_started_and_writes_nothing(run):
    shown = run.submit("--dry-run", "--procs", "2", "--env", "HF_TOKEN=hush", job=["torchrun", "tell.py", "--nnodes", "3"])
    assert shown.code == 0 and shown.data["would_start"] and shown.document["changed"] == []
    assert shown.data["arguments"] == [sys.executable, "-m", "torch.distributed.run", "tell.py", "--nnodes", "3"]
    assert shown.data["environment"]["PET_NPROC_PER_NODE"] == "2"
    assert "hush" not in json.dumps(shown.document)
    assert not run.folder.exists()


def test_a_value_whose_name_sounds_secret_reaches_the_job_and_no_file(run):
    job = ["python", "tell.py"]
    run.submit("--env", "HF_TOKEN=hush-hush", job=job)
    run.wait()
    assert json.loads(run.log())["environ"]["HF_TOKEN"] == "hush-hush"
    ours = [path for path in run.folder.rglob("*") if path.is_file() and path.parent.name != "logs"]
    assert ours and not any(b"hush-hush" in path.read_bytes() for path in ours)
    assert run.submit("--env", "HF_TOKEN=other", job=job).code == 5, "the digest still tells two values apart"


@pytest.mark.parametrize("given", ["NPM_AUTH=hush-hush", "NOTE=hf_abcdefghijklmnop"])
def test_any_secret_is_hidden_and_a_resume_of_an_older_run_that_showed_it_goes_on(run, given):
    name, _, value = given.partition("=")
    job = ["python", "tell.py"]
    assert value not in json.dumps(run.submit("--env", given, "--dry-run", job=job).document)
    run.submit("--env", given, job=job)
    run.wait()
    spec = json.loads((run.folder / "runner-spec.json").read_text())
    assert spec["env"][name].startswith("sha256:")
    spec["env"][name] = value  # as a version with a shorter list wrote it
    (run.folder / "runner-spec.json").write_text(json.dumps(spec))
    assert value not in json.dumps(run.call("status").document)
    assert run.submit("--env", f"{name}=other-value", job=job).code == 5
    assert run.submit("--env", given, job=job).code == 0


def test_a_secret_in_the_command_is_refused_and_not_repeated(run):
    for job in (["python", "tell.py", "--api-key", "hush"], ["env", "HF_TOKEN=hush", "python", "tell.py"]):
        answer = run.submit(job=job)
        assert answer.code == 2 and "hush" not in json.dumps(answer.document) and not run.folder.exists()


@pytest.mark.parametrize(
    ("options", "job", "code", "says"),
    [
        (["--name", "Tiny_LM"], FAMILY, 2, "Tiny_LM"),
        (["--name", "a" * 41], FAMILY, 2, "at most 40"),
        (["--name", "9lives"], FAMILY, 2, "letter first"),
        (["--run-id", "xyz"], FAMILY, 2, "16 hex"),
        (["--procs", "0"], FAMILY, 2, "--procs"),
        (["--procs", "many"], FAMILY, 2, "auto"),
        (["--procs", "2"], FAMILY, 2, "cannot be 2 processes"),
        (["--stop-grace-s", "nan"], FAMILY, 2, "nan"),
        (["--env", "1X=2"], FAMILY, 2, "NAME=VALUE"),
        (["--env", "X"], FAMILY, 2, "NAME=VALUE"),
        (["--env", "PET_NNODES=2"], FAMILY, 2, "runner sets"),
        (["--env", "TRAINYARD_RUN_ID=2"], FAMILY, 2, "runner sets"),
        (["--workdir", "/no/such/folder"], FAMILY, 3, "/no/such/folder"),
        (["--python", "/no/such/python"], FAMILY, 3, "no program"),
        (["--checkpoints", __file__], FAMILY, 2, "is a file"),
        ([], ["python", "missing.py"], 3, "missing.py"),
        ([], ["torchrun", "missing.py"], 3, "missing.py"),
        ([], ["no-such-program-here"], 3, "no-such-program-here"),
        ([], [], 2, "COMMAND"),
        (["--run-dir", __file__], FAMILY, 2, "is a file"),
        (["--run-dir", __file__ + "/below"], FAMILY, 2, "is a file"),
        (["--run-dir", "/proc/nowhere"], FAMILY, 4, "/proc/nowhere"),
    ],
)
def test_bad_input_is_refused_with_a_hint_before_anything_is_written(run, options, job, code, says):
    refused = run.submit(*options, job=job)
    assert (refused.code, refused.document["ok"]) == (code, False), refused
    assert says in refused.error["message"] and refused.error["hint"]
    assert not run.folder.exists()


def test_a_python_without_torch_is_refused_for_torchrun_alone(run, tmp_path):
    bare = tmp_path / "bare" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare.parents[1])], check=True)
    refused = run.submit("--python", str(bare), job=["torchrun", "tell.py"])
    assert (refused.code, refused.error["code"]) == (8, "dependency")
    assert "has no torch" in refused.error["message"]
    assert run.submit("--python", str(bare), job=["python", "tell.py"]).code == 0


def test_programs_beside_the_jobs_python_are_found_by_their_names(run, tmp_path):
    """As in an activated environment; with a PATH of the user's own that one is taken as it is."""
    bare = tmp_path / "bare" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(bare.parents[1])], check=True)
    tool = bare.with_name("a-tool")
    tool.write_text("#!/bin/sh\necho the tool of the job\n")
    tool.chmod(0o755)
    words = ["python", "-c", "import os, shutil; print(shutil.which('a-tool')); print(os.environ['PATH'])"]
    assert run.submit("--python", str(bare), job=words).code == 0
    assert run.wait().code == 0
    assert run.log().splitlines() == [str(tool), f"{bare.parent}:{os.environ['PATH']}"]


def test_the_jobs_own_words_never_steer_this_program(run):
    assert run.submit(job=["python", "tell.py", "--format", "table", "--help", "stop", "--dry-run"]).code == 0
    assert run.wait().code == 0
    assert json.loads(run.log())["argv"] == ["--format", "table", "--help", "stop", "--dry-run"]


def test_a_damaged_runner_json_is_a_clear_refusal(run):
    run.submit(job=["python", "attempts.py", "0"])
    run.wait()
    (run.folder / "runner.json").write_text("{")
    refused = run.call("status", str(run.folder))
    assert refused.code == 5 and "runner.json" in refused.error["message"]
