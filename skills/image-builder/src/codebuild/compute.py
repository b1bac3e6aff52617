"""How large a machine the build needs, how long it may take and what that costs. Source: assets/codebuild_compute.yaml, which has a date."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from image_tables import table

TABLE = "codebuild_compute"
LARGE_FROM_GB, LARGE = 5, "BUILD_GENERAL1_LARGE"
"""CUDA images and their like: they do not fit SMALL's disk with safety, and what is compiled for them needs memory."""


@dataclass(frozen=True)
class Machine:
    """What StartBuild is asked for, and what it was chosen by."""

    environment: str
    image: str
    type: str
    disk_gb: int
    usd_per_minute: float | None
    reason: str


@dataclass(frozen=True)
class Estimate:
    """Before the build: rough, by the table's sizes. None: not known."""

    base: str | None
    image_gb: float | None
    minutes: float | None
    usd: float | None
    basis: str

    def row(self) -> dict[str, Any]:
        return {
            "base_image": self.base,
            "image_gb": self.image_gb,
            "minutes": self.minutes,
            "usd": self.usd,
            "basis": self.basis,
        }


def choose(platform: str, asked: str | None, base: str | None, more_gb: float) -> Machine:
    """The machine for an image on `base` with so much more in it. Raises SkillError usage: a platform or compute type that cannot build images."""
    kinds = table(TABLE)["types"]
    if platform not in kinds:
        message = f"CodeBuild builds no image for {shell.clean(platform, 60)!r}"
        raise shell.SkillError("usage", message, hint=f"--platform {' or '.join(kinds)}")
    kind = kinds[platform]
    rows = {row["type"]: row for row in kind["rows"]}
    if asked is not None:
        return _machine(kind, _asked(rows, asked), "asked for")
    need = _need_gb(base, more_gb)
    fitting = [row for row in kind["rows"] if row["disk_gb"] >= need]
    if image_gb(base)[0] + more_gb >= LARGE_FROM_GB:
        fitting = [row for row in fitting if row["memory_gb"] >= rows[LARGE]["memory_gb"]]
    if not fitting:
        message = f"an image of this size needs about {need:.0f} GB while it is built, more than any compute type has"
        raise shell.SkillError("usage", message, hint="a smaller base image, or --compute-type and see")
    return _machine(kind, fitting[0], f"about {need:.0f} GB of disk while it is built")


def _asked(rows: dict[str, dict[str, Any]], asked: str) -> dict[str, Any]:
    name = asked.upper()
    name = name if name.startswith("BUILD_") else f"BUILD_GENERAL1_{name}"
    if name.startswith("BUILD_LAMBDA"):
        message = f"{name} cannot build images: Lambda has no Docker, no root and no disk but /tmp"
        raise shell.SkillError("usage", message, hint=f"--compute-type {' or '.join(rows)}")
    if name not in rows:
        message = f"no compute type {shell.clean(asked, 60)!r} for this platform in the table of {table(TABLE)['date']}"
        raise shell.SkillError("usage", message, hint=f"--compute-type {' or '.join(rows)}")
    return rows[name]


def _machine(kind: dict[str, Any], row: dict[str, Any], reason: str) -> Machine:
    return Machine(kind["environment"], kind["image"], row["type"], row["disk_gb"], row["usd_per_minute"], reason)


def largest(bases: list[str]) -> str | None:
    """The base image that decides: all stages lie on the disk together. None: every stage begins with nothing."""
    return max(bases, key=lambda base: image_gb(base)[0]) if bases else None


def image_gb(base: str | None) -> tuple[float, bool]:
    """Unpacked size of the image, and whether the table knows the family of its base."""
    rows = table(TABLE)
    if base is None:
        return float(rows["scratch_gb"]), True
    if "-cpu-" in base:
        return float(rows["plain_image_gb"]), False
    for start, size in rows["base_gb"].items():
        whole = rf"(?:docker\.io/(?:library/)?)?{re.escape(start.rstrip('/'))}(?:[:@/]|$)"
        if re.match(whole, base) or f".{start}." in base:
            return float(size), True
    return float(rows["unknown_image_gb"]), False


def _need_gb(base: str | None, more_gb: float) -> float:
    rows = table(TABLE)
    return float(rows["copies"]) * (image_gb(base)[0] + more_gb) + float(rows["spare_gb"])


def estimate(machine: Machine, base: str | None, more_gb: float, region: str) -> Estimate:
    """Without a cache and without what is compiled: flash-attn alone takes 10 to 60 minutes."""
    rows = table(TABLE)
    size, known = image_gb(base)
    size += more_gb
    basis = f"table of {rows['date']}, no cache, nothing compiled"
    if not known:
        return Estimate(base, None, None, None, basis + "; the size of this base image is not in it")
    minutes = round((rows["start_s"] + 1000 * size / rows["mb_per_s"]) / 60, 1)
    if machine.usd_per_minute is None:
        return Estimate(base, round(size, 1), minutes, None, basis + f"; the price of {machine.type} is not in it")
    where = "" if region == rows["price_region"] else f"; prices of {rows['price_region']}"
    # CodeBuild charges whole minutes
    return Estimate(base, round(size, 1), minutes, round(-(-minutes // 1) * machine.usd_per_minute, 3), basis + where)
