"""The groups about images: which there are, what each needs here, and running a program whole, its start included."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measuring import Contestant, Group, Series, interleave

PROGRAMS = Path("skills", "image-builder", "src")
LIMIT_S = 900


@dataclass(frozen=True)
class Ran:
    """A program that has ended."""

    seconds: float
    document: dict[str, Any]


def reason_against(name: str) -> str | None:
    """Why a group cannot be measured here, in one line; what it lacks is built first, where that can be done."""
    if name == "image-check":
        return None
    if name == "image-source":
        from benchmarks import image_source

        return image_source.reason_against()
    if name == "image-skip":
        from benchmarks import image_skip

        return image_skip.reason_against()
    from tests.components.images import needs

    return needs.reason_against()


def run(name: str, root: Path, folder: Path, repeats: int) -> Iterator[Group]:
    from benchmarks import image_check, image_rebuild, image_skip, image_source

    if name in ("image-rebuild", "image-long"):
        yield from image_rebuild.run(root, folder, repeats, is_long=name == "image-long")
    else:
        module = {"image-source": image_source, "image-check": image_check, "image-skip": image_skip}[name]
        yield module.run(root, folder, repeats)


def places(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a program whose caches, logs and own copies lie in `folder`."""
    found = {"XDG_CACHE_HOME": "cache", "XDG_STATE_HOME": "state", "TMPDIR": "tmp"}
    for place in found.values():
        (folder / place).mkdir(parents=True, exist_ok=True)
    return {**os.environ, **{name: str(folder / place) for name, place in found.items()}, **more}


def ours(program: Path, *words: object, env: Mapping[str, str], codes: Sequence[int] = (0,)) -> Ran:
    """One of our programs. Raises RuntimeError for an exit code that is not expected."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, str(program), *map(str, words)], env=env, capture_output=True, text=True, timeout=LIMIT_S
    )
    seconds = time.monotonic() - started
    if done.returncode not in codes:
        raise RuntimeError(f"{program.name} ended with {done.returncode}: {done.stdout[-1500:]}{done.stderr[-1500:]}")
    return Ran(seconds, json.loads(done.stdout))


def peers(*commands: Sequence[object], env: Mapping[str, str], folder: Path) -> float:
    """The seconds of some commands one after the other, run in `folder`. Raises CalledProcessError."""
    started = time.monotonic()
    for words in commands:
        subprocess.run([*map(str, words)], env=env, cwd=folder, check=True, capture_output=True, timeout=LIMIT_S)
    return time.monotonic() - started


def measured(contestants: dict[str, Contestant], repeats: int) -> tuple[dict[str, Series], list[str]]:
    """The series of all, and a note: what the programs computed, which says more than their seconds on a machine that others use too."""
    used: dict[str, list[float]] = {name: [] for name in contestants}

    def counting(name: str) -> Contestant:
        def once() -> float:
            before = _cpu_s()
            seconds = contestants[name]()
            used[name].append(_cpu_s() - before)
            return seconds

        return once

    series = interleave({name: counting(name) for name in contestants}, repeats)
    told = "; ".join(f"{name}: {statistics.median(each):.2f}" for name, each in used.items())
    return series, [f"CPU seconds of the programs, without the servers that they call: {told}"]


def _cpu_s() -> float:
    """Of all children that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
