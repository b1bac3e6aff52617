"""Logs of launchers other than torchrun, and errors that a job logs and survives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.calling import SKILLS, call

PROGRAM = SKILLS / "monitor" / "src" / "diagnose_training.py"
STEPS = "".join(f"{{'loss': 1.{number}, 'step': {number}, 'epoch': 0.1}}\n" for number in range(1, 9))
KILLING = "[2026-11-27 11:02:14,118] [INFO] [launch.py:319:sigkill_handler] Killing subprocess 1200\n"
LEFT = "[2026-11-27 11:02:16,602] [ERROR] [launch.py:325:sigkill_handler] ['python', '-u', 'x.py', '--local_rank={}'] exits with return code = {}\n"
MPI = "mpirun noticed that process rank 6 with PID 0 on node worker-1 exited on signal {}.\n"
PRTE = """Primary job  terminated normally, but 1 process returned a non-zero exit code.
prterun detected that one or more processes exited with non-zero status, thus causing the job to be terminated. The first process to do so was:

   Process name: [prterun-head-71@1,5]
   Exit code:    77
"""
HOROVOD = '[1,{0}]<stderr>:Traceback (most recent call last):\n[1,{0}]<stderr>:  File "t.py", line 8, in train\n[1,{0}]<stderr>:horovod.common.exceptions.HorovodInternalError: Horovod has been shut down.\n'
PEER = '{0}: [rank{0}]: Traceback (most recent call last):\n{0}: [rank{0}]:   File "t.py", line 8, in train\n{0}: [rank{0}]: RuntimeError: Connection closed by peer [10.0.0.1]:4231\n'
SRUN = "srun: error: gpu-b07: task 5: {}\nsrun: error: gpu-b07: tasks 4,6-7: Terminated\n"
SPAWNED = "torch.multiprocessing.spawn.ProcessExitedException: process 2 terminated with signal SIGKILL\n"
RAISED = """Traceback (most recent call last):
  File "m.py", line 9, in <module>
    mp.spawn(f, nprocs=4)
torch.multiprocessing.spawn.ProcessRaisedException:

-- Process 2 terminated with the following error:
Traceback (most recent call last):
  File "t.py", line 8, in train
ValueError: bad sample 17
"""
CHILD = "[rank: 1] Child process with PID 4242 terminated with code -9. Forcefully terminating all other processes to avoid zombies\n"
CANCELLED = "slurmstepd: error: *** JOB 4411 ON gpu-b06 CANCELLED AT 2026-11-27T11:02:19{} ***\n"
RAISES = "".join(
    f"(RayTrainWorker pid=1203, ip=10.0.0.5) [rank3]: {line}\n"
    for line in ("Traceback (most recent call last):", '  File "t.py", line 8, in train', "ValueError: bad sample 17")
)
SNIPPETS = """[Rank 1 Error Snippet]:
Traceback (most recent call last):
  File "t.py", line 9, in train
torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3356, remote process exited or there was a network error
[Rank 2 Error Snippet]:
Traceback (most recent call last):
  File "t.py", line 8, in collate
KeyError: 'answer_start'
"""
PDSH = """gpu-12: [rank11]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 4.63 GiB. GPU 3 has a total capacity of 79.11 GiB
gpu-12: [2026-11-27 10:40:21,877] [ERROR] [launch.py:325:sigkill_handler] ['python', '-u', 'x.py', '--local_rank=7'] exits with return code = 1
pdsh@gpu-11: gpu-12: ssh exited with exit code 1
"""
ACTOR = """ray.exceptions.ActorDiedError: The actor died unexpectedly before finishing this task.
	class_name: RayTrainWorker
The actor is dead because its worker process has died. Worker exit type: SYSTEM_ERROR
"""
COMPOSER = """Global rank 8 (PID 2101) exited with code -15
----------Begin global rank 8 STDERR----------
----------End global rank 8 STDERR----------
Global rank 11 (PID 2104) exited with code 1
----------Begin global rank 11 STDERR----------
Traceback (most recent call last):
  File "train.py", line 9, in train
KeyError: 'answer_start'
----------End global rank 11 STDERR----------
ERROR:composer.cli.launcher:Rank 8 crashed with exit code -15.
"""
JSRUN = "ERROR:  One or more process (first noticed rank 11) terminated with signal {}\n"
LSF = "\nThe output (if any) is above this job summary.\n\n{}\nExited with exit code 137.\n"
ENDED = {
    "composer": (STEPS + COMPOSER, ("script-error", 11)),
    "jsrun": (STEPS + JSRUN.format(11), ("segfault", 11)),
    "lsf, memory": (
        STEPS + JSRUN.format(9) + LSF.format("TERM_MEMLIMIT: job killed after reaching LSF memory usage limit."),
        ("host-oom", 11),
    ),
    "lsf, time": (STEPS + LSF.format("TERM_RUNLIMIT: job killed after reaching LSF run time limit."), ("deadline", "all")),
    "deepspeed": (STEPS + KILLING + LEFT.format(3, -11), ("segfault", 3)),
    "deepspeed, killed": (STEPS + KILLING + LEFT.format(1, -9), ("killed", 1)),
    "mpirun": (STEPS + HOROVOD.format(2) + HOROVOD.format(0) + MPI.format("9 (Killed)"), ("killed", 6)),
    "mpirun, core": (STEPS + MPI.format("11 (Segmentation fault)"), ("segfault", 6)),
    "prterun": (STEPS + PRTE, ("script-error", 5)),
    "srun, memory": (STEPS + PEER.format(4) + SRUN.format("Out Of Memory"), ("host-oom", 5)),
    "srun, killed": (STEPS + PEER.format(4) + SRUN.format("Killed"), ("killed", 5)),
    "srun, core": (STEPS + SRUN.format("Segmentation fault (core dumped)"), ("segfault", 5)),
    "spawned": (STEPS + SPAWNED, ("killed", 2)),
    "spawned, raised": (STEPS + RAISED, ("script-error", 2)),
    "lightning": (STEPS + CHILD, ("killed", 1)),
    "slurm's time": (STEPS + CANCELLED.format(" DUE TO TIME LIMIT"), ("deadline", "all")),
    "slurm's preemption": (STEPS + CANCELLED.format(" DUE TO PREEMPTION"), ("preempted", "all")),
    "slurm's node": (STEPS + CANCELLED.format(" DUE TO NODE gpu-b07 FAILURE"), ("node-lost", "any")),
    "scancel": (STEPS + CANCELLED.format(""), ("stopped-by-user", "all")),
    "ray, a rank raises": (STEPS + RAISES, ("script-error", 3)),
    "ray, a worker gone": (STEPS + ACTOR, ("killed", "any")),
    "ray, a node gone": (STEPS + "ray.exceptions.NodeDiedError: The node (10.0.0.5) died\n", ("node-lost", "any")),
    "ray, snippets": (STEPS + SNIPPETS, ("script-error", 2)),
    "pdsh": (STEPS + PDSH, ("gpu-oom", 11)),
    "ctrl-c": (STEPS + "\nDetected KeyboardInterrupt, attempting graceful shutdown ...\n", ("stopped-by-user", "any")),
    "a shell's word": (STEPS + "bash: line 1:    17 Segmentation fault      (core dumped) python t.py\n", ("segfault", "any")),
    "no word that is known": (STEPS + "fabric manager: unexpected state 7, cannot continue\n", ("unknown", "any")),
    "a broken connection alone": (STEPS + PEER.format(4), None),
}


def test_hosts_in_front_of_lines_are_nodes(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text(STEPS + PDSH)
    assert call(PROGRAM, "doctor", tmp_path / "train.log").data["root"]["node"] == "gpu-12"


def judged(folder: Path, log: str) -> tuple[str, Any]:
    (folder / "train.log").write_text(log)
    root = call(PROGRAM, "doctor", folder / "train.log").data["root"]
    return root["cause"], root["rank"]


@pytest.mark.parametrize("name", sorted(ENDED))
def test_the_rank_that_its_launcher_names(tmp_path: Path, name: str) -> None:
    log, expected = ENDED[name]
    told = judged(tmp_path, log)
    assert told == expected if expected else told[0] != "none", "a log that ends in broken connections is not of a healthy job"


RECORD = "2026-11-30 11:48:0{},964 [rank 0] {} finetune: {}\n"
TRACEBACK = 'Traceback (most recent call last):\n  File "up.py", line 7, in put\nConnectionRefusedError: [Errno 111] Connection refused\n'
CHAINED = f"{TRACEBACK}\nDuring handling of the above exception, another exception occurred:\n\n" + TRACEBACK.replace(
    "ConnectionRefusedError: [Errno 111]", "botocore.exceptions.EndpointConnectionError: Could not connect to the endpoint URL:"
)
GOES_ON = RECORD.format(2, "INFO", "finished")
LOGGED = RECORD.format(1, "ERROR", "upload of step 8 failed, kept here")
EPOCHS = "".join(f"Epoch: [0][{number:3}/40]  Loss 2.4e-01 (2.4e-01)  Acc@1  2.00\n" for number in range(4, 21, 4))
AGAIN = "process 1: no store at 127.0.0.1:33181 after {} s: [Errno 111] Connection refused, trying again\n"
LOGURU = "2026-11-30 11:48:01.964 | ERROR    | __main__:up:7 - upload failed\n"
IGNORED = """Exception ignored in: <function _MultiProcessingDataLoaderIter.__del__ at 0x7f>
Traceback (most recent call last):
  File "dataloader.py", line 1478, in __del__
    self._shutdown_workers()
AssertionError: can only test a child process
"""
WRITTEN_OVER = """Exception ignored in atexit callback: <function main.<locals>.<lambda> at 0x7f>
Traceback (most recent call last):
  File "t.py", line 53, in <lambda>
    atexit.register(lambda: [][0])
IndexError: list index out of range
IndexError: list index out of range
                            ~~^^^
"""
LEAKED = """/usr/lib/python3.11/multiprocessing/resource_tracker.py:224: UserWarning: resource_tracker: There appear to be 12 leaked semaphore objects
  warnings.warn('resource_tracker: There appear to be %d '
[rank0]:[W1130 11:48:01.000000000 ProcessGroupNCCL.cpp:1250] Warning: WARNING: process group has NOT been destroyed
"""
SURVIVED = {
    "logged": STEPS + LOGGED + TRACEBACK + GOES_ON,
    "logged with its cause": STEPS + LOGGED + CHAINED + GOES_ON,
    "loguru": STEPS + LOGURU + TRACEBACK + LOGURU.replace("ERROR ", "INFO  ").replace("upload failed", "finished"),
    "the end of the interpreter": STEPS + "Training done.\n" + IGNORED,
    "the ends of several interpreters": STEPS + "Training done.\n" + WRITTEN_OVER,
    "leaked semaphores": STEPS + LEAKED,
    "tried again": AGAIN.format(1) + AGAIN.format(3) + EPOCHS,
    "tried again before any step": AGAIN.format(1) + RECORD.format(2, "INFO", "the store is there; " + "reading shards " * 20),
}
ENDS_IN_IT = {
    "logged last": STEPS + LOGGED + TRACEBACK,
    "not logged": STEPS + TRACEBACK + GOES_ON,
    "tried in vain": AGAIN.format(1) + AGAIN.format(3),
    "logged, and another rank writes on": STEPS + LOGGED + TRACEBACK + GOES_ON.replace("rank 0", "rank 1"),
}


@pytest.mark.parametrize("name", sorted(SURVIVED))
def test_what_was_handled_is_no_cause(tmp_path: Path, name: str) -> None:
    assert judged(tmp_path, SURVIVED[name])[0] == "none"


@pytest.mark.parametrize("name", sorted(ENDS_IN_IT))
def test_what_a_log_ends_in_is_one(tmp_path: Path, name: str) -> None:
    assert judged(tmp_path, ENDS_IN_IT[name])[0] != "none"
