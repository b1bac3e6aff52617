"""What checkpoints of a model will take, before it is trained: bytes, memory, disk, seconds, and how often they pay.

Sizes follow from what trainyard.Checkpointer saves: every element of weights and optimizer states once over all ranks. Intervals are
those of interval.py. What nobody said is assumed, and every assumption is told in the answer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import size_text
from checkpoint_planner.interval import Failures, daly_s, young_s
from checkpoint_planner.measure import Measured, measure
from checkpoint_planner.sizes import OPTIMIZERS, Part, parts_of

PUBLISHED_MTBF_HOURS_PER_GPU = 16_384 * 54 * 24 / 419
"""Llama 3 405B pre-training: 419 unexpected interruptions in 54 days on 16,384 H100 (The Llama 3 Herd of Models, 2024, section 3.3.4)."""
COPY_BYTES_PER_S = 5e9
"""Into memory that was touched before, one rank. Two cores of a plain virtual machine reach twice that, pinned memory more."""

HEADROOM = 1.15
"""What a resume sets aside, and the file system's own."""
FSX_FIRST_GIB, FSX_STEP_GIB = 1200, 2400
"""Sizes that FSx for Lustre on SSDs has (CreateFileSystem, StorageCapacity)."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """The words of the call, checked."""

    params: int
    optimizer: str
    dtype: str
    optimizer_dtype: str | None
    master_weights: bool
    nodes: int
    gpus_per_node: int
    write_bandwidth: float | None
    """Bytes a second and node."""
    measure: str | None
    blocked_seconds: float | None
    step_seconds: float | None
    rolling_steps: int
    keep_rolling: int
    keep_epochs: int
    mtbf_hours_per_node: float | None
    restart_seconds: float
    usd_per_node_hour: float | None

    def __post_init__(self) -> None:
        if self.measure is not None and self.write_bandwidth is not None:
            raise shell.SkillError("usage", "--measure and --write-bandwidth exclude each other", hint="give one of them")
        if self.optimizer_dtype is not None and OPTIMIZERS[self.optimizer].own_bytes is not None:
            raise shell.SkillError("usage", f"{self.optimizer} has a format of its own", hint="leave --optimizer-dtype out")

    @property
    def ranks(self) -> int:
        return self.nodes * self.gpus_per_node

    def steps_in(self, seconds: float) -> int | None:
        """Whole optimizer steps that take `seconds` or more; None where nobody said how long one takes."""
        return None if self.step_seconds is None else math.ceil(round(seconds / self.step_seconds, 6))

    @property
    def states_dtype(self) -> str:
        return self.optimizer_dtype or ("fp32" if self.master_weights else self.dtype)


@dataclass(frozen=True)
class Times:
    """Seconds that one checkpoint takes, and how often the job fails."""

    write_s: float | None
    """From the snapshot until all ranks have written; None where no bandwidth is known."""
    failures: Failures
    """As training feels it: the loop waits for the copy only."""

    @property
    def waiting(self) -> Failures:
        """The same job where the loop waits for the whole write."""
        own = self.failures
        cost_s = own.cost_s + (self.write_s or 0.0)
        return Failures(mtbf_s=own.mtbf_s, cost_s=cost_s, delay_s=0.0, recovery_s=own.recovery_s)


def answer(words: dict[str, Any]) -> shell.Result:
    """The result of the verb. Raises SkillError on words that exclude each other, or a folder that cannot be measured."""
    request = Request(**words)
    measured = measure(request.measure) if request.measure is not None else None
    bandwidth = measured.bytes_per_s if measured else request.write_bandwidth
    parts = parts_of(
        request.params, request.dtype, request.optimizer, request.states_dtype, master_weights=request.master_weights
    )
    size = sum(part.size_bytes for part in parts)
    times = times_of(request, size, bandwidth)
    rows = intervals(request, times)
    data: dict[str, Any] = {
        "ranks": request.ranks,
        "bytes_per_param": sum(part.bytes_per_param for part in parts),
        "write_bytes_per_s_per_node": bandwidth and round(bandwidth),
        "write_s": _rounded(times.write_s),
        "blocked_s": _rounded(times.failures.cost_s),
        "job_mtbf_hours": _rounded(times.failures.mtbf_s / 3600),
        "rolling_steps_advised": rows[-2]["steps"],
        "parts": [{**vars(part), "size": size_text(part.size_bytes)} for part in parts],
        "space": space(request, size),
        "intervals": rows,
        "usd": usd(request, rows),
        "assumptions": assumptions(request, parts, measured),
    }
    return shell.Result(data, checks=checks(request, times), next=_next(request), ok=True)


def times_of(request: Request, size: int, bandwidth: float | None) -> Times:
    """Seconds to copy and to write one checkpoint of `size` bytes, every rank and node its equal part."""
    write_s = None if bandwidth is None else size / request.nodes / bandwidth
    hours = request.mtbf_hours_per_node or PUBLISHED_MTBF_HOURS_PER_GPU / request.gpus_per_node
    failures = Failures(
        mtbf_s=hours * 3600 / request.nodes,
        cost_s=request.blocked_seconds or size / request.ranks / COPY_BYTES_PER_S,
        delay_s=write_s or 0.0,
        recovery_s=request.restart_seconds,
    )
    return Times(write_s, failures)


def space(request: Request, size: int) -> list[dict[str, Any]]:
    """Bytes on the disk and in memory."""
    kept = request.keep_rolling + request.keep_epochs + 1
    node = math.ceil(size / request.nodes)
    lines = [
        ("checkpoint", size, "one checkpoint"),
        ("rank", math.ceil(size / request.ranks), f"written by each of {request.ranks} ranks, and its snapshot in host memory"),
        ("node_memory", node, f"snapshots in the host memory of a node ({request.gpus_per_node} ranks)"),
        (
            "disk",
            size * (kept + 1),
            f"{request.keep_rolling} rolling, {request.keep_epochs} epochs, best, and one being written",
        ),
    ]
    rows = [{"id": name, "size": size_text(value), "size_bytes": value, "is": told} for name, value, told in lines]
    return [*rows, *volumes(size, size * (kept + 1))]


def volumes(checkpoint: int, disk: int) -> list[dict[str, Any]]:
    """As a volume claim names its size: in GiB, with room for what is set aside and for the file system itself."""
    own, saved = _gib(disk * HEADROOM), _gib(checkpoint * HEADROOM)
    fsx = FSX_FIRST_GIB if own <= FSX_FIRST_GIB else math.ceil(own / FSX_STEP_GIB) * FSX_STEP_GIB
    lines = [
        ("volume", own, "checkpoints.storage.size: disk, and 15 % headroom"),
        ("fsx", fsx, f"the same on FSx for Lustre, which has {FSX_FIRST_GIB}Gi and multiples of {FSX_STEP_GIB}Gi"),
        ("one_fewer", saved, "what one checkpoint fewer saves of the volume (keep_rolling, keep_epochs)"),
    ]
    return [{"id": name, "size": f"{gib}Gi", "size_bytes": gib << 30, "is": told} for name, gib, told in lines]


def _gib(size: float) -> int:
    return math.ceil(size / (1 << 30))


def intervals(request: Request, times: Times) -> list[dict[str, Any]]:
    """One row a rule; the last two are the advice and what the caller has."""
    own, waiting, write_s = times.failures, times.waiting, times.write_s

    def row(name: str, interval_s: float, told: str, failures: Failures = own) -> dict[str, Any]:
        return {
            "id": name,
            "seconds": _rounded(interval_s),
            "steps": request.steps_in(interval_s),
            "lost_percent": None if write_s is None else _rounded(100 * failures.lost_fraction(interval_s)),
            "blocked_percent": _rounded(100 * failures.blocked_fraction(interval_s)),
            "is": told,
        }

    daly = daly_s(own.cost_s, own.mtbf_s)
    rows = [row("young", young_s(own.cost_s, own.mtbf_s), "Young 1974"), row("daly", daly, "Daly 2006")]
    if write_s is not None:
        told = "Daly 2006 for a trainer that waits for the write"
        rows.append(row("waiting", daly_s(waiting.cost_s, waiting.mtbf_s), told, waiting))
    advised_s = max(daly, write_s or 0.0)  # one snapshot at a time: the next waits until this one is written
    rows.append(row("advised", advised_s, "daly, or a write where that takes longer"))
    told = f"rolling_steps: {request.rolling_steps}"
    if request.step_seconds is None:
        unknown = dict.fromkeys(rows[-1])
        return [*rows, {**unknown, "id": "yours", "steps": request.rolling_steps, "is": told}]
    return [*rows, row("yours", max(request.rolling_steps * request.step_seconds, write_s or 0.0), told)]


def usd(request: Request, rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    """What a step costs, and what is lost in a day; None without a price."""
    if request.usd_per_node_hour is None:
        return None
    hour = request.nodes * request.usd_per_node_hour

    def lost(row: dict[str, Any]) -> float | None:
        return None if row["lost_percent"] is None else _rounded(24 * hour * row["lost_percent"] / 100)

    step = None if request.step_seconds is None else _rounded(hour / 3600 * request.step_seconds)
    return {"step": step, "day": _rounded(24 * hour), "lost_a_day_advised": lost(rows[-2]), "lost_a_day_yours": lost(rows[-1])}


def checks(request: Request, times: Times) -> list[shell.Check]:
    """Whether the disk keeps up with the caller's interval."""
    name = "plan.disk"
    if times.write_s is None:
        return [shell.Check(name, "skipped", "no write bandwidth given", fix="--write-bandwidth or --measure FOLDER")]
    if request.step_seconds is None:
        return [shell.Check(name, "skipped", "the seconds of a step are not given", fix="--step-seconds")]
    yours_s = request.rolling_steps * request.step_seconds
    told = f"a checkpoint takes {_seconds(times.write_s)} to write, one is due every {_seconds(yours_s)}"
    if times.write_s <= yours_s:
        return [shell.Check(name, "pass", told)]
    late = f"{told}: they come as fast as the disk allows, not as often as asked"
    least = math.ceil(times.write_s / request.step_seconds)
    return [shell.Check(name, "warn", late, fix=f"rolling_steps: {least} or more, or a faster volume")]


def assumptions(request: Request, parts: list[Part], measured: Measured | None) -> list[str]:
    """Everything in the answer that the caller did not say."""
    told = [
        "sizes: names, headers, state.json (RNG: some 20 kB a rank) and other objects come on top; buffers are not counted",
        f"{request.optimizer} keeps {OPTIMIZERS[request.optimizer].told}",
        "every parameter is trained; weights or states that are frozen or shared need less",
        "ranks write equal parts: FSDP2 does, DDP spreads whole tensors by bytes, HSDP leaves the writing to the first replica",
        "disk: best may be one of the others; steps set aside by a resume come on top until they are pruned",
    ]
    if any(part.dtype != "fp32" and part.part == "weights" for part in parts) and not request.master_weights:
        told.append(
            f"the module holds {request.dtype} weights; under autocast or MixedPrecisionPolicy it holds fp32: --dtype fp32"
        )
    if request.blocked_seconds is None:
        told.append(
            "blocked_s: each rank copies its part at 5 GB/s; a run tells the real one in steps.jsonl: --blocked-seconds"
        )
    if request.mtbf_hours_per_node is None:
        told.append(
            f"failures: one in {PUBLISHED_MTBF_HOURS_PER_GPU:,.0f} hours a GPU, as in the pre-training of Llama 3 405B (419 unexpected "
            "interruptions in 54 days on 16,384 H100: arXiv 2407.21783); spot nodes and young clusters fail more: --mtbf-hours-per-node"
        )
    told.append(f"failures come at random at a constant rate; any node ends the job; {request.restart_seconds:g} s to go on")
    return told + _told_of_bandwidth(request, measured)


def _told_of_bandwidth(request: Request, measured: Measured | None) -> list[str]:
    if measured is not None:
        one = f"measured: {size_text(measured.size_bytes)} in {measured.seconds:.2f} s by one process on this machine"
        return [f"{one}; many nodes on one volume share it, and one rank may not fill a node's share"]
    if request.write_bandwidth is not None:
        return ["all nodes write at that bandwidth at the same time; on a shared volume give its total over the nodes"]
    return ["no write bandwidth given, so nothing about lost time: --write-bandwidth 2GB/s, or --measure FOLDER on the volume"]


def _next(request: Request) -> list[str]:
    """What a second call would add."""
    more = []
    if request.write_bandwidth is None and request.measure is None:
        more.append("--measure FOLDER")
    if request.step_seconds is None:
        more.append("--step-seconds S")
    return [f"manage_checkpoints.py plan --params {request.params} ... {' '.join(more)}"] if more else []


def _seconds(value: float) -> str:
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def _rounded(value: float | None) -> float | None:
    """Four significant digits: nothing here is known better."""
    return None if value is None else float(f"{value:.4g}")
