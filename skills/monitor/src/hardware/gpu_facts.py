"""A GPU as one look shows it, whoever told it: DCGM's exporter through Prometheus, or nvidia-smi."""

from __future__ import annotations

from dataclasses import dataclass, field

IDLE_PERCENT = 5.0
"""Below this a GPU does nothing that a training would do; a waiting NCCL kernel alone shows 100."""
REASONS = {
    0x1: "idle",
    0x2: "application clocks",
    0x4: "software power cap",
    0x8: "hardware slowdown",
    0x10: "sync boost",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
    0x100: "display clocks",
}
"""Bits of nvmlClocksEventReasons (nvml.h), which DCGM passes on as they are."""
BAD_REASONS = 0x8 | 0x20 | 0x40 | 0x80
"""A power cap is how a busy GPU runs; these say that something is wrong with its cooling or its power."""


@dataclass(frozen=True)
class Gpu:
    """None: not told."""

    place: str
    """Pod, else node, else this machine."""
    index: str
    uuid: str = ""
    name: str = ""
    use_percent: float | None = None
    idle_s: float | None = None
    """For how long it has been idle; 0: it is busy. None: nobody watched it."""
    watched_s: float = 0.0
    """For how long it was watched."""
    memory_used_mib: float | None = None
    memory_total_mib: float | None = None
    temperature_c: float | None = None
    power_w: float | None = None
    ecc_uncorrected: float | None = None
    """Since the driver was loaded, or the last reset."""
    remap_failed: bool | None = None
    remap_pending: bool | None = None
    reasons: int | None = None
    """Why its clocks are held back, as bits of REASONS."""
    xid: int | None = None
    is_mig: bool = False
    broken: str | None = None
    """What the driver says in the place of values: the GPU does not answer."""
    hot_s: dict[int, bool] = field(default_factory=dict)
    """Degrees -> whether it was hotter for as long as the rule of that temperature wants; empty: one moment is all that is known."""

    @property
    def label(self) -> str:
        return f"{self.place}/{self.index}"

    def data(self) -> dict[str, object]:
        told = {key: value for key, value in vars(self).items() if key not in ("hot_s", "reasons", "is_mig")}
        return told | {"throttled": throttling(self.reasons), "mig": self.is_mig}


def throttling(reasons: int | None) -> list[str] | None:
    """Names of the bits, without the harmless first."""
    return None if reasons is None else [name for bit, name in REASONS.items() if reasons & bit and bit != 1]


@dataclass(frozen=True)
class Seen:
    """All that could be seen, and where nothing could be."""

    gpus: list[Gpu]
    source: str
    problems: list[str] = field(default_factory=list)
    """Places whose GPUs are not known, each with the reason."""
    lost: list[str] = field(default_factory=list)
    """The driver's own words for a GPU that is gone."""
    expected: int | None = None
    """GPUs that the job holds; None where nobody says."""
    hint: str | None = None
    """How more could be had."""
