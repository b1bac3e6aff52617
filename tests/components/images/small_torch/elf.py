"""What a shared library asks for, what it offers, and where its GPU kernels lie, by binutils' readelf."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

READ_LIMIT_S = 120
GPU_KERNELS = ".nv_fatbin"


def readelf(*words: str | Path) -> list[list[str]]:
    """Its lines, split at blanks. Raises CalledProcessError for what is not an ELF file."""
    done = subprocess.run(["readelf", "--wide", *words], check=True, capture_output=True, text=True, timeout=READ_LIMIT_S)
    return [line.split() for line in done.stdout.splitlines()]


@dataclass(frozen=True)
class Symbols:
    asked: frozenset[str]
    """Of other libraries."""
    offered: dict[str, str]
    """Name -> the version node it belongs to, which what was linked against it names; empty where it has none."""


def symbols(library: Path) -> Symbols:
    """The dynamic ones. A line: `Num: Value Size Type Bind Vis Ndx Name@@VERSION`, Ndx UND for one that is asked for."""
    asked, offered = set(), {}
    for fields in readelf("--dyn-syms", library):
        if len(fields) >= 8 and fields[3] in ("FUNC", "OBJECT", "NOTYPE"):
            name, _, version = fields[7].partition("@")
            if fields[6] == "UND":
                asked.add(name)
            else:
                offered[name] = version.lstrip("@")
    return Symbols(frozenset(asked), offered)


def gpu_kernels(library: Path) -> tuple[int, int]:
    """Offset and size in bytes of the section with the GPU's code; (0, 0) where there is none."""
    for fields in readelf("--sections", library):
        if GPU_KERNELS in fields:  # [Nr] Name Type Address Offset Size ...
            place = fields.index(GPU_KERNELS)
            return int(fields[place + 3], 16), int(fields[place + 4], 16)
    return 0, 0
