"""torch's flight recorder of a rank, written by the rank itself when somebody asks: which collectives it called, and which are not done.

NCCL's watchdog writes such a file at a timeout; nobody does for gloo (tried, torch 2.15), and nobody before a timeout. A daemon thread
does it here: it runs while the main thread waits in a collective, which does not hold the interpreter. It is asked by the signal that
asks for stacks (stacks.py), or by a newer `stacks/ask` in the run folder, for whoever may write there and cannot send a signal. No network.

After the dump's pickle stands one line of JSON: when it was made, and the groups' ranks, which a dump of gloo lacks. torch's own reader
stops before it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import secrets
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from trainyard import stacks
from trainyard.files import make_run_folder
from trainyard.hang_files import flight_file
from trainyard.speaking import warn

LOOKS_S, FAR_LOOKS_S = 0.5, 5.0
"""Between two looks at the own open file, which cost nothing; and at the one in the folder, which may be another machine's disk."""
MAX_BYTES, MAX_NOTE_BYTES = 64 << 20, 1 << 20
BUFFERS = ("TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE")
ENTRIES = "2000"
"""torch's own default since 2.15; before, the recorder is off."""
REFUSALS = (OSError, RuntimeError, ValueError, TypeError, AttributeError, KeyError)
"""Of torch's private functions, which may be others in its next version: without a dump the training goes on."""

_watching: int | None = None


def dump_when_asked() -> None:
    """From now on a request makes this process dump its flight recorder. Call before the process group is made; again changes nothing.

    Only in a run folder and among several ranks; `TRAINYARD_FLIGHT=off` switches it off.
    """
    global _watching
    if _watching == os.getpid() or not stacks.has_flight() or not os.environ.get("TRAINYARD_RUN_ID"):
        return
    if not any(name in os.environ for name in BUFFERS):
        os.environ[BUFFERS[0]] = ENTRIES  # read when the first group is made
    _watching = os.getpid()
    threading.Thread(target=_watch, name="trainyard-evidence", daemon=True).start()


def _watch() -> None:
    seen, asked, far_at = _size(), _asked(), 0.0
    while True:
        time.sleep(LOOKS_S)
        is_asked, now = False, time.monotonic()
        if (size := _size()) != seen:
            is_asked = size > seen
        if now >= far_at:
            far_at = now + FAR_LOOKS_S
            if stacks.own_file() and signal.getsignal(stacks.ASKS) != signal.SIG_DFL:
                stacks.give_back()  # the script has a handler of its own since
            if (newest := _asked()) != asked:
                asked, is_asked = newest, True
                _print()
        if is_asked:
            dump()
            _cut()
        seen = _size()


def dump() -> None:
    """Write the file now. Nothing that goes wrong with it is more than a line on stderr."""
    run_dir, rank, attempt = os.environ["TRAINYARD_RUN_DIR"], stacks.number("RANK"), stacks.number("TRAINYARD_ATTEMPT")
    path = flight_file(Path(run_dir), attempt, rank)
    try:
        note = _note(rank)
        for ending, raw in _recorders().items():
            _write(path.with_suffix(ending), raw + note)
    except REFUSALS as error:
        warn(f"trainyard: rank {rank}: no flight recorder dump ({type(error).__name__}: {error}); training goes on")


def _recorders() -> dict[str, bytes]:
    """Ending of the file -> bytes. On GPUs NCCL has one of its own, and gloo's is for what runs on the CPU."""
    import torch
    from torch._C import _distributed_c10d as c10d

    # Lines of the script only where torch can name them at once: it imports torch._inductor for that (torch 2.15), sympy and hundreds of
    # modules more, which takes seconds that a rank about to be ended does not have. The stacks beside the dump have the lines.
    has_lines = "torch._inductor.codecache" in sys.modules
    found = {".bin": c10d._dump_fr_trace(True, has_lines, False)}
    has_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if has_gpu and hasattr(c10d, "_dump_nccl_trace"):
        found = {".bin": c10d._dump_nccl_trace(True, has_lines, False), ".gloo.bin": found[".bin"]}
    return {ending: raw for ending, raw in found.items() if len(raw) <= MAX_BYTES}


def _note(rank: int) -> bytes:
    said: dict[str, Any] = {"trainyard": 1, "time": time.time(), "rank": rank, "world_size": stacks.number("WORLD_SIZE")}
    groups = None
    with contextlib.suppress(*REFUSALS):
        groups = _groups()
    whole = json.dumps({**said, "groups": groups}).encode()
    return b"\n" + (whole if len(whole) <= MAX_NOTE_BYTES else json.dumps(said).encode()) + b"\n"


def _groups() -> dict[str, Any]:
    """Name -> ranks and description, as torch keeps them for itself."""
    from torch.distributed.distributed_c10d import _world

    names = list(_world.pg_names.items())
    return {name: {"ranks": sorted(_world.pg_group_ranks[group]), "desc": group.group_desc} for group, name in names}


def _write(path: Path, raw: bytes) -> None:
    make_run_folder(path.parent.parent)
    make_run_folder(path.parent)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o640), "wb") as file:
            file.write(raw)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink()


def _size() -> int:
    own = stacks.own_file()
    try:
        return os.fstat(own.descriptor).st_size if own else 0
    except OSError:
        return 0


def _asked() -> int:
    """Time of the newest request in the folder."""
    try:
        return os.stat(Path(os.environ["TRAINYARD_RUN_DIR"], "stacks", "ask")).st_mtime_ns
    except OSError:
        return 0


def _print() -> None:
    if own := stacks.own_file():
        with contextlib.suppress(OSError, RuntimeError):
            faulthandler.dump_traceback(own.descriptor, all_threads=True)


def _cut() -> None:
    if own := stacks.own_file():
        with contextlib.suppress(OSError):
            stacks.cut(own)
