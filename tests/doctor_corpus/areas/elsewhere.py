"""Other schedulers, and what they start: LSF, Slurm, MPI, a volume of Kubernetes. Simulations in the words of public sources.

Sources: IBM Spectrum LSF's report of a job and jsrun's messages (OLCF's documentation), Slurm's srun and slurmstepd, Lightning's signal connector,
Open MPI's plm_rsh (kubeflow/mpi-operator), Kubernetes' attach-detach controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from tests.doctor_corpus.areas.nodes import OTHERS, SECOND
from tests.doctor_corpus.areas.placement import others_wait
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.rank_logs import BEGAN
from tests.doctor_corpus.truth import case

AWAY = ("RESTART_ELSEWHERE",)
NOBODY = ("any", "all", None)
REMOTE = "torch.distributed.DistBackendError: NCCL error in: /pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3690, remote process exited or there was a network error, NCCL version 2.27.5"


def when(seconds: float, layout: str = "%Y-%m-%d %H:%M:%S") -> str:
    return (BEGAN + timedelta(seconds=seconds)).strftime(layout)


def raised(where: dict[str, str], last: str, prefix: str = "") -> list[str]:
    """A traceback: the code of each place by `file", line n, in name`."""
    lines = ["Traceback (most recent call last):"]
    for place, code in where.items():
        lines += [f'  File "{place}', f"    {code}"]
    return [f"{prefix}{line}" for line in (*lines, last)]


def joined(*parts: Iterable[str]) -> str:
    return "".join(f"{line}\n" for part in parts for line in part)


LSF = """
------------------------------------------------------------
Sender: LSF System <lsfadmin@batch5>
Subject: Job 2419377: <gpt-1b3> in cluster <summit> Exited

Job <gpt-1b3> was submitted from host <login2> by user <kmarsh> in cluster <summit> at Fri Nov 27 08:58:11 2026
Job was executed on host(s) <1*batch5>, in queue <batch>, as user <kmarsh> in cluster <summit> at Fri Nov 27 09:13:40 2026
                            <42*h41n07>
                            <42*h41n08>
                            <42*h41n09>
                            <42*h41n10>
</ccs/home/kmarsh> was used as the home directory.
</gpfs/alpine/csc000/proj/gpt> was used as the working directory.
Started at Fri Nov 27 09:13:40 2026
Terminated at Fri Nov 27 10:20:03 2026
Results reported at Fri Nov 27 10:20:03 2026

The output (if any) is above this job summary.

TERM_MEMLIMIT: job killed after reaching LSF memory usage limit.
Exited with exit code 137.

Resource usage summary:

    CPU time :                                   98124.00 sec.
    Max Memory :                                 520192 MB
    Average Memory :                             371022.84 MB
    Total Requested Memory :                     -
    Max Swap :                                   -
    Max Processes :                              31
    Max Threads :                                412
    Run time :                                   3983 sec.
    Turnaround time :                            4912 sec.
"""


@case(
    "lsf-memory-limit",
    cause="host-oom",
    rank=11,
    also_rank=("any", None),
    restart="RESTART",
    also_restart=("STOP",),
    real=False,
    proof="TERM_MEMLIMIT",
)
def lsf(bench: Bench) -> None:
    """LSF ends a jsrun job of 24 ranks at its memory limit: jsrun first notices that rank 11 is gone, three others tell that they lost it."""
    lines = [
        f"[Rank {rank:2d}] h41n{7 + rank // 6:02d} device cuda:{rank % 6} local world 6, pid {88100 + 31 * rank}"
        for rank in range(24)
    ]
    for i in range(1, 66):
        lines.append(
            f" iteration {10 * i:8d}/   20000 | elapsed time per iteration (ms): {5904.1 + 3 * (i % 7):.1f} | lm loss: {7.91 - 0.05 * i:.6E} | loss scale: 65536.0 | grad norm: {1.3 - 0.01 * i:.3f} |"
        )
        if i % 13 == 0:
            lines.append(f"[Rank 11] shuffle buffer: {28000 * i} documents, resident set {0.9 + 7.2 * i:.1f} GiB")
    trace = {
        '/gpfs/alpine/csc000/proj/gpt/pretrain_gpt.py", line 288, in <module>': "pretrain(train_valid_test_datasets_provider, model_provider, forward_step)"
    }
    trace |= {
        '/gpfs/alpine/csc000/proj/gpt/megatron/training.py", line 1011, in train': "loss_dict, skipped_iter, grad_norm, num_zeros = train_step(forward_step_func, iterator)"
    }
    for rank in (17, 5, 23):
        lines.append(
            f"h41n{7 + rank // 6:02d}:{88100 + 31 * rank}:{88700 + rank} [{rank % 6}] misc/socket.cc:64 NCCL WARN Connection closed by remote peer h41n08<41882>"
        )
        lines += raised(trace, REMOTE)
    lines.append("ERROR:  One or more process (first noticed rank 11) terminated with signal 9")
    bench.write("gpt-1b3.2419377.out", joined(lines) + LSF)


@case(
    "slurm-step-preempted",
    cause="preempted",
    rank="all",
    also_rank=("any", None, "launcher"),
    restart="RESTART",
    also_restart=AWAY,
    real=False,
    proof="DUE TO PREEMPTION",
)
def preempted(bench: Bench) -> None:
    """Slurm takes the nodes for another partition's job: Lightning's ranks hear SIGTERM, some lose their peers, the rest is killed."""
    lines = [
        f"{rank}: Initializing distributed: GLOBAL_RANK: {rank}, MEMBER: {rank + 1}/8" for rank in (0, 4, 1, 2, 5, 3, 7, 6)
    ]
    lines += [
        "0: " + "-" * 100,
        "0: distributed_backend=nccl",
        "0: All distributed processes registered. Starting with 8 processes",
        "0: " + "-" * 100,
    ]
    lines += [
        f"0: Epoch 2:  {i}%|{'#' * (i // 8):<12}| {21 * i}/2100 [{7 * i // 60:02d}:{7 * i % 60:02d}<{(693 - 7 * i) // 60:02d}:{(693 - 7 * i) % 60:02d}, 3.01it/s, v_num=7712, train_loss={2.31 - 0.004 * i:.3f}]"
        for i in range(1, 63)
    ]
    lines += ["srun: Job step aborted: Waiting up to 62 seconds for job step to finish."]
    lines += ["slurmstepd: error: *** STEP 77120.0 ON gpu-c03 CANCELLED AT 2026-11-27T11:02:19 DUE TO PREEMPTION ***"]
    lines += [f"{rank}: [rank: {rank}] Received SIGTERM: 15" for rank in (4, 5, 0, 7, 6, 2, 3, 1)]
    for rank in (6, 1):
        trace = {
            '/home/li/vit/train.py", line 92, in <module>': "main()",
            '/home/li/vit/train.py", line 81, in main': "trainer.fit(model, datamodule=data)",
        }
        lines += raised(trace, REMOTE, f"{rank}: [rank{rank}]: ")
        lines += [
            f"{rank}: [rank{rank}]: ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely."
        ]
    lines += ["srun: error: gpu-c04: task 6: Exited with exit code 1", "srun: error: gpu-c03: task 1: Exited with exit code 1"]
    lines += [
        "srun: error: gpu-c04: tasks 4-5,7: Terminated",
        "srun: error: gpu-c03: tasks 0,2-3: Terminated",
        "srun: Force Terminated StepId=77120.0",
    ]
    lines += ["slurmstepd: error: *** JOB 77120 ON gpu-c03 CANCELLED AT 2026-11-27T11:03:21 DUE TO PREEMPTION ***"]
    bench.write("slurm-77120.out", joined(lines))


DAEMONS = """--------------------------------------------------------------------------
ORTE was unable to reliably start one or more daemons.
This usually is caused by:

* not finding the required libraries and/or binaries on
  one or more nodes. Please check your PATH and LD_LIBRARY_PATH
  settings, or configure OMPI with --enable-orterun-prefix-by-default

* lack of authority to execute on one or more specified nodes.
  Please verify your allocation and authorities.

* the inability to write startup files into /tmp (--tmpdir/orte_tmpdir_base).
  Please check with your sys admin to determine the correct location to use.

*  compilation of the orted with dynamic libraries when static are required
  (e.g., on Cray). Please check your configure cmd line and consider using
  one of the contrib/platform definitions for your system type.

* an inability to create a connection back to mpirun due to a
  lack of common network interfaces and/or no route found between
  them. Please check network connectivity (including firewalls
  and network routing requirements).
--------------------------------------------------------------------------""".splitlines()


@case(
    "mpi-worker-name-unknown",
    cause="name-resolution",
    also=("rendezvous-failed",),
    rank="launcher",
    also_rank=NOBODY,
    restart="RESTART",
    also_restart=("STOP",),
    real=False,
    proof="Could not resolve hostname",
)
def mpi(bench: Bench) -> None:
    """mpirun's launcher pod starts before the names of its workers are known, three times over; no rank ever ran."""
    lines: list[str] = []
    for attempt in range(3):
        lines += [
            f"+ mpirun --allow-run-as-root -np 8 -N 4 --hostfile /etc/mpi/hostfile -x NCCL_DEBUG=INFO -bind-to none python /workspace/sft.py  # {when(20 + 44 * attempt, '%H:%M:%S')}"
        ]
        lines += [f"ssh: Could not resolve hostname sft-node-0-{node}.sft: Name or service not known" for node in (1, 0)]
        lines += [*DAEMONS, "exit status 1"]
    bench.write("sft-launcher-0-0.log", joined(lines))


@case(
    "volume-used-on-another-node",
    cause="mount-failed",
    rank=4,
    also_rank=OTHERS,
    restart="STOP",
    node=SECOND,
    real=False,
    proof="Multi-Attach",
)
def attached(bench: Bench) -> None:
    """The claim of the data set can be attached to one node only, and the master's has it: the worker's container is never created."""
    fleet = Fleet(bench, seed=91)
    fleet.waiting(1, "ContainerCreating")
    fleet.event(
        1,
        "Scheduled",
        f"Successfully assigned research/llama-8b-worker-0 to {SECOND}",
        normal=True,
        source="default-scheduler",
        after=2,
    )
    fleet.event(
        1,
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-1c8c8f0e-5a0b-4c55-9d6e-0b0b8b2f0f71" Volume is already used by pod(s) llama-8b-master-0',
        source="attachdetach-controller",
        after=4,
    )
    others_wait(fleet, 1)
    fleet.say(0, "torch.distributed.DistStoreError: Timed out after 901 seconds waiting for clients. 1/2 clients joined.")
    fleet.ended(0, 1, after=960)
    fleet.write()
