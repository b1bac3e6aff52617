"""One line of a log as the doctor reads it: without colours and controls, its time, who wrote it, and what it says.

A line comes from the job: it is data and decides nothing but what a rule makes of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from log_reading.lines import ANSI

MAX_LINE_BYTES = 4096
"""Of a longer line the beginning is read: what went wrong stands there, and a pattern must not run over megabytes."""

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")
# kubectl logs --timestamps, and most log collectors
STAMP = re.compile(r"\[?(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?\]?:?\s*")
# torch and glog: W1128 14:31:29.646000, [E1128 14:31:29.646000123 ProcessGroupNCCL.cpp:616]; the day may have lost its zero.
GLOG = re.compile(r"\[?[IWEF](\d{1,2}?)(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{1,9})")
# torch's own excepthook and C++ log lines name the rank of the world.
WORLD_RANK = re.compile(r"\[(?:rank:? ?|Rank )(\d{1,6})\]:?\s?")
# torchrun --tee and --log-dir's tail name the role and the rank on this node.
LOCAL_RANK = re.compile(r"\[(?:default|trainer|worker|[a-z_]{1,20}?)(\d{1,4})\]:\s?")
RANK_BEFORE = re.compile(r"(?:\(?[Rr]ank[ :=]\s?(\d{1,6})\)?[:,\]]?\s)")
# mpirun --tag-output: [job,rank]<stderr>: ; srun --label: "5: ", which other programs write too: only before what a rank writes
MPI_RANK = re.compile(r"\[\d{1,9},(\d{1,6})\]<std(?:out|err|diag)>: ?")
SRUN_RANK = re.compile(r"(\d{1,6}): (?=\[rank\d|Traceback \(|  File |    \S|\w*(?:Error|Exception)\b|\[?[EWIF]\d{3,4} )")
# pdsh: HOST: in front of what that host's ranks write
HOST = re.compile(r"([A-Za-z][\w.-]{0,252}): (?=\[(?:rank|Rank )\d)")
# Ray's driver prints its workers' lines with "(RayTrainWorker pid=1203, ip=10.0.0.5) " in front
RAY = re.compile(r"\((?:[\w.:-]{1,100} )?pid=\d{1,9}(?:, ip=[\w.:]{1,45})?\) ?")
POD = re.compile(r"\[pod/([^\]\s/]{1,253})/[^\]\s]{1,253}\]\s?")
# NCCL: HOST:PID:TID [device] NCCL INFO ...
NCCL = re.compile(r"(?P<host>[\w.-]+):(?P<pid>\d+):\d+ \[(?P<device>\d+)\] NCCL (?:INFO|WARN)")
GROUP_RANK = re.compile(r"\[(?:PG (?:ID )?[^\]]{1,60}? )?Rank (\d{1,6})\]")


@dataclass(frozen=True)
class Line:
    text: str
    """What it says, without time and names of ranks before it."""
    whole: str
    rank: int | None = None
    """Of the world."""
    local_rank: int | None = None
    pod: str | None = None
    time: float | None = None
    node: str | None = None
    """Where the launcher says it was written."""


def plain(raw: bytes) -> str:
    """As text; of a progress bar what was to be seen last."""
    raw = raw[:MAX_LINE_BYTES].rstrip(b"\r")
    raw = raw[raw.rfind(b"\r") + 1 :]
    if b"\x1b" in raw:
        raw = ANSI.sub(b"", raw)
    return CONTROLS.sub("", raw.decode("utf-8", "replace")).rstrip()


def line_of(raw: bytes, year: int | None = None) -> Line:
    whole = plain(raw)
    text, rank, local, pod, time, node = whole, None, None, None, None, None
    while text:
        if match := POD.match(text):
            pod = match[1]
        elif text[0] == "(" and (match := RAY.match(text)):
            pass  # who passed it on
        elif match := HOST.match(text):
            node = match[1]
        elif (
            (match := WORLD_RANK.match(text))
            or (match := MPI_RANK.match(text))
            or (rank is None and (match := SRUN_RANK.match(text)))
        ):
            rank = int(match[1])
        elif match := LOCAL_RANK.match(text):
            local = int(match[1])
        elif time is None and (match := STAMP.match(text)):
            time = _time(match)
        else:
            break
        text = text[match.end() :]
    if rank is None and (match := RANK_BEFORE.match(text[:60]) or GROUP_RANK.search(text[:200])):
        rank = int(match[1])
    if rank is None and local is None and "NCCL" in text and (match := NCCL.search(text[:300])):
        local = int(match["device"])
    if time is None and (match := GLOG.search(text[:80])):
        time = _glog_time(match, year)
    return Line(text, whole, rank, local, pod, time, node)


def _time(match: re.Match[str]) -> float | None:
    zone = (match[4] or "+00:00").replace("Z", "+00:00")
    fraction = f".{(match[3] or '0')[:6]:0<6}"
    try:
        return datetime.fromisoformat(f"{match[1]}T{match[2]}{fraction}{zone}").timestamp()
    except ValueError:
        return None


def _glog_time(match: re.Match[str], year: int | None) -> float | None:
    """It has no year and no zone: the machine's, mostly UTC in a container."""
    try:
        month, day, hour, minute, second = map(int, match.group(1, 2, 3, 4, 5))
        when = datetime(year or datetime.now(UTC).year, month, day, hour, minute, second, tzinfo=UTC)
        return when.timestamp() + float(f"0.{match[6]}")
    except ValueError:
        return None
