"""Under real torchrun: the topology, both layers of restarts with one counter, and no worker that lives on."""

from __future__ import annotations

import json
import os
import signal

import pytest

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
    assert {(environ["PET_MAX_RESTARTS"], environ["PET_SHUTDOWN_TIMEOUT"]) for environ in told} == {("2", "48")}
    assert {environ["OMP_NUM_THREADS"] for environ in told} == {str(max(1, len(os.sched_getaffinity(0)) // 2))}


def test_one_counter_bounds_a_killed_worker_and_a_killed_torchrun(run, wait_for):
    run.submit("--procs", "2", "--max-restarts", "2", job=["torchrun", "worker.py", "wait", "wait", "5"])
    wait_for(lambda: len(run.status()["ranks"]) == 2, "both ranks")
    ranks = {row["rank"]: row["pid"] for row in run.status()["ranks"]}
    assert ranks.keys() == {0, 1}
    os.kill(ranks[1], signal.SIGKILL)
    wait_for(lambda: run.runner()["restarts"] == 1, "torchrun's own restart")
    workers = {wait_for(lambda name=name: run.start_of(name), name) for name in ("0-1", "1-1")}
    run.kill_launcher()
    done = run.wait()
    assert (done.data["state"], done.data["restarts"], done.data["attempt"]) == ("failed", 2, 1)
    assert "torchrun gave up: rank" in done.data["reason"] and "exited with 5" in done.data["reason"]
    assert run.start_of("0-2")[1] == 0, "nothing was left for the second torchrun"
    assert not (run.folder / "starts" / "0-3").exists()
    assert not {pid for pid, _ in workers} & run.processes()


def test_a_script_that_reports_nothing_cannot_exceed_max_restarts(run):
    run.submit("--max-restarts", "1", job=["torchrun", "worker.py", "--silent", "3"])
    done = run.wait()
    assert (done.data["state"], done.data["restarts"]) == ("failed", 1)
    assert sorted(path.name for path in (run.folder / "starts").iterdir()) == ["0-0", "0-1"]


def test_workers_end_with_torchrun_when_the_supervisor_is_killed(run, wait_for):
    run.submit("--procs", "2", job=["torchrun", "worker.py", "wait"])
    wait_for(lambda: len(run.status()["ranks"]) == 2, "both ranks")
    os.kill(run.runner()["supervisor"]["pid"], signal.SIGKILL)
    assert run.wait().data["state"] == "lost"
    assert run.processes() == set()
