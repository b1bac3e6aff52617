"""Slurm, MPI and DeepSpeed launchers, Lustre, GPU firmware and drivers, EFA left out: simulations in the words of public sources.

Sources: chrisknewman/tusas#149, brain-score/vision#950 (Slurm), horovod/horovod#469 and #1950 (Open MPI), deepspeedai/DeepSpeed#3232 and
DeepSpeedExamples#626, NVIDIA/open-gpu-kernel-modules#446 (Xid 119), NVIDIA/nvidia-container-toolkit#230 and #260, Lustre's operations manual.
"""

from __future__ import annotations

from tests.doctor_corpus.areas.gpu import traceback, victims
from tests.doctor_corpus.areas.nodes import AWAY, OTHERS, SECOND, peers_lost
from tests.doctor_corpus.areas.placement import others_wait
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.truth import case


@case(
    "slurm-task-out-of-memory",
    cause="host-oom",
    rank=5,
    restart="RESTART",
    also_restart=("STOP", *AWAY),
    node="gpu-b07",
    real=False,
    proof="OOM Killed",
)
def slurm(bench: Bench) -> None:
    """srun --label: task 5 meets the memory limit of its step; its peers lose it, and Slurm ends the step on both nodes."""
    lines = [f"0: [rank0] epoch 3 | step {4180 + i} | loss {2.71 - 0.003 * i:.3f} | 18420 tok/s" for i in range(40)]
    remote = "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3356, remote process exited or there was a network error, NCCL version 2.21.5"
    lines += ["4: slurmstepd: error: Detected 1 oom_kill event in StepId=4411.0. Some of the step tasks have been OOM Killed."]
    for rank in (4, 6, 1, 3):
        lines += [f"{rank}: [rank{rank}]: Traceback (most recent call last):"]
        lines += [
            f'{rank}: [rank{rank}]:   File "/home/ml/pretrain/main.py", line 233, in train',
            f"{rank}: [rank{rank}]:     loss.backward()",
        ]
        lines += [
            f"{rank}: [rank{rank}]: {remote}",
            f"{rank}: [rank{rank}]: ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
        ]
    lines += ["srun: error: gpu-b07: task 5: Out Of Memory", "srun: Terminating StepId=4411.0"]
    lines += ["0: slurmstepd: error: *** STEP 4411.0 ON gpu-b06 CANCELLED AT 2026-11-27T11:02:19 ***"]
    lines += ["srun: error: gpu-b07: tasks 4,6: Exited with exit code 1", "srun: error: gpu-b07: task 7: Terminated"]
    lines += ["srun: error: gpu-b06: tasks 1,3: Exited with exit code 1", "srun: error: gpu-b06: tasks 0,2: Terminated"]
    bench.write("slurm-4411.out.log", "\n".join(lines) + "\n")


@case(
    "mpirun-rank-killed",
    cause="killed",
    rank=6,
    restart="RESTART",
    also_restart=AWAY,
    real=False,
    proof=r"exited on signal 9 \(Killed\)",
)
def mpi(bench: Bench) -> None:
    """An MPIJob with Horovod: rank 6 is killed, nothing tells by whom; the others report that Horovod was shut down."""
    lines = [f"[1,0]<stdout>:Train Epoch: 2 [{640 * i}/60000]\tLoss: {0.83 - 0.004 * i:.6f}" for i in range(50)]
    lines += [
        "An MPI communication peer process has unexpectedly disconnected.  This",
        "usually indicates a failure in the peer process (e.g., a crash or",
        "otherwise exiting without calling MPI_FINALIZE first).",
        "",
        "  Local host: resnet-worker-0",
        "  Local PID:  88",
        "  Peer host:  resnet-worker-1",
    ]
    for rank in (2, 0, 5):
        lines += [
            f"[1,{rank}]<stderr>:Traceback (most recent call last):",
            f'[1,{rank}]<stderr>:  File "/examples/train.py", line 148, in train',
            f"[1,{rank}]<stderr>:    optimizer.step()",
        ]
        lines += [
            f"[1,{rank}]<stderr>:horovod.common.exceptions.HorovodInternalError: Horovod has been shut down. This was caused by an exception on one of the ranks or an attempt to allreduce, allgather or broadcast a tensor after one of the ranks finished execution."
        ]
    bar = "-" * 74
    lines += [
        bar,
        "Primary job  terminated normally, but 1 process returned",
        "a non-zero exit code. Per user-direction, the job has been aborted.",
        bar,
    ]
    lines += [bar, "mpirun noticed that process rank 6 with PID 0 on node resnet-worker-1 exited on signal 9 (Killed).", bar]
    bench.write("resnet-launcher.log", "\n".join(lines) + "\n")


@case(
    "deepspeed-segfault",
    cause="segfault",
    rank=3,
    restart="RESTART",
    also_restart=("STOP", *AWAY),
    real=False,
    proof="return code = -11",
)
def deepspeed(bench: Bench) -> None:
    """DeepSpeed's launcher on one node: local rank 3 dies of signal 11 without a word, and the launcher kills its seven peers."""
    lines = [
        "[2026-11-27 09:14:07,120] [INFO] [launch.py:145:main] WORLD INFO DICT: {'localhost': [0, 1, 2, 3, 4, 5, 6, 7]}",
        "[2026-11-27 09:14:07,120] [INFO] [launch.py:151:main] nnodes=1, num_local_procs=8, node_rank=0",
    ]
    lines += [
        f"[2026-11-27 09:14:07,{131 + i}] [INFO] [launch.py:253:main] process {1200 + i} spawned with command: ['/usr/bin/python3', '-u', 'finetune.py', '--local_rank={i}', '--deepspeed', 'zero3.json']"
        for i in range(8)
    ]
    lines += [
        f"{{'loss': {1.9 - 0.01 * i:.4f}, 'grad_norm': {0.61 + 0.003 * (i % 7):.4f}, 'learning_rate': 1.9e-05, 'epoch': {0.02 * i:.2f}}}"
        for i in range(45)
    ]
    lines += [
        f"[2026-11-27 11:02:{14 + i // 4},{118 + i}] [INFO] [launch.py:319:sigkill_handler] Killing subprocess {1200 + i}"
        for i in range(8)
    ]
    lines += [
        "[2026-11-27 11:02:16,602] [ERROR] [launch.py:325:sigkill_handler] ['/usr/bin/python3', '-u', 'finetune.py', '--local_rank=3', '--deepspeed', 'zero3.json'] exits with return code = -11"
    ]
    bench.write("finetune.log", "\n".join(lines) + "\n")


@case(
    "lustre-client-evicted",
    cause="storage-unreachable",
    also=("mount-failed", "network-lost"),
    rank=4,
    also_rank=OTHERS,
    restart="RESTART",
    also_restart=AWAY,
    node=SECOND,
    real=False,
    proof="evicted by",
)
def lustre(bench: Bench) -> None:
    """The second node's Lustre client is evicted by a server: reads fail there, and the first node's ranks lose their peers."""
    fleet = Fleet(bench, seed=62)
    fleet.start()
    fleet.steps()
    fleet.kernel = [
        "[91230.118402] Lustre: 4471:0:(client.c:2310:ptlrpc_expire_one_request()) @@@ Request sent has timed out for slow reply: [sent 1795778042/real 1795778042]",
        "[91230.118417] Lustre: fsx-OST0003-osc-ffff9d5a4c0e8800: Connection to fsx-OST0003 (at 10.2.9.44@tcp) was lost; in progress operations using this service will wait for recovery to complete",
        "[91337.540021] LustreError: 167-0: fsx-OST0003-osc-ffff9d5a4c0e8800: This client was evicted by fsx-OST0003; in progress operations using this service will fail.",
        "[91337.612250] Lustre: fsx-OST0003-osc-ffff9d5a4c0e8800: Connection restored to 10.2.9.44@tcp (at 10.2.9.44@tcp)",
    ]
    for rank in (4, 6):
        traceback(
            fleet,
            rank,
            f"OSError: [Errno 5] Input/output error: '/fsx/tokens/shard-{417 + rank:05d}.bin'",
            where="batch = next(batches)",
            line=398,
        )
    traceback(
        fleet,
        5,
        "OSError: [Errno 108] Cannot send after transport endpoint shutdown: '/fsx/tokens/shard-00422.bin'",
        where="batch = next(batches)",
        line=398,
    )
    fleet.torchrun_failed(1, 4)
    fleet.ended(1, 1, after=7150)
    peers_lost(fleet)
    fleet.write()


@case(
    "gpu-firmware-silent-xid-119",
    cause="gpu-xid",
    also=("gpu-lost",),
    rank=4,
    restart="RESTART_ELSEWHERE",
    also_restart=("RESTART",),
    node="ip-10-2-60-113.us-west-2.compute.internal",
    real=False,
    proof="Xid .*: 119",
)
def firmware(bench: Bench) -> None:
    """The firmware of one GPU of eight answers no more: rank 4 says nothing, the seven others run into the watchdog."""
    fleet = Fleet(bench, nodes=1, procs=8, seed=63)
    fleet.start(efa=False)
    fleet.steps(last=41)
    head = "NVRM: Xid (PCI:0000:93:00): 119, pid=214, name=pt_main_thread, Timeout after 6s of waiting for RPC response from GPU4 GSP! Expected function"
    fleet.kernel = [
        f"[77120.551208] {head} 76 (GSP_RM_CONTROL) (0x2080a097 0x84).",
        f"[77126.559930] {head} 10 (FREE) (0xa55a001c 0x0).",
        "[77132.566114] NVRM: Rate limiting GSP RPC error prints for GPU at PCI:0000:93:00 (printing 1 of every 30).  The GPU likely needs to be reset.",
    ]
    victims(fleet, 4, 2210)
    fleet.torchrun_failed(0, 1, code=-6, signal="SIGABRT")
    fleet.ended(0, 1)
    fleet.write()


@case(
    "efa-not-requested",
    cause="efa-missing",
    rank="all",
    also_rank=("any", None, 0),
    restart="STOP",
    also_restart=("RESTART",),
    real=False,
    proof="Using network Socket",
)
def sockets(bench: Bench) -> None:
    """Nobody asked for EFA devices: NCCL takes TCP sockets between nodes that have 32 of them, and the job crawls at a fifth of its pace."""
    fleet = Fleet(bench, seed=64)
    for pod in fleet.pods:
        for wants in pod["spec"]["containers"][0]["resources"].values():
            wants.pop("vpc.amazonaws.com/efa", None)
    fleet.start(efa=False)
    for step in range(1, 30):
        fleet.say(0, f"step {step} | loss {9.2 - 0.05 * step:.3f} | 1912 tokens/s/GPU | MFU 7.{step % 10}%")
    fleet.say(0, "WARNING: throughput is 5.1x below that of the last run with this configuration (9760 tokens/s/GPU)")
    fleet.write()


@case(
    "driver-not-loaded-on-node",
    cause="driver-mismatch",
    also=("gpu-lost",),
    rank=4,
    also_rank=(*OTHERS, "launcher"),
    restart="RESTART_ELSEWHERE",
    also_restart=("RESTART", "STOP"),
    node=SECOND,
    real=False,
    proof="driver not loaded",
)
def not_loaded(bench: Bench) -> None:
    """The second node's GPU driver is not loaded: the runtime cannot start the container, and the first pod waits in vain."""
    fleet = Fleet(bench, seed=65)
    text = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: error running hook #0: error running hook: exit status 1, stdout: , stderr: Auto-detected mode as 'legacy'\nnvidia-container-cli: initialization error: nvml error: driver not loaded: unknown"
    fleet.ended(1, 128, "StartError", after=33, message=text)
    fleet.event(1, "Created", "Created container pytorch", normal=True)
    fleet.event(1, "Failed", f"Error: {text}")
    others_wait(fleet, 1)
    fleet.say(0, "torch.distributed.DistStoreError: Timed out after 901 seconds waiting for clients. 1/2 clients joined.")
    fleet.ended(0, 1, after=960)
    fleet.write()
