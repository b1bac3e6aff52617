"""What `nvidia-smi --query-gpu=... --format=csv` prints, read whatever is missing in it.

Seen in the wild: `[N/A]`, `[Not Supported]`, `[Unknown Error]`, `[GPU requires reset]` and `ERR!` in the place of a value; columns that
a driver does not know; a MIG device whose use is `[N/A]`; and errors of the driver in the place of the table or between its lines.
"""

from __future__ import annotations

import csv
import re
from typing import Any

import trainyard_shell as shell
from hardware.gpu_facts import Gpu

MAX_LINES, MAX_CHARS = 4096, 4000
FIELDS = (
    "index",
    "uuid",
    "name",
    "utilization.gpu",
    "memory.used",
    "memory.total",
    "temperature.gpu",
    "power.draw",
    "mig.mode.current",
    "ecc.errors.uncorrected.volatile.total",
    "remapped_rows.pending",
    "remapped_rows.failure",
    "clocks_throttle_reasons.active",
)
NEW_NAMES = {"clocks_event_reasons.active": "clocks_throttle_reasons.active"}
"""Drivers of 535 and later print the new name for either."""
REFUSED = re.compile(r'Field "([\w.]{1,80})" is not a valid field')
LOST = re.compile(
    r"Unable to determine the device handle|GPU is lost|Unknown Error|GPU requires reset|fallen off the bus|No devices were found",
    re.IGNORECASE,
)
NO_DRIVER = re.compile(
    r"has failed because it couldn't communicate|Driver/library version mismatch|Failed to initialize NVML|couldn't find libnvidia-ml",
    re.IGNORECASE,
)
BROKEN = re.compile(r"\[?(?:Unknown Error|GPU requires reset|GPU is lost|ERR!)\]?", re.IGNORECASE)
NUMBER = re.compile(r"-?\d{1,15}(?:\.\d{1,6})?")


def refused_field(text: str) -> str | None:
    """The column that this driver does not know; asked without it, the same command answers."""
    found = REFUSED.search(text[:MAX_CHARS])
    return found[1] if found else None


def read_smi(text: str, place: str) -> tuple[list[Gpu], list[str], list[str]]:
    """(the GPUs, what the driver says of GPUs that are gone, what else stands there and is no row)."""
    lines = [line[:MAX_CHARS].strip() for line in text.splitlines()[:MAX_LINES]]
    at = next((number for number, line in enumerate(lines) if _is_header(line)), None)
    columns = _columns(lines[at]) if at is not None else []
    gpus: list[Gpu] = []
    lost: list[str] = []
    others: list[str] = []
    for line in lines[:at] + lines[at + 1 :] if at is not None else lines:
        cells = next(csv.reader([line], skipinitialspace=True), []) if line else []
        if columns and len(cells) == len(columns):
            gpus.append(_gpu(dict(zip(columns, (cell.strip() for cell in cells), strict=True)), place, len(gpus)))
        elif line and LOST.search(line):
            lost.append(f"{place}: {shell.clean(line, 200)}")
        elif line:
            others.append(f"{place}: {shell.clean(line, 200)}")
    return gpus, lost, others[:5]


def _is_header(line: str) -> bool:
    cells = [cell.strip() for cell in line.split(",")]
    return len(cells) >= 2 and bool({"index", "uuid", "utilization.gpu [%]", "utilization.gpu"} & set(cells))


def _columns(line: str) -> list[str]:
    names = [cell.partition("[")[0].strip() for cell in line.split(",")]
    return [NEW_NAMES.get(name, name) for name in names]


def _gpu(row: dict[str, str], place: str, position: int) -> Gpu:
    broken = next((value for value in row.values() if BROKEN.fullmatch(value)), None)
    reasons = row.get("clocks_throttle_reasons.active", "")
    return Gpu(
        place,
        shell.clean(row.get("index", ""), 20) or str(position),
        uuid=shell.clean(row.get("uuid", ""), 80),
        name=shell.clean(row.get("name", ""), 80),
        use_percent=_bounded(row.get("utilization.gpu"), 0, 100),
        memory_used_mib=_bounded(row.get("memory.used"), 0, 1e8),
        memory_total_mib=_bounded(row.get("memory.total"), 0, 1e8),
        temperature_c=_bounded(row.get("temperature.gpu"), -50, 200),
        power_w=_bounded(row.get("power.draw"), 0, 1e5),
        ecc_uncorrected=_bounded(row.get("ecc.errors.uncorrected.volatile.total"), 0, 1e15),
        remap_pending=_yes(row.get("remapped_rows.pending")),
        remap_failed=_yes(row.get("remapped_rows.failure")),
        reasons=int(reasons, 16) if re.fullmatch(r"0x[0-9a-fA-F]{1,16}", reasons) else None,
        is_mig=row.get("mig.mode.current") == "Enabled",
        broken=shell.clean(broken, 80) if broken else None,
    )


def _bounded(text: str | None, least: float, most: float) -> float | None:
    """The number before a unit; None for `[N/A]` and for what no GPU can show."""
    found = NUMBER.match(text or "")
    value: Any = float(found[0]) if found else None
    return value if value is not None and least <= value <= most else None


def _yes(text: str | None) -> bool | None:
    return {"Yes": True, "1": True, "No": False, "0": False}.get(text or "")
