"""Lines as NCCL and aws-ofi-nccl print them with NCCL_DEBUG=INFO, for ranks of nodes of eight."""

from __future__ import annotations

from collections.abc import Callable

NEW = "NET/OFI Selected provider is efa, fabric is efa-direct (found {nics} nics)"
OLD = "NET/OFI Selected Provider is efa (found {nics} nics)"


def start(rank: int, ranks: int, *, pid: int = 0) -> tuple[str, str]:
    """(what stands before each of its lines, its line about the communicator)"""
    pid = pid or 100 + rank % 8
    head = f"ip-10-0-0-{rank // 8}:{pid}:{pid + 9} [{rank % 8}] NCCL INFO "
    return head, f"{head}ncclCommInitRank comm 0x55d0 rank {rank} nranks {ranks} cudaDev {rank % 8} commId 0x7f - Init START"


def efa(rank: int, ranks: int, *, words: str = NEW, nics: int = 4, pid: int = 0) -> list[str]:
    head, member = start(rank, ranks, pid=pid)
    return [
        f"{head}Bootstrap : Using eth0:10.0.0.{rank // 8}<0>",
        f"{head}NET/OFI Initializing aws-ofi-nccl 1.13.2-aws",
        head + words.format(nics=nics),
        f"{head}Using network AWS Libfabric",
        member,
    ]


def socket(rank: int, ranks: int, *, pid: int = 0) -> list[str]:
    """The plugin is not there: NCCL goes on over TCP and says so in these words only."""
    head, member = start(rank, ranks, pid=pid)
    return [
        f"{head}NET/Plugin: No plugin found (libnccl-net.so), using internal implementation",
        f"{head}NET/IB : No device found.",
        f"{head}NET/Socket : Using [0]eth0:10.0.0.9<0>",
        f"{head}Using network Socket",
        member,
    ]


def ofi_over_tcp(rank: int, ranks: int) -> list[str]:
    """The plugin is there and the devices are not: libfabric offers its own TCP."""
    head, member = start(rank, ranks)
    return [f"{head}NET/OFI Selected Provider is tcp;ofi_rxm (found 1 nics)", f"{head}Using network AWS Libfabric", member]


def job(ranks: int, of: Callable[[int, int], list[str]] = efa, **others: list[str]) -> str:
    """A log of all ranks; `others`: the lines of `rank3` and so on."""
    return "\n".join(line for rank in range(ranks) for line in others.get(f"rank{rank}", of(rank, ranks))) + "\n"
