"""What one line of NCCL's log says about the network that a process uses.

    ip-10-0-1-7:4711:4790 [3] NCCL INFO NET/OFI Selected provider is efa, fabric is efa (found 4 nics)
    ip-10-0-1-7:4711:4790 [3] NCCL INFO Using network AWS Libfabric
    ip-10-0-1-7:4711:4790 [3] NCCL INFO ncclCommInitRank comm 0x55 rank 11 nranks 16 cudaDev 3 ... - Init START

Only these words are proof. The plugin aws-ofi-nccl prints the first (`Provider`, and no fabric, before 1.9); NCCL the others
(src/plugin/net.cc, src/init.cc). All of them need NCCL_DEBUG=INFO, and NCCL_DEBUG_SUBSYS with INIT and NET where it is set.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from log_reading.lines import WRITER

MARKS = (b"NCCL", b"NET/", b"gloo", b"Gloo")
"""A line without one of them says nothing here: it is not decoded."""
PROCESS = re.compile(r"(?:^|[\s\]])(?P<host>[\w.-]{1,253}):(?P<pid>\d{1,10}):\d{1,10} \[-?\d{1,5}\] (?:\S{1,200} )?NCCL ")
PROVIDER = re.compile(
    r"NET/OFI.{0,80}?Selected [Pp]rovider is (?P<provider>[^\s,]{1,80})(?:, fabric is (?P<fabric>[^\s,(]{1,80}))?"
    r"(?:.{0,80}?found (?P<nics>\d{1,4}) nics?)?"
)
MEMBER = re.compile(r"\brank (?P<rank>\d{1,7}) nranks (?P<ranks>\d{1,7})\b")
NETWORK = re.compile(r"(?:Using network|Assigned NET plugin) (?P<network>[A-Za-z][\w -]{0,40}?)(?: to comm)?\s*$")
SOCKET = re.compile(r"NET/Socket ?: Using\b|\bvia NET/Socket\b")
INFINIBAND = re.compile(r"NET/IB ?: Using\b|\bvia NET/IB\b")
NO_PROVIDER = re.compile(r"No eligible providers|fi_getinfo: -61|fi_getinfo\(?\)?.{0,40}No data available")
"""The plugin is there, and libfabric has no EFA device for it."""
NO_PLUGIN = re.compile(
    r"aws-ofi-nccl initialization failed|NET/Plugin ?: (?:No plugin found|Could not find)|network AWS Libfabric not found"
)
CPU_BACKEND = re.compile(r"\bbackend\b\W{1,4}(?:cpu:)?gloo\b", re.IGNORECASE)


@dataclass(frozen=True)
class NetLine:
    """What a line says; None where it does not."""

    kind: str
    """efa | tcp | infiniband | no-plugin | unproven | member | cpu"""
    process: str | None
    """`host:pid`; None where the line does not say whose it is."""
    writer: int | None = None
    """The rank that torchrun or kubectl put before the line."""
    told: str = ""
    """The provider or the network."""
    nics: int | None = None
    rank: int | None = None
    ranks: int | None = None


def net_line(text: str) -> NetLine | None:
    """None: the line says nothing about the network."""
    found = PROCESS.search(text, 0, 2000)
    process = f"{found['host']}:{found['pid']}" if found else None
    writer = _global_rank(text)
    if "NCCL" not in text and "NET/" not in text:
        return NetLine("cpu", process, writer) if CPU_BACKEND.search(text, 0, 2000) else None
    if provider := PROVIDER.search(text, 0, 4000):
        name, nics = provider["provider"], provider["nics"]
        is_efa = name.lower().startswith("efa") and nics != "0"
        return NetLine("efa" if is_efa else "tcp", process, writer, name, int(nics) if nics else None)
    if member := MEMBER.search(text, 0, 4000):
        return NetLine("member", process, writer, rank=int(member["rank"]), ranks=int(member["ranks"]))
    kind, told = _network(text)
    return NetLine(kind, process, writer, told) if kind else None


def _network(text: str) -> tuple[str | None, str]:
    if network := NETWORK.search(text, 0, 4000):
        name = network["network"].strip()
        return {"Socket": "tcp", "IB": "infiniband"}.get(name, "unproven"), name
    if SOCKET.search(text, 0, 4000):
        return "tcp", "Socket"
    if INFINIBAND.search(text, 0, 4000):
        return "infiniband", "IB"
    if NO_PROVIDER.search(text, 0, 4000):
        return "no-plugin", "the plugin found no EFA provider"
    return ("no-plugin", "no plugin") if NO_PLUGIN.search(text, 0, 4000) else (None, "")


def _global_rank(text: str) -> int | None:
    """`[rank3]:` as torch writes it. Of `[default3]:`, torchrun's role, the number is that of a process on its node."""
    found = WRITER.search(text, 0, 300)
    return int(found["rank"]) if found and found["rank"] and text[found.start() + 1 :][:4].lower() == "rank" else None
