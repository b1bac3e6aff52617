"""accelerate and deepspeed under the runner: their ranks, and whose topology counts."""

from __future__ import annotations

import base64
import json
import sys

import pytest

REFUSED = [
    (["python", "-m", "torch.distributed.run", "--nproc-per-node=2"], "--procs"),
    (["python3", "-u", "-m", "torch.distributed.launch", "--nnodes", "1"], "leave it out"),
    (["/opt/venv/bin/torchrun", "--standalone"], "leave it out"),
    (["/opt/venv/bin/python", "-m", "torch.distributed.run", "--max-restarts", "2"], "--max-restarts N"),
    (["accelerate", "launch", "--num_processes", "2"], "--procs"),
    (["accelerate", "launch", "--mixed_precision", "bf16", "--multi_gpu"], "--procs"),
    (["accelerate-launch", "--main-process-port=0"], "leave it out"),
    (["python", "-m", "accelerate.commands.launch", "--max_restarts=3"], "--max-restarts N"),
    (["accelerate", "launch", "--rdzv_backend", "static"], "leave it out"),
    (["deepspeed", "--num_gpus", "8"], "--procs"),
    (["deepspeed", "--hostfile=hosts"], "leave it out"),
    (["deepspeed", "-i", "localhost:0"], "CUDA_VISIBLE_DEVICES"),
    (["python", "-m", "deepspeed.launcher.runner", "--master_port", "29501"], "leave it out"),
]
CONFIG = """
compute_environment: LOCAL_MACHINE
distributed_type: MULTI_GPU
num_processes: 7
num_machines: 2
machine_rank: 1
main_process_ip: 10.0.0.1
main_process_port: 1234
gpu_ids: '0'
mixed_precision: bf16
"""
DEEPSPEED_LAUNCH = """
import argparse, base64, json, os, subprocess, sys
parser = argparse.ArgumentParser()
for name in ("--world_info", "--master_addr", "--master_port", "--log_level"):
    parser.add_argument(name)
parser.add_argument("--no_local_rank", action="store_true")
parser.add_argument("script")
parser.add_argument("words", nargs=argparse.REMAINDER)
args = parser.parse_args()
devices = json.loads(base64.urlsafe_b64decode(args.world_info))["localhost"]
env = {**os.environ, "MASTER_ADDR": args.master_addr, "MASTER_PORT": args.master_port, "WORLD_SIZE": str(len(devices))}
command = [sys.executable, args.script, *args.words]
ranks = [subprocess.Popen(command, env={**env, "RANK": str(rank)}) for rank in range(len(devices))]
sys.exit(max(rank.wait() for rank in ranks))
"""


@pytest.mark.parametrize(("words", "hint"), REFUSED)
def test_topology_in_the_command_is_refused_whatever_the_launcher_is_called(run, words, hint):
    refused = run.submit(job=[*words, "tell.py"])
    assert (refused.code, refused.error["code"]) == (2, "usage"), refused
    assert hint in refused.error["hint"] and not run.folder.exists()


@pytest.mark.parametrize(
    ("job", "starts"),
    [
        (
            ["python", "-u", "-m", "torch.distributed.run", "--tee=3", "tell.py", "--nnodes", "2"],
            ["-u", "-m", "torch.distributed.run"],
        ),
        (["python3", "-m", "torch.distributed.launch", "--use-env", "tell.py"], ["-m", "torch.distributed.launch"]),
        ([sys.executable, "-X", "dev", "-m", "torch.distributed.run", "tell.py"], ["-X", "dev", "-m", "torch.distributed.run"]),
    ],
)
def test_torchrun_by_its_modules_gets_the_runners_topology(run, job, starts):
    shown = run.submit("--dry-run", "--procs", "2", job=job).data
    assert shown["arguments"] == [sys.executable, *starts, *job[job.index(starts[-1]) + 1 :]]
    assert (shown["environment"]["PET_NPROC_PER_NODE"], shown["environment"]["PET_STANDALONE"]) == ("2", "1")


def test_accelerate_launch_brings_up_the_ranks_asked_for_whatever_its_config_file_says_and_they_come_back(run, tmp_path):
    (tmp_path / "config.yaml").write_text(CONFIG)
    job = ["accelerate", "launch", "--config_file", str(tmp_path / "config.yaml"), "accelerated.py"]
    run.submit("--procs", "2", job=job)
    done = run.wait()
    assert (done.data["state"], done.data["restarts"]) == ("finished", 1), run.log(1)
    for attempt in (0, 1):
        told = sorted(line for line in run.log(attempt).splitlines() if line.startswith("rank "))
        assert told == ["rank 0 of 2, bf16", "rank 1 of 2, bf16"]
    assert "rank 1 killed by SIGKILL" in run.events("attempt-ended")[0]["reason"]


def test_accelerate_launch_with_one_process_is_that_process(run):
    run.submit(job=["accelerate", "launch", "--cpu", "accelerated.py"])
    assert run.wait().code == 0
    assert "rank 0 of 1, no" in run.log()


def test_deepspeeds_ranks_get_their_devices_and_a_port_that_is_free(run, tmp_path):
    """A stand-in that takes what deepspeed.launcher.launch 0.19 takes: deepspeed itself is not installed here."""
    package = tmp_path / "packages" / "deepspeed" / "launcher"
    package.mkdir(parents=True)
    (package.parent / "__init__.py").touch()
    (package / "launch.py").write_text(DEEPSPEED_LAUNCH)
    run.environ |= {"PYTHONPATH": str(tmp_path / "packages"), "CUDA_VISIBLE_DEVICES": "4,GPU-7,6"}
    job = ["deepspeed", "--no_local_rank", "tell.py", "--deepspeed_config", "ds.json"]
    shown = run.submit("--dry-run", "--procs", "2", job=job).data
    given = dict(word.partition("=")[::2] for word in shown["arguments"] if word.startswith("--") and "=" in word)
    assert json.loads(base64.urlsafe_b64decode(given["--world_info"])) == {"localhost": [4, "GPU-7"]}
    assert int(given["--master_port"]) > 1024 and given["--master_addr"] == "127.0.0.1"
    run.submit("--procs", "2", job=job)
    assert run.wait().code == 0, run.log()
    told = [json.loads(line) for line in run.log().splitlines() if line.startswith("{")]
    assert sorted(one["environ"]["RANK"] for one in told) == ["0", "1"]
    assert told[0]["argv"] == ["--deepspeed_config", "ds.json"]


def test_a_launcher_that_the_jobs_python_lacks_is_named(run):
    refused = run.submit("--procs", "2", job=["deepspeed", "tell.py"])
    assert (refused.code, refused.error["code"]) == (8, "dependency")
    assert "has no deepspeed" in refused.error["message"]


@pytest.mark.parametrize("word", ["cd", "source", "export"])
def test_a_word_of_the_shell_is_no_program(run, word):
    refused = run.submit(job=[word, "data"])
    assert (refused.code, refused.error["code"]) == (3, "not-found")
    assert "a word of the shell" in refused.error["message"] and "bash -c" in refused.error["hint"]


def test_a_folder_or_a_file_that_may_not_be_executed_is_no_program(run, tmp_path):
    (tmp_path / "notes").write_text("x")
    for path, why in ((tmp_path, "is a folder"), (tmp_path / "notes", "may not be executed")):
        refused = run.submit(job=[str(path)])
        assert refused.code == 3 and why in refused.error["message"]
