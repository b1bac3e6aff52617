"""All logs of a case, each read once; many long ones by several processes, for a search over bytes leaves no core to another thread."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor

from diagnosis.facts import Source
from diagnosis.one_log import LogFacts, LogReader
from diagnosis.rules import every_of

ALONE_BYTES = 64 << 20
"""Up to so many the start of other processes costs more than it saves."""
MOST_PROCESSES = 4
"""Each takes some 40 MB."""


def read_logs(sources: list[Source]) -> Iterator[LogFacts]:
    """In the order of `sources`. What a process does not give back is read here."""
    done, processes = 0, _processes(sources)
    if processes > 1:
        every_of("log", "")  # the rules are compiled once, before the others are forked
        try:
            context = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(processes, mp_context=context) as pool:
                for facts in pool.map(_read, sources, chunksize=max(1, min(8, len(sources) // (4 * processes)))):
                    done += 1
                    yield facts
        except (BrokenExecutor, OSError):  # out of memory or processes: slower does as well
            pass
    for source in sources[done:]:
        yield _read(source)


def _read(source: Source) -> LogFacts:
    return LogReader(source).read()


def _processes(sources: list[Source]) -> int:
    if len(sources) < 2 or sum(map(_size, sources)) <= ALONE_BYTES:
        return 1
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1, len(sources), MOST_PROCESSES)


def _size(source: Source) -> int:
    try:
        return source.path.stat().st_size if source.path is not None else 0
    except OSError:
        return 0
