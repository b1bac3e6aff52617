"""NCCL and EFA between nodes: simulations in the words of public issues.

Sources: aws/aws-ofi-nccl#141, #161, #346, #715, awslabs/awsome-distributed-ai#312 and #647, ofiwg/libfabric#10410, NVIDIA/nccl-tests#206,
hiyouga/LlamaFactory#6269, NVIDIA/nccl#1409.
"""

from __future__ import annotations

from tests.doctor_corpus.areas.gpu import traceback
from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.truth import case

SECOND = "ip-10-2-67-115.us-west-2.compute.internal"
BACKEND = "torch.distributed.DistBackendError: NCCL error in: ../torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3356, "
SYSTEM = "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error. "
REMOTE = "ncclRemoteError: A call failed possibly due to a network error or a remote process exiting prematurely."


def failed(fleet: Fleet, firsts: dict[int, int], code: int = -6, signal: str = "SIGABRT") -> None:
    """Every pod ends with torchrun's summary; `firsts`: the first failed rank by pod, else its first rank."""
    for i in range(len(fleet.names)):
        fleet.torchrun_failed(i, firsts.get(i, i * fleet.procs), code=code, signal=signal)
        fleet.ended(i, 1, after=7200 + i)


@case(
    "nccl-watchdog-one-rank-behind",
    cause="collective-missing",
    also=("rank-stuck", "hang-unknown"),
    rank=5,
    restart="RESTART",
    also_restart=("RESTART_ELSEWHERE", "STOP"),
    real=False,
    proof="Watchdog caught",
)
def one_behind(bench: Bench) -> None:
    """Seven ranks time out in collective 1580; rank 5 never came to it: its watchdog tells 1579 as last enqueued and done."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=21)
    fleet.start()
    fleet.steps()
    for rank in (3, 0, 7, 1, 2, 4, 6):
        fleet.watchdog(rank, 1580)
    fleet.say(
        5,
        "[rank5]:[E1127 11:14:09.118275512 ProcessGroupNCCL.cpp:1785] [PG ID 0 PG GUID 0(default_pg) Rank 5] Received a dump signal due to a collective timeout from rank 3 and we will try our best to dump the debug info. Last enqueued NCCL work: 1579, last completed NCCL work: 1579.This is most likely caused by incorrect usages of collectives, e.g., wrong sizes used across ranks, the order of collectives is not same for all ranks or the scheduled collective, for some reason, didn't run.",
    )
    failed(fleet, {0: 3, 1: 7})
    fleet.write()


@case(
    "nccl-watchdog-other-operation",
    cause="collective-mismatch",
    also=("collective-missing",),
    rank=6,
    restart="STOP",
    also_restart=("RESTART",),
    real=False,
    proof="BROADCAST",
)
def other_operation(bench: Bench) -> None:
    """Rank 6 waits in a broadcast where all others wait in an all-reduce of the same number."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=22)
    fleet.steps(last=25)
    for rank in (7, 3, 0, 6, 1, 2, 4, 5):
        if rank == 6:
            fleet.watchdog(6, 80078, "BROADCAST", enqueued=80078, done=80077, numel=5056)
        else:
            fleet.watchdog(rank, 80078, enqueued=80078, done=80077, numel=2106881)
    failed(fleet, {0: 3, 1: 7})
    for name, log in zip(fleet.names, fleet.logs, strict=True):
        bench.write(f"{name}.log", "\n".join(log) + "\n")


@case(
    "nccl-watchdog-nobody-known",
    cause="hang-unknown",
    also=("collective-missing", "network-lost"),
    rank="any",
    also_rank=(None,),
    restart="RESTART",
    also_restart=("RESTART_ELSEWHERE",),
    real=False,
    proof="Watchdog caught",
)
def nobody_known(bench: Bench) -> None:
    """All eight ranks time out in the same collective, all at the same numbers: who is guilty cannot be told."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=23)
    fleet.steps(last=50)
    for rank in (2, 5, 0, 7, 1, 3, 4, 6):
        fleet.watchdog(rank, 7753, "_ALLGATHER_BASE", numel=68124672)
    failed(fleet, {0: 2, 1: 5})
    fleet.write()


@case(
    "efa-unresponsive-receiver",
    cause="efa-error",
    also=("network-lost", "nccl-error"),
    rank="any",
    also_rank=(0, 1, 2, 3, 4),
    restart="RESTART",
    also_restart=("RESTART_ELSEWHERE",),
    real=False,
    proof="Unresponsive receiver",
)
def unresponsive(bench: Bench) -> None:
    """libfabric loses a peer: the first node's ranks report it, the second node's see remote errors."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=24)
    fleet.start()
    fleet.steps(last=58)
    mine, theirs = (
        "fi_addr_efa://[fe80::30:43ff:fe60:456b]:0:657145598 My host id: i-0f0ee91ea93e985ee",
        "fi_addr_efa://[fe80::ed:61ff:fe1d:a3b3]:0:229342137 Peer host id: i-08d8a345a75ab52a0",
    )
    for rank in range(4):
        fleet.say(
            rank,
            f"libfabric:{210 + rank}:1795778042::efa:cq:efa_rdm_txe_handle_error():737<warn> err: 21, message: Unresponsive receiver (reachable by EFA device but handshake failed) My EFA addr: {mine} Peer EFA addr: {theirs} (14)",
        )
        fleet.say(
            rank,
            f"{fleet.names[0]}:{210 + rank}:{480 + rank} [{rank}] process_err_completion:1562 NCCL WARN NET/OFI Request 0x7f08c0001d30 completed with error. RC: 21. Error: Unresponsive receiver (reachable by EFA device but handshake failed) My EFA addr: {mine} Peer EFA addr: {theirs}. Completed length: 0, Request: {{ dev: 2, size: 0, state: CREATED, type: SEND_CTRL }}",
        )
        traceback(
            fleet, rank, BACKEND + "unhandled system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.21.5", SYSTEM
        )
    for rank in range(4, 8):
        traceback(fleet, rank, BACKEND + "remote process exited or there was a network error, NCCL version 2.21.5", REMOTE)
    failed(fleet, {}, code=1, signal="")
    fleet.write()


@case(
    "efa-device-missing",
    cause="efa-missing",
    rank=4,
    also_rank=(5, 6, 7, "any"),
    restart="STOP",
    also_restart=("RESTART_ELSEWHERE",),
    node=SECOND,
    real=False,
    proof="No eligible providers",
)
def no_efa(bench: Bench) -> None:
    """The second pod finds no EFA device; NCCL_NET demands it there, so its ranks end, the others wait and time out."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=25)
    for rank in range(8):
        who = f"{fleet.names[rank // 4]}:{210 + rank}:{210 + rank} [{rank % 4}]"
        fleet.say(rank, f"{who} NCCL INFO NET/OFI Initializing aws-ofi-nccl 1.14.0")
        if rank < 4:
            fleet.say(rank, f"{who} NCCL INFO NET/OFI Selected provider is efa, fabric is efa (found 32 nics)")
        else:
            fleet.say(
                rank,
                f"libfabric:{210 + rank}:1747438790::core:core:fi_getinfo_():1392<warn> fi_getinfo: provider efa output empty list",
                f"{who} nccl_net_ofi_create_plugin:259 NCCL WARN NET/OFI Unable to find a protocol that worked.  Failing initialization.",
                f"{who} NCCL WARN NET/OFI No eligible providers were found",
                f"{who} NCCL WARN Error: network AWS Libfabric not found.",
            )
            traceback(
                fleet,
                rank,
                BACKEND + "invalid usage (run with NCCL_DEBUG=WARN for details), NCCL version 2.21.5",
                "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.",
                where="dist.barrier()",
                line=66,
            )
    for rank in range(4):
        traceback(
            fleet,
            rank,
            BACKEND + "remote process exited or there was a network error, NCCL version 2.21.5",
            REMOTE,
            where="dist.barrier()",
            line=66,
        )
    fleet.nodes[1]["status"]["allocatable"]["vpc.amazonaws.com/efa"] = "0"
    failed(fleet, {}, code=1, signal="")
    fleet.write()


@case(
    "locked-memory-too-small",
    cause="memlock",
    rank="all",
    also_rank=("any", 0),
    restart="STOP",
    real=False,
    proof="Cannot allocate memory",
)
def memlock(bench: Bench) -> None:
    """The container's limit of locked memory is 64 KiB: libfabric aborts every rank."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=26)
    for rank in range(8):
        fleet.say(
            rank,
            f"libfabric:{210 + rank}:1795778042::efa:mr:efa_mr_reg_impl():517<warn> Unable to register MR: Cannot allocate memory",
            "Libfabric EFA provider has encountered an internal error:",
            "",
            "Libfabric error: (-12) Cannot allocate memory",
            "EFA internal error: (4112) Failure to post internal receive buffers",
            "",
            "Your application will now abort().",
        )
    fleet.kernel = [
        "[ 1632.420956] infiniband efa_0: Failed to process command REG_MR (opcode 7) comp_status 1 err -12",
        "[ 1632.420957] infiniband efa_0: Failed to register mr [-12]",
    ]
    failed(fleet, {})
    fleet.write()


@case(
    "ibv-reg-mr-failed",
    cause="memlock",
    also=("nccl-error",),
    rank="all",
    also_rank=("any", 0),
    restart="STOP",
    real=False,
    proof="ibv_reg_mr",
)
def reg_mr(bench: Bench) -> None:
    """The same limit, as NCCL's own verbs transport words it."""
    fleet = Fleet(bench, nodes=1, procs=4, seed=27)
    for rank in range(4):
        fleet.say(
            rank,
            f"node07:{210 + rank}:{410 + rank} [{rank}] misc/ibvwrap.cc:278 NCCL WARN Call to ibv_reg_mr_iova2 failed with error Cannot allocate memory",
            f"node07:{210 + rank}:{410 + rank} [{rank}] NCCL INFO transport/net_ib.cc:1283 -> 2",
        )
        traceback(
            fleet,
            rank,
            BACKEND + "unhandled system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.21.5",
            SYSTEM,
            "Last error:",
            "Call to ibv_reg_mr_iova2 failed with error Cannot allocate memory",
            where="dist.all_reduce(torch.ones(1).cuda())",
            line=70,
        )
    fleet.torchrun_failed(0, 0)
    bench.write("run.log", "\n".join(fleet.logs[0]) + "\n")


@case(
    "nccl-duplicate-gpu",
    cause="nccl-error",
    also=("script-error",),
    rank="all",
    also_rank=("any", 0, 1),
    restart="STOP",
    also_restart=("RESTART",),
    real=False,
    proof="Duplicate GPU",
)
def duplicate_gpu(bench: Bench) -> None:
    """Two ranks use one GPU: the script did not set its device."""
    fleet = Fleet(bench, nodes=1, procs=2, seed=28)
    for rank in range(2):
        fleet.say(
            rank,
            f"node07:{210 + rank}:{310 + rank} [0] init.cc:943 NCCL WARN Duplicate GPU detected : rank {rank} and rank {1 - rank} both on CUDA device 18000",
        )
        traceback(
            fleet,
            rank,
            BACKEND + "invalid usage (run with NCCL_DEBUG=WARN for details), NCCL version 2.21.5",
            "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.",
            "Last error:",
            f"Duplicate GPU detected : rank {rank} and rank {1 - rank} both on CUDA device 18000",
            where="model = DDP(model)",
            line=88,
        )
    fleet.torchrun_failed(0, 0)
    bench.write("nohup.log", "\n".join(fleet.logs[0]) + "\n")


@case(
    "security-group-blocks-nccl",
    cause="network-lost",
    also=("nccl-error", "rendezvous-failed", "connection-refused"),
    rank="any",
    also_rank=("all", 0, 4, 5, 6, 7),
    restart="STOP",
    also_restart=("RESTART", "RESTART_ELSEWHERE"),
    real=False,
    proof="socketStartConnect|Connect to",
)
def blocked(bench: Bench) -> None:
    """Rendezvous works, NCCL's own connections to the first node time out."""
    fleet = Fleet(bench, nodes=2, procs=4, seed=29)
    for rank in range(4, 8):
        fleet.say(
            rank,
            f"{fleet.names[1]}:{210 + rank}:{410 + rank} [{rank - 4}] misc/socket.cc:484 NCCL WARN socketStartConnect: Connect to 10.2.61.20<43215> failed : Connection timed out",
            f"{fleet.names[1]}:{210 + rank}:{410 + rank} [{rank - 4}] NCCL INFO bootstrap.cc:78 -> 2",
        )
        traceback(
            fleet,
            rank,
            BACKEND + "unhandled system error (run with NCCL_DEBUG=INFO for details), NCCL version 2.21.5",
            SYSTEM,
            "Last error:",
            "socketStartConnect: Connect to 10.2.61.20<43215> failed : Connection timed out",
            where="dist.barrier()",
            line=66,
        )
    for rank in range(4):
        traceback(
            fleet,
            rank,
            BACKEND + "remote process exited or there was a network error, NCCL version 2.21.5",
            REMOTE,
            where="dist.barrier()",
            line=66,
        )
    failed(fleet, {}, code=1, signal="")
    fleet.write()
