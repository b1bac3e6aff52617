"""What a target is: a module `fuzz_NAME.py` in this folder, found by its name.

It holds, at the top level and cheap to import:

    COVERED = ["trainyard_yaml"]          # modules (and packages) whose branches lead the search; small ones, not torch
    SEEDS = [b"..."]                      # real input, as small as can be; the more branches they reach, the better
    WORDS = [b"<<:", b"&a", b"*a"]        # what a search by bytes would not find: key words, magic numbers

    def target() -> Callable[[bytes], None]:      # its imports stand here, so that they are made under observation

and may hold `MAX_BYTES` (4096), `TIMEOUT_S` (10: one input), `MEMORY_MB` (1024: the process), and `mutate(data, random) -> bytes`,
a change that bytes alone would rarely make (`documents.py` has one for YAML and one for lines of JSON).

The function that `target()` returns raises only for a fault: what it refuses in words (SkillError, Unusable) is right. It starts no
program and reaches no network: `driver.py` forbids both to the process.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

FOLDER = Path(__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Target:
    name: str
    covered: list[str]
    seeds: list[bytes]
    words: list[bytes]
    make: Callable[[], Callable[[bytes], None]]
    mutate: Callable[[bytes, Random], bytes] | None
    max_bytes: int
    timeout_s: int
    memory_mb: int


def module_of(name: str) -> str:
    return f"tests.fuzz.fuzz_{name}"


def names() -> list[str]:
    return sorted(path.stem.removeprefix("fuzz_") for path in FOLDER.glob("fuzz_*.py"))


def load(module: str) -> Target:
    found = importlib.import_module(module)
    return Target(
        name=module.rpartition(".")[2].removeprefix("fuzz_"),
        covered=found.COVERED,
        seeds=found.SEEDS,
        words=found.WORDS,
        make=found.target,
        mutate=getattr(found, "mutate", None),
        max_bytes=getattr(found, "MAX_BYTES", 4096),
        timeout_s=getattr(found, "TIMEOUT_S", 10),
        memory_mb=getattr(found, "MEMORY_MB", 1024),
    )
