"""Other chips, and drivers: AWS Neuron, ROCm, an upgrade under a running node. Simulations in the words of public sources.

Sources: the AWS Neuron SDK's pages on runtime errors and its node problem detector, the kernel's amdgpu_ras.c and amdgpu_device.c, ROCR's
hsa-runtime (ROCm/ROCm#4021), NVIDIA's kernel module (nv.c), pytorch/pytorch#40671 (error 803).
"""

from __future__ import annotations

from tests.doctor_corpus.areas.elsewhere import joined, raised, when
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.rank_logs import RankLogs
from tests.doctor_corpus.truth import case

AWAY = ("RESTART_ELSEWHERE",)


def began(names: tuple[str, str], procs: int) -> RankLogs:
    """Two nodes whose job went on until 11:04."""
    return RankLogs(list(names), list(names), procs, 92)


def kept(bench: Bench, logs: RankLogs, end: str = ".log") -> None:
    for name, lines in zip(logs.names, logs.logs, strict=True):
        bench.write(f"logs/{name}{end}", joined(lines))


def earlier(lines: list[str]) -> list[str]:
    """torchrun's words, told at 11:04 on a node that failed before the other."""
    return [line.replace("11:14:1", "11:04:1") for line in lines]


CUT = "------------->8------------[ cut here ]------------>8-------------"


def neuron_dump(local: int, failure: str, second: int, instance: str) -> list[str]:
    """What the runtime of a rank says when an execution has failed."""
    who = f"2026-Nov-27 11:{second // 60:02d}:{second % 60:02d}.{417 + local}203  {4255 + local}:{4612 + local}  ERROR"
    about = [
        "Neuron runtime information - please include in any support request:",
        CUT,
        "NRT version: 2.22.14.0 (6e27b8d5b6d2)",
        "CCOM version: 2.22.26.0-29d12ad5a+1a3a8a1",
    ]
    about += [
        f"Instance ID: {instance}",
        "Cluster ID: N/A",
        "Kernel: Linux 5.15.0-1062-aws",
        "Driver version: 2.18.12.0",
    ]
    about += [
        f"Failure: {failure} in nrt_execute()",
        "Visible cores: " + str(local),
        "Environment:",
        f"    NEURON_RT_VISIBLE_CORES={local}",
        "    NEURON_RT_STOCHASTIC_ROUNDING_EN=1",
        CUT,
    ]
    return [f"{who}  NRT:nrt_infodump                            {text}" for text in about]


@case(
    "neuron-memory-uncorrectable",
    cause="gpu-ecc",
    rank=13,
    node="trn-b",
    restart="RESTART_ELSEWHERE",
    real=False,
    proof="NRT_EXEC_HW_ERR_HBM_UE",
)
def neuron(bench: Bench) -> None:
    """A Neuron device of the second node has an uncorrectable memory error; the first node's runtimes time out in a collective."""
    logs = began(("trn-a", "trn-b"), 8)
    for rank in range(16):
        who = f"2026-11-27 09:14:{31 + rank // 4}.000{rank:03d}:  {4200 + rank}  INFO"
        logs.say(
            rank,
            f"{who} ||NEURON_CACHE||: Compile cache path: /var/tmp/neuron-compile-cache",
            f"{who} ||NEURON_CC_WRAPPER||: Using a cached neff at /var/tmp/neuron-compile-cache/neuronxcc-2.15.128.0+56dc5a86/MODULE_17731254310982337714+4eddc9a1/model.neff",
        )
    logs.steps(470, 541)
    line = "2026-Nov-27 11:04:02.416880  4260:4617  ERROR"
    logs.say(
        13,
        f"{line}  TDRV:exec_request_process_errors               (FATAL-RT-UNDEFINED-STATE) encountered uncorrectable memory error on Neuron Device 2. Please terminate or restart this instance.",
        f"{line}  TDRV:exec_consume_infer_status_notifications   [ND 2][NC 1] Uncorrectable memory error is detected, metadata: 0x16",
        f"{line}  NMGR:dlr_infer                                 Inference completed with err: 1201. mode->h_nn=1, start_nc=5, nc_count=1",
        *neuron_dump(5, "NRT_EXEC_HW_ERR_HBM_UE", 242, "i-0592464924bd45322"),
    )
    trace = {
        '/workspace/pretrain.py", line 688, in <module>': "main(parse_args())",
        '/workspace/pretrain.py", line 431, in train': "xm.mark_step()",
    }
    logs.say(
        13,
        *raised(
            trace,
            "RuntimeError: Bad StatusOr access: INTERNAL: nrt_execute failed with status 1201 (HBM uncorrectable error)",
            "[rank13]: ",
        ),
    )
    logs.torchrun_failed(1, 13)
    logs.logs[1] = earlier(logs.logs[1])
    for turn, rank in enumerate((2, 0, 5, 1, 7, 3, 6, 4)):
        who = f"2026-Nov-27 11:14:0{turn}.116203  {4255 + rank}:{4612 + rank}  ERROR"
        logs.say(
            rank,
            f"{who}  TDRV:exec_consume_tpb_status_notifications     Missing infer_status notification: (end:1)",
            f"{who}  TDRV:exec_consume_tpb_status_notifications     (FATAL-RT-UNDEFINED-STATE) missing collectives status on Neuron Device {rank // 2} NC {rank % 2}, model model.neff - suspected hang in collectives operation 3 out of 214",
            *neuron_dump(rank, "NRT_TIMEOUT", 840 + turn, "i-0d7c41f8e2b9a6017"),
        )
        logs.say(
            rank,
            *raised(
                trace,
                "RuntimeError: Bad StatusOr access: INTERNAL: nrt_execute failed with status 5 (operation timed out)",
                f"[rank{rank}]: ",
            ),
        )
    logs.torchrun_failed(0, 2)
    kept(bench, logs)
    bench.write(
        "kernel.log",
        joined(
            [
                "trn-b kernel: [    9.118204] neuron: loading out-of-tree module taints kernel.",
                "trn-b kernel: [    9.402117] Neuron Driver Started with Version:2.18.12.0-b4a4ba2d1a2b",
                "trn-b kernel: [91442.551830] NEURON_HW_ERR=NRT_EXEC_HW_ERR_HBM_UE instance-id=i-0592464924bd45322 hostname=trn-b nd-id=2 nc-id=1 serial-num=19fcda00f5ff6eb9 action=TERMINATE_INSTANCE",
            ]
        ),
    )


@case(
    "rocm-memory-uncorrectable",
    cause="gpu-ecc",
    also=("gpu-lost", "gpu-xid"),
    rank=13,
    node="mi300-22",
    restart="RESTART_ELSEWHERE",
    also_restart=("RESTART",),
    real=False,
    proof="uncorrectable hardware errors",
)
def rocm(bench: Bench) -> None:
    """An MI300X of the second node meets an uncorrectable error in its memory and is reset; ten minutes later the first node's watchdogs find a collective unfinished."""
    logs = began(("mi300-21", "mi300-22"), 8)
    for rank in range(16):
        who = f"{logs.host(rank)}:{210 + rank}:{210 + rank} [{rank % 8}] NCCL INFO"
        logs.say(
            rank,
            f"{who} RCCL version : 2.22.3-HEAD:ff4de4c",
            f"{who} HIP version  : 6.4.43482-0f2d60242",
            f"{who} ROCm version : 6.4.0.0-47-8f0c6f8",
            f"{who} NET/IB : Using [0]bnxt_re0:1/RoCE [1]bnxt_re1:1/RoCE [2]bnxt_re2:1/RoCE [3]bnxt_re3:1/RoCE [RO]; OOB eno1:10.9.0.{21 + rank // 8}<0>",
        )
        logs.say(
            rank,
            f"{who} ncclCommInitRank comm 0x55d0c{rank:x}3b7f0 rank {rank} nranks 16 cudaDev {rank % 8} busId {10 + rank % 8}c000 - Init COMPLETE",
        )
    logs.steps(470, 541)
    logs.say(
        13,
        "HW Exception by GPU node-7 (Agent handle: 0x5591d0c4b2a0) reason :GPU Hang",
        "Fatal Python error: Aborted",
        "",
        "Thread 0x00007f21c27fc640 (most recent call first):",
        '  File "/opt/venv/lib/python3.12/threading.py", line 359 in wait',
        '  File "/opt/venv/lib/python3.12/site-packages/torch/autograd/graph.py", line 829 in _engine_run_backward',
    )
    logs.torchrun_failed(1, 13, code=-6, signal="SIGABRT")
    logs.logs[1] = earlier(logs.logs[1])
    for rank in (4, 0, 6, 1, 2, 7, 3, 5):
        logs.watchdog(rank, 9214, "_ALLGATHER_BASE", numel=58720256)
    logs.torchrun_failed(0, 4, code=-6, signal="SIGABRT")
    kept(bench, logs, ".out")
    bus = "mi300-22 kernel: [191442.{:06d}] amdgpu 0000:9b:00.0: amdgpu: {}"
    said = (
        "{12}socket: 5, die: 0, 1 new uncorrectable hardware errors detected in umc block",
        "{12}socket: 5, die: 0, 1 uncorrectable hardware errors detected in total in umc block",
        "RAS event of type ERREVENT_ATHUB_INTERRUPT detected!",
        "RAS poison consumption, unmap queue flow succeeded: client id 27",
        "GPU reset begin!",
        "MODE1 reset",
        "GPU reset succeeded, trying to resume",
        "Saved bad pages 17 reaches threshold value 16",
    )
    bench.write("dmesg-mi300-22.log", joined(bus.format(118204 + 90411 * i, text) for i, text in enumerate(said)))


def titan(line: str) -> str:
    return line.replace("/workspace/pretrain.py FAILED", "torchtitan.train FAILED")


UNSUPPORTED = "Unexpected error from cudaGetDeviceCount(). Did you run some cuda functions before calling NumCudaDevices() that might have already set an error? Error 803: system has unsupported display driver / cuda driver combination"


@case(
    "driver-upgraded-under-node",
    cause="driver-mismatch",
    rank=8,
    also_rank=(*range(9, 16), "any"),
    node="gpu-d12",
    restart="RESTART_ELSEWHERE",
    also_restart=("STOP",),
    real=False,
    proof="API mismatch",
)
def upgraded(bench: Bench) -> None:
    """An upgrade changed the second node's driver libraries while the old kernel module is loaded: torchtitan's ranks there find no CUDA; the first node waits for them in vain."""
    logs = began(("gpu-d11", "gpu-d12"), 8)
    for i in (0, 1):
        logs.logs[i] += [
            "+ export NCCL_DEBUG=WARN FI_PROVIDER=efa",
            f"+ srun torchrun --nnodes 2 --nproc_per_node 8 --rdzv_id 101 --rdzv_backend c10d --rdzv_endpoint gpu-d11:29500 -m torchtitan.train  # on {logs.names[i]}",
        ]
        logs.logs[i] += [
            "W1127 09:14:21.113000 4402 torch/distributed/run.py:792] ",
            "W1127 09:14:21.113000 4402 torch/distributed/run.py:792] " + "*" * 41,
            "W1127 09:14:21.113000 4402 torch/distributed/run.py:792] Setting OMP_NUM_THREADS environment variable for each process to be 1 in default, to avoid your system being overloaded, please further tune the variable for optimal performance in your application as needed. ",
            "W1127 09:14:21.113000 4402 torch/distributed/run.py:792] " + "*" * 41,
        ]
    logs.to_all("[titan] 2026-11-27 09:14:4{local},118 - root - INFO - Starting job: Llama 3 8B training")
    trace = {
        '/opt/torchtitan/torchtitan/train.py", line 688, in main': "trainer = Trainer(config)",
        '/opt/torchtitan/torchtitan/train.py", line 94, in __init__': "device_module.set_device(self.device)",
        '/usr/lib/python3.11/site-packages/torch/cuda/__init__.py", line 372, in _lazy_init': "torch._C._cuda_init()",
    }
    for rank in (9, 8, 12, 10, 15, 11, 13, 14):
        logs.say(
            rank,
            f"/usr/lib/python3.11/site-packages/torch/cuda/__init__.py:174: UserWarning: CUDA initialization: {UNSUPPORTED} (Triggered internally at /pytorch/c10/cuda/CUDAFunctions.cpp:109.)",
            "  return torch._C._cuda_getDeviceCount() > 0",
        )
        logs.say(rank, *raised(trace, f"RuntimeError: {UNSUPPORTED}", f"[rank{rank}]: "))
    logs.torchrun_failed(1, 9)
    logs.logs[1] = [titan(line).replace("11:14:1", "09:14:5") for line in logs.logs[1]]
    logs.logs[1] += ["srun: error: gpu-d12: task 1: Exited with exit code 1"]
    for rank in (0, 3, 1, 2):
        logs.say(
            rank,
            *raised(
                {
                    '/opt/torchtitan/torchtitan/distributed/utils.py", line 301, in init_distributed': "torch.distributed.init_process_group("
                },
                f"torch.distributed.DistStoreError: Timed out after 301 seconds waiting for clients. {8}/16 clients joined.",
                f"[rank{rank}]: ",
            ),
        )
    logs.torchrun_failed(0, 0)
    logs.logs[0] = [titan(line).replace("11:14:1", "09:19:5") for line in logs.logs[0]] + [
        "srun: error: gpu-d11: task 0: Exited with exit code 1"
    ]
    kept(bench, logs)
    bench.write(
        "gpu-d12.dmesg.log",
        joined(
            [
                "[Thu Nov 26 21:05:11 2026] NVRM: loading NVIDIA UNIX Open Kernel Module for x86_64  570.158.01  Release Build  (dvs-builder@U22)",
                f"[Fri Nov 27 {when(36, '%H:%M:%S')} 2026] NVRM: API mismatch: the client has the version 570.172.08, but",
                f"[Fri Nov 27 {when(36, '%H:%M:%S')} 2026] NVRM: this kernel module has the version 570.158.01.  Please",
                f"[Fri Nov 27 {when(36, '%H:%M:%S')} 2026] NVRM: make sure that this kernel module and all NVIDIA driver",
                f"[Fri Nov 27 {when(36, '%H:%M:%S')} 2026] NVRM: components have the same version.",
            ]
        ),
    )
