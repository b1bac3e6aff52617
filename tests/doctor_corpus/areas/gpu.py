"""GPUs that fail, in the words of NVIDIA's kernel module, CUDA and torch: simulations, from public issues and NVIDIA's catalogue of Xids.

Sources: pytorch/pytorch#118369, hiyouga/LlamaFactory#7396, NVIDIA/nccl#1409, huggingface/accelerate#1192, NVIDIA/NVSentinel#155,
docs.nvidia.com/deploy/xid-errors, awslabs/awsome-distributed-ai.
"""

from __future__ import annotations

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.truth import case

ASYNC = (
    "CUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.",
    "For debugging consider passing CUDA_LAUNCH_BLOCKING=1",
    "Compile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.",
)
MOVES = ("RESTART_ELSEWHERE",)


def traceback(fleet: Fleet, rank: int, last: str, *more: str, where: str = "loss.backward()", line: int = 412) -> None:
    """An exception of this rank in the training loop."""
    texts = [
        "Traceback (most recent call last):",
        '  File "/workspace/pretrain.py", line 688, in <module>',
        "    main(parse_args())",
    ]
    texts += [f'  File "/workspace/pretrain.py", line {line}, in train', f"    {where}", last, *more]
    fleet.say(rank, *(f"[rank{rank}]: {text}" for text in texts))


def cuda_error(fleet: Fleet, rank: int, what: str) -> None:
    """A CUDA error in Python and in the watchdog of this rank, and torchrun's summary of its pod."""
    traceback(fleet, rank, f"RuntimeError: CUDA error: {what}", *ASYNC, "")
    fleet.say(
        rank,
        f"[rank{rank}]:[E1127 11:03:5{rank % 10}.481882915 ProcessGroupNCCL.cpp:1896] [PG ID 0 PG GUID 0(default_pg) Rank {rank}] Process group watchdog thread terminated with exception: CUDA error: {what}",
        *ASYNC,
        "",
        "Exception raised from c10_cuda_check_implementation at ../c10/cuda/CUDAException.cpp:43 (most recent call first):",
        "frame #0: c10::Error::Error(c10::SourceLocation, std::string) + 0x96 (0x7f6c2a16c1b6 in /usr/local/lib/python3.11/dist-packages/torch/lib/libc10.so)",
        "frame #4: c10d::ProcessGroupNCCL::WorkNCCL::finishedGPUExecutionInternal() const + 0x56 (0x7f6bd3a3a8f6 in /usr/local/lib/python3.11/dist-packages/torch/lib/libtorch_cuda.so)",
    )


def xid(fleet: Fleet, rank: int, code: int, text: str, at_s: float = 88123.417) -> str:
    bus = f"0000:{0x53 + 0x10 * (rank % fleet.procs):02x}:00"
    return f"[{at_s:.6f}] NVRM: Xid (PCI:{bus}): {code}, {text}"


def victims(fleet: Fleet, guilty: int, seq: int = 7731) -> None:
    """Every other rank's collective times out."""
    for rank in range(len(fleet.names) * fleet.procs):
        if rank != guilty:
            fleet.watchdog(rank, seq)


@case(
    "xid-79-fallen-off-the-bus",
    cause="gpu-lost",
    also=("gpu-xid",),
    rank=5,
    restart="RESTART_ELSEWHERE",
    node="ip-10-2-67-115.us-west-2.compute.internal",
    real=False,
    proof="fallen off the bus",
)
def off_the_bus(bench: Bench) -> None:
    """A GPU of the second node is gone: kernel log, node condition of EKS' agent; all others run into the watchdog ten minutes later."""
    fleet = Fleet(bench, nodes=2, procs=4)
    fleet.start()
    fleet.steps()
    cuda_error(fleet, 5, "unspecified launch failure")
    victims(fleet, 5)
    fleet.torchrun_failed(0, 0, code=-6, signal="SIGABRT")
    fleet.torchrun_failed(1, 5)
    fleet.kernel = [
        "[88101.220118] pcieport 0000:50:01.0: AER: Corrected error received: 0000:53:00.0",
        xid(fleet, 5, 79, "pid='<unknown>', name=<unknown>, GPU has fallen off the bus."),
    ]
    fleet.kernel += [
        "[88123.417377] NVRM: GPU 0000:63:00.0: GPU has fallen off the bus.",
        "[88123.417391] NVRM: A GPU crash dump has been created.",
    ]
    fleet.condition(1, "AcceleratedHardwareReady", "False", "NvidiaXID79Error", "XID error 79 detected on GPU 0000:63:00")
    fleet.event(
        1,
        "NvidiaXID79Error",
        "XID error 79 detected on GPU 0000:63:00",
        kind="Node",
        source="eks-node-monitoring-agent",
        after=6590,
    )
    fleet.nodes[1]["status"]["allocatable"]["nvidia.com/gpu"] = "7"
    fleet.ended(0, 1)
    fleet.ended(1, 1, after=6600)
    fleet.write()


@case(
    "ecc-uncorrectable",
    cause="gpu-ecc",
    also=("gpu-xid",),
    rank=2,
    restart="RESTART_ELSEWHERE",
    real=False,
    proof="uncorrectable ECC",
)
def ecc(bench: Bench) -> None:
    """torch tells an ECC error on rank 2; only the logs of two pods, no node objects."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=5)
    fleet.steps(last=45)
    cuda_error(fleet, 2, "uncorrectable ECC error encountered")
    for rank in (0, 1, 3):
        fleet.say(
            rank,
            f"[rank{rank}]:[W1127 11:03:58.112 ProcessGroupNCCL.cpp:1479] Warning: WARNING: destroy_process_group() was not called before program exit",
        )
    victims_of_second_pod = (4, 5, 6, 7)
    for rank in victims_of_second_pod:
        fleet.watchdog(rank, 902, "_REDUCE_SCATTER_BASE", numel=544997376)
    fleet.torchrun_failed(0, 2)
    fleet.torchrun_failed(1, 4, code=-6, signal="SIGABRT")
    for name, log in zip(fleet.names, fleet.logs, strict=True):
        bench.write(f"{name}.log", "\n".join(log) + "\n")


@case(
    "xid-48-row-remap-kernel",
    cause="gpu-ecc",
    also=("gpu-xid",),
    rank=9,
    restart="RESTART_ELSEWHERE",
    node="ip-10-2-74-117.us-west-2.compute.internal",
    also_rank=("any",),
    real=False,
    proof="Xid .*: 48",
)
def row_remap(bench: Bench) -> None:
    """Double bit ECC error on the third node of four, with row remapping failed; the job's own log shows NCCL's remote errors."""
    fleet = Fleet(bench, nodes=4, procs=4, seed=7)
    fleet.start()
    fleet.steps()
    cuda_error(fleet, 9, "uncorrectable ECC error encountered")
    for rank in (0, 4, 12):
        traceback(
            fleet,
            rank,
            "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3356, remote process exited or there was a network error, NCCL version 2.21.5",
            "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely.",
        )
        fleet.torchrun_failed(rank // 4, rank)
    fleet.torchrun_failed(2, 9)
    node = fleet.nodes[2]
    node["metadata"]["labels"] |= {
        "sagemaker.amazonaws.com/node-health-status": "UnschedulablePendingReplacement",
        "sagemaker.amazonaws.com/fault-types": "NvidiaErrorTerminate",
        "sagemaker.amazonaws.com/fault-reasons": "NvidiaXID48",
    }
    node["spec"]["taints"] = [
        {"key": "sagemaker.amazonaws.com/node-health-status", "value": "Unschedulable", "effect": "NoSchedule"}
    ]
    node["spec"]["unschedulable"] = True
    fleet.kernel = [
        xid(
            fleet,
            9,
            48,
            "pid=219, name=python3, An uncorrectable double bit error (DBE) has been detected on GPU in the framebuffer at physical address 0x1f2a0.",
        ),
        xid(fleet, 9, 64, "pid=219, name=python3, Row Remapper: failed to remap row", 88123.6),
    ]
    for i in range(4):
        fleet.ended(i, 1, after=6600 + i)
    fleet.write()


@case(
    "xid-94-contained",
    cause="gpu-ecc",
    also=("gpu-xid",),
    rank=0,
    restart="RESTART",
    also_restart=MOVES,
    real=False,
    proof="Xid .*: 94",
)
def contained(bench: Bench) -> None:
    """A contained ECC error: the application must start again, the GPU stays usable."""
    fleet = Fleet(bench, nodes=1, procs=8, seed=11)
    fleet.steps(last=30)
    fleet.kernel = [xid(fleet, 0, 94, "pid=210, name=pt_main_thread, Contained: SM (0x1). RST: No, D-RST: No")]
    cuda_error(fleet, 0, "uncorrectable ECC error encountered")
    fleet.torchrun_failed(0, 0)
    fleet.ended(0, 1)
    fleet.write()


@case(
    "xid-13-illegal-address",
    cause="gpu-xid",
    also=("script-error",),
    rank=3,
    restart="RESTART",
    also_restart=("STOP", "RESTART_ELSEWHERE"),
    real=False,
    proof="Xid .*: 31",
)
def illegal_address(bench: Bench) -> None:
    """An illegal memory access of rank 3's own program, with Xid 13 and 31 in the kernel log."""
    fleet = Fleet(bench, nodes=1, procs=8, seed=12)
    fleet.steps(last=20)
    fleet.kernel = [
        xid(
            fleet,
            3,
            31,
            "pid=213, name=python3, Ch 00000010, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_3 faulted @ 0x7f5c_a2000000. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_READ",
        )
    ]
    fleet.kernel += [
        xid(fleet, 3, 13, "pid=213, name=python3, Graphics Exception: ESR 0x504730=0xc04000e 0x504734=0x20", 88123.5)
    ]
    cuda_error(fleet, 3, "an illegal memory access was encountered")
    for rank in (0, 1, 2, 4, 5, 6, 7):
        fleet.say(rank, f"[rank{rank}]: torch.distributed.DistBackendError: NCCL communicator was aborted on rank {rank}.")
    fleet.torchrun_failed(0, 3)
    fleet.ended(0, 1)
    fleet.write()


@case(
    "nvlink-xid-74",
    cause="nvlink",
    also=("gpu-xid",),
    rank=6,
    also_rank=("any",),
    restart="RESTART_ELSEWHERE",
    node="ip-10-2-67-115.us-west-2.compute.internal",
    real=False,
    proof="NVLink",
)
def nvlink(bench: Bench) -> None:
    """A fatal NVLink error on the second node."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=13)
    fleet.steps(last=33)
    fleet.kernel = [
        xid(
            fleet,
            6,
            74,
            "pid='<unknown>', name=<unknown>, NVLink: fatal error detected on link 11(0x10000, 0x0, 0x0, 0x0, 0x0, 0x0, 0x0)",
        )
    ]
    fleet.kernel += ["[88123.512000] nvidia-nvswitch3: SXid (PCI:0000:86:00.0): 20034, Fatal, Link 28 LTSSM Fault Up"]
    fleet.say(
        6,
        "llama-8b-worker-0:216:901 [2] misc/cudawrap.cc:36 NCCL WARN Cuda failure 'peer access is not supported between these two devices'",
    )
    cuda_error(fleet, 6, "unspecified launch failure")
    victims(fleet, 6, 551)
    fleet.torchrun_failed(1, 6)
    fleet.torchrun_failed(0, 0, code=-6, signal="SIGABRT")
    fleet.condition(1, "AcceleratedHardwareReady", "False", "NvidiaXID74Error", "XID error 74 detected: NVLink error")
    fleet.ended(0, 1)
    fleet.ended(1, 1, after=6601)
    fleet.write()


@case(
    "gpu-hot-slow",
    cause="gpu-thermal",
    also=("slow-rank",),
    rank=4,
    also_rank=(5, 6, 7, "any"),
    restart="RESTART_ELSEWHERE",
    also_restart=("RESTART",),
    node="ip-10-2-67-115.us-west-2.compute.internal",
    real=False,
    proof="(?i)thermal",
)
def hot(bench: Bench) -> None:
    """The second node's GPUs are throttled by heat: the job goes on at half its pace."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=14)
    fleet.steps()
    for step in range(61, 80):
        fleet.say(
            0,
            f"[11:5{step % 10}:01] iteration {step:6d}/  100000 | elapsed time per iteration (ms): 24812.{step} | learning rate: 2.5E-04 | lm loss: 2.61E+00 | grad norm: 0.412 |",
        )
    fleet.condition(
        1,
        "AcceleratedHardwareReady",
        "False",
        "NvidiaThermalError",
        "GPU 0 violated thermal threshold: HW Thermal Slowdown active, temperature 91 C",
    )
    fleet.event(
        1,
        "NvidiaThermalError",
        "DCGM reports clocks_throttle_reasons.hw_thermal_slowdown active on GPU 0 (91 C)",
        kind="Node",
        source="eks-node-monitoring-agent",
        count=37,
        after=900,
    )
    fleet.write()
