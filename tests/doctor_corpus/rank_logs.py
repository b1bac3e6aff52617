"""Logs of ranks with CUDA under torchrun, as public issues show them: steps, NCCL's start, the watchdog, the launcher's summary.

Sources: pytorch/pytorch#118369, hiyouga/LlamaFactory#7396, NVIDIA/nccl#1409, aws/aws-ofi-nccl#161.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

BEGAN = datetime(2026, 11, 27, 9, 14, 5, tzinfo=UTC)


def at(seconds: float) -> str:
    return (BEGAN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


class RankLogs:
    """One log a pod: `names[i]` has ranks i * procs to (i + 1) * procs - 1, on `hosts[i]`."""

    def __init__(self, names: list[str], hosts: list[str], procs: int, seed: int) -> None:
        self.names, self.hosts, self.procs = names, hosts, procs
        self.random = random.Random(seed)
        self.logs: list[list[str]] = [[] for _ in names]

    def ranks(self, i: int) -> range:
        return range(i * self.procs, (i + 1) * self.procs)

    def host(self, rank: int) -> str:
        return self.hosts[rank // self.procs]

    def say(self, rank: int, *lines: str) -> None:
        """Lines in the log of the pod of this rank."""
        self.logs[rank // self.procs].extend(lines)

    def to_all(self, *lines: str, without: Sequence[int] = ()) -> None:
        """Lines of every rank; `{rank}` and `{local}` are filled in."""
        for rank in range(len(self.names) * self.procs):
            if rank not in without:
                self.say(rank, *(line.format(rank=rank, local=rank % self.procs) for line in lines))

    def steps(self, first: int = 1, last: int = 60, loss: float = 2.9) -> None:
        """Rank 0 tells its steps."""
        for step in range(first, last + 1):
            loss += self.random.uniform(-0.02, 0.017)
            self.say(
                0,
                f"[{at(100 + 12 * step)[11:19]}] iteration {step:6d}/  100000 | elapsed time per iteration (ms): {11900 + self.random.random() * 300:.1f} | learning rate: 2.5E-04 | lm loss: {loss:.6E} | grad norm: {self.random.uniform(0.3, 0.6):.3f} |",
            )

    def start(self, *, efa: bool = True) -> None:
        """What NCCL with NCCL_DEBUG=INFO says at the start, of every rank."""
        for rank in range(len(self.names) * self.procs):
            who = f"{self.names[rank // self.procs]}:{210 + rank}:{210 + rank} [{rank % self.procs}] NCCL INFO"
            ofi = [
                f"{who} NET/OFI Initializing aws-ofi-nccl 1.14.0",
                f"{who} NET/OFI Selected provider is efa, fabric is efa (found 32 nics)",
                f"{who} Using network AWS Libfabric",
            ]
            plain = [
                f"{who} NET/Plugin: Could not find: libnccl-net.so. Using internal network plugin.",
                f"{who} NET/Socket : Using [0]eth0:10.2.61.{20 + rank // self.procs}<0>",
                f"{who} Using network Socket",
            ]
            self.say(rank, f"{who} Bootstrap : Using eth0:10.2.61.{20 + rank // self.procs}<0>", *(ofi if efa else plain))
            self.say(
                rank,
                f"{who} ncclCommInitRank comm 0x55d0c{rank:x}3b7f0 rank {rank} nranks {len(self.names) * self.procs} cudaDev {rank % self.procs} busId {10 + rank % self.procs}1c0 - Init COMPLETE",
            )

    def watchdog(
        self,
        rank: int,
        seq: int,
        op: str = "ALLREDUCE",
        *,
        minutes: int = 10,
        enqueued: int | None = None,
        done: int | None = None,
        numel: int = 218112000,
    ) -> None:
        """A rank whose collective timed out: torch 2.6's words."""
        ms, mark = (
            minutes * 60000,
            f"[rank{rank}]:[E1127 11:14:0{rank % 10}.{self.random.randint(100000000, 999999999)} ProcessGroupNCCL.cpp",
        )
        queued, done = enqueued or seq + 2, done or seq - 1
        text = f"Watchdog caught collective operation timeout: WorkNCCL(SeqNum={seq}, OpType={op}, NumelIn={numel}, NumelOut={numel}, Timeout(ms)={ms}) ran for {ms + self.random.randint(1, 90)} milliseconds before timing out."
        self.say(rank, f"{mark}:629] [Rank {rank}] {text}")
        self.say(
            rank,
            f"{mark}:2168] [PG ID 0 PG GUID 0(default_pg) Rank {rank}]  failure detected by watchdog at work sequence id: {seq} PG status: last enqueued work: {queued}, last completed work: {done}",
        )
        self.say(
            rank,
            f"{mark}:1834] [PG ID 0 PG GUID 0(default_pg) Rank {rank}] Timeout at NCCL work: {seq}, last enqueued NCCL work: {queued}, last completed NCCL work: {done}.",
            f"{mark}:681] [Rank {rank}] Some NCCL operations have failed or timed out. Due to the asynchronous nature of CUDA kernels, subsequent GPU operations might run on corrupted/incomplete data.",
        )
        self.say(rank, f"{mark}:695] [Rank {rank}] To avoid data inconsistency, we are taking the entire process down.")
        self.say(
            rank,
            "terminate called after throwing an instance of 'c10::DistBackendError'",
            f"  what():  [PG ID 0 PG GUID 0(default_pg) Rank {rank}] Process group watchdog thread terminated with exception: [Rank {rank}] {text}",
        )

    def torchrun_failed(self, i: int, rank: int, *, code: int = 1, signal: str = "") -> None:
        """torchrun's summary in pod i: `rank` is the first that it saw."""
        self.logs[i] += [
            f"W1127 11:14:12.402000 1 torch/distributed/elastic/multiprocessing/api.py:906] Sending process {211 + each} closing signal SIGTERM"
            for each in self.ranks(i)
            if each != rank
        ]
        self.logs[i] += [
            f"E1127 11:14:13.007000 1 torch/distributed/elastic/multiprocessing/api.py:880] failed (exitcode: {code}) local_rank: {rank % self.procs} (pid: {210 + rank}) of binary: /usr/bin/python3",
            "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
            "=" * 60,
            "/workspace/pretrain.py FAILED",
            "-" * 60,
            "Root Cause (first observed failure):",
            "[0]:",
            "  time      : 2026-11-27_11:14:12",
            f"  host      : {self.names[i]}",
            f"  rank      : {rank} (local_rank: {rank % self.procs})",
            f"  exitcode  : {code} (pid: {210 + rank}){' (' + signal + ')' if signal else ''}",
            "  error_file: <N/A>",
            f"  traceback : {f'Signal {-code} ({signal}) received by PID {210 + rank}' if signal else 'To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html'}",
            "=" * 60,
        ]
