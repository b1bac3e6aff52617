"""GPUs without memory, and drivers that do not fit: simulations, in the words of CUDA and torch."""

from __future__ import annotations

from tests.doctor_corpus.areas.gpu import traceback, victims
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.truth import case


@case(
    "gpu-out-of-memory-one-rank",
    cause="gpu-oom",
    rank=3,
    restart="STOP",
    also_restart=("RESTART",),
    real=False,
    proof="CUDA out of memory",
)
def gpu_oom(bench: Bench) -> None:
    """Rank 3 gets a longer batch than fits."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=15)
    fleet.steps(last=40)
    text = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 15.03 GiB. GPU 3 has a total capacity of 79.11 GiB of which 6.87 GiB is free. Process 3412 has 72.23 GiB memory in use. Of the allocated memory 66.80 GiB is allocated by PyTorch, and 3.95 GiB is reserved by PyTorch but unallocated. If reserved but unallocated memory is large try setting PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation.  See documentation for Memory Management  (https://pytorch.org/docs/stable/notes/cuda.html#environment-variables)"
    traceback(fleet, 3, text, where="loss = model(tokens, labels)")
    victims(fleet, 3, 1205)
    fleet.torchrun_failed(0, 3)
    fleet.torchrun_failed(1, 4, code=-6, signal="SIGABRT")
    fleet.ended(0, 1)
    fleet.ended(1, 1, after=7800)
    fleet.write()


@case(
    "gpu-out-of-memory-first-step-all",
    cause="gpu-oom",
    rank="all",
    also_rank=("any",),
    restart="STOP",
    real=False,
    proof="CUDA out of memory",
)
def gpu_oom_all(bench: Bench) -> None:
    """No rank's batch fits: before the first step."""
    fleet = Fleet(bench, nodes=1, procs=8, seed=16)
    for rank in range(8):
        text = f"torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU {rank} has a total capacity of 79.10 GiB of which 1.21 GiB is free. Including non-PyTorch memory, this process has 77.88 GiB memory in use."
        traceback(fleet, rank, text, where="logits = self.lm_head(hidden)", line=131)
    fleet.torchrun_failed(0, 0)
    bench.write("stdout.log", "\n".join(fleet.logs[0]) + "\n")


@case(
    "driver-too-old",
    cause="driver-mismatch",
    rank="all",
    also_rank=("any", 0, 4),
    restart="STOP",
    also_restart=("RESTART_ELSEWHERE",),
    real=False,
    proof="driver",
)
def driver(bench: Bench) -> None:
    """The node's driver is older than the image's CUDA."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=17)
    for rank in range(8):
        last = "RuntimeError: The NVIDIA driver on your system is too old (found version 12020). Please update your GPU driver by downloading and installing a new version from the URL: http://www.nvidia.com/Download/index.aspx Alternatively, go to: https://pytorch.org to install a PyTorch version that has been compiled with your version of the CUDA driver."
        traceback(fleet, rank, last, where="torch.cuda.set_device(local_rank)", line=52)
    for i in (0, 1):
        fleet.torchrun_failed(i, 4 * i)
        fleet.ended(i, 1, after=60)
    fleet.write()


@case(
    "no-gpu-in-container",
    cause="driver-mismatch",
    also=("gpu-lost",),
    rank=4,
    also_rank=(5, 6, 7, "any"),
    restart="RESTART_ELSEWHERE",
    also_restart=("STOP",),
    node="ip-10-2-67-115.us-west-2.compute.internal",
    real=False,
    proof="Driver/library version mismatch",
)
def driver_library(bench: Bench) -> None:
    """The driver of the second node was updated under its library: no CUDA there; the first node's ranks wait for the others."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=18)
    fleet.logs[1] += ["Failed to initialize NVML: Driver/library version mismatch", "NVML library version: 550.127"]
    for rank in range(4, 8):
        traceback(fleet, rank, "RuntimeError: No CUDA GPUs are available", where="torch.cuda.set_device(local_rank)", line=52)
    for rank in range(4):
        traceback(
            fleet,
            rank,
            "torch.distributed.DistStoreError: Timed out after 601 seconds waiting for clients. 4/8 clients joined.",
            where='dist.init_process_group("nccl")',
            line=60,
        )
    fleet.torchrun_failed(1, 4)
    fleet.torchrun_failed(0, 0)
    fleet.ended(0, 1, after=700)
    fleet.ended(1, 1, after=60)
    fleet.write()
