"""Under real torchrun: the topology, one layer of restarts with one counter, and no worker that lives on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest


def wait_for_ranks(run, wait_for) -> dict[int, int]:
    """Pid by rank, once both ranks of the first attempt have said that they run."""
    return {rank: wait_for(lambda rank=rank: run.start_of(f"{rank}-0"), f"rank {rank}") for rank in (0, 1)}


def pidfds(pid: int) -> int:
    return sum("pidfd" in str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir())


HINTS = {
    "--nproc-per-node=2": "--procs",
    "--nproc_per_node": "--procs",
    "--nproc": "--procs",
    "--max-restarts": "--max-restarts N",
    "--shutdown-timeout": "--stop-grace-s",
    "--nnodes": "leave it out",
    "--standalone": "leave it out",
    "--rdzv-endpoint": "leave it out",
    "--master-port": "leave it out",
    "--no-such-option": "script comes first",
    "--n": "it may mean",
}


@pytest.mark.parametrize("flag", HINTS)
def test_topology_in_the_command_is_refused_with_the_option_to_use(run, flag):
    refused = run.submit(job=["torchrun", "--tee", "3", flag, "1", "worker.py"])
    assert (refused.code, refused.error["code"]) == (2, "usage")
    assert HINTS[flag] in refused.error["hint"]


@pytest.mark.parametrize(
    "job",
    [
        ["torchrun", "worker.py", "--nnodes", "2"],
        ["torchrun", "-r3", "--tee=3", "worker.py"],
        ["torchrun", "-m", "package.module", "--standalone"],
        ["python", "-m", "trainyard.launch", "worker.py"],
    ],
)
def test_the_scripts_own_options_and_harmless_ones_pass(run, job):
    shown = run.submit("--dry-run", job=job)
    assert shown.code == 0
    words = job[3:] if job[0] == "python" else job[1:]
    assert shown.data["arguments"][1:] == ["-m", "torch.distributed.run", *words]


def test_two_ranks_finish_and_know_their_place(run):
    run.submit("--procs", "2", "--max-restarts", "2", job=["torchrun", "tell.py"])
    assert run.wait().code == 0, run.log()
    told = [json.loads(line)["environ"] for line in run.log().splitlines() if line.startswith("{")]
    assert sorted((environ["RANK"], environ["WORLD_SIZE"]) for environ in told) == [("0", "2"), ("1", "2")]
    assert {environ["TRAINYARD_RUN_ID"] for environ in told} == {run.run_id}
    assert {(environ["PET_MAX_RESTARTS"], environ["PET_SHUTDOWN_TIMEOUT"]) for environ in told} == {("0", "48")}
    assert {environ["OMP_NUM_THREADS"] for environ in told} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}


def test_one_counter_bounds_a_killed_worker_and_a_killed_torchrun(run, wait_for):
    run.submit("--procs", "2", "--max-restarts", "2", job=["torchrun", "worker.py", "wait", "wait", "5"])
    ranks = wait_for_ranks(run, wait_for)
    os.kill(ranks[1], signal.SIGKILL)
    workers = {wait_for(lambda name=name: run.start_of(name), name) for name in ("0-1", "1-1")}
    assert (run.runner()["restarts"], run.runner()["attempt"]) == (1, 1)
    run.kill_launcher()
    done = run.wait()
    assert (done.data["state"], done.data["restarts"], done.data["attempt"]) == ("failed", 2, 2)
    assert "exited with 5" in done.data["reason"] and "max_restarts (2) is used up" in done.data["reason"]
    assert not (run.folder / "starts" / "0-3").exists()
    assert not {*ranks.values(), *workers} & run.processes()
    reasons = [event["reason"] for event in run.events("attempt-ended")]
    assert "rank 1 killed by SIGKILL" in reasons[0] and reasons[1].startswith("killed by SIGKILL")
    assert [event["restarts"] for event in run.events("restart-scheduled")] == [1, 2]


def test_a_rank_that_cannot_hear_sigterm_does_not_hold_up_the_restart_of_a_dead_one(run, wait_for):
    run.submit("--procs", "2", job=["torchrun", "deaf.py"])
    ranks = wait_for_ranks(run, wait_for)
    wait_for(lambda: run.log().count("deaf") == 2, "both ranks to be deaf")
    wait_for(lambda: pidfds(run.runner()["supervisor"]["pid"]) == 2, "the supervisor to know them")
    os.kill(ranks[0], signal.SIGKILL)
    assert run.wait().data["restarts"] == 1
    log = (run.folder / "supervisor.log").read_text()
    assert "a rank failed, and the others did not end: SIGKILL" in log
    assert "forcefully exiting" not in run.log(), "torchrun would have done it after 30 s"


def test_a_group_that_the_script_makes_itself_comes_back_after_each_kill(run):
    run.submit("--procs", "2", "--max-restarts", "2", job=["torchrun", "own_init.py", "1", "2"])
    done = run.wait()
    assert (done.data["state"], done.data["restarts"], done.data["attempt"]) == ("finished", 2, 2), run.log(2)
    assert (run.folder / "finished").exists()
    ended = [(event["exit_code"], "killed by SIGKILL" in event["reason"]) for event in run.events("attempt-ended")]
    assert ended == [(1, True), (1, True), (0, False)]


def test_workers_end_with_torchrun_when_the_supervisor_is_killed(run, wait_for):
    run.submit("--procs", "2", job=["torchrun", "worker.py", "wait"])
    wait_for_ranks(run, wait_for)
    assert len(run.status()["ranks"]) == 2
    os.kill(run.runner()["supervisor"]["pid"], signal.SIGKILL)
    assert run.wait().data["state"] == "lost"
    assert run.processes() == set()
