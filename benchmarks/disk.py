"""The disk under the benchmarks: its own speed, its cache, and whether there is room."""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

CHUNK_BYTES = 8 << 20
MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}


def write_and_fsync(path: Path, parts: Iterable[memoryview | bytes]) -> float:
    """Seconds to write these bytes to one new file and fsync it: what the disk itself needs."""
    started = time.monotonic()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    try:
        for part in parts:
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(descriptor, rest[:CHUNK_BYTES]) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return time.monotonic() - started


def remove(path: Path) -> None:
    """Remove a file or folder and let the disk finish: the next contestant must not pay for it."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    os.sync()


def remove_whole(path: Path, state_bytes: int) -> None:
    """Remove what a contestant wrote, once it is clear that it wrote the whole state. Raises RuntimeError when it did not."""
    written = sum(file.stat().st_size for file in files_in(path))
    if written < state_bytes:
        raise RuntimeError(f"{path}: {written} bytes were written, the state has {state_bytes}")
    remove(path)


def files_in(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())


def make_cold(path: Path) -> None:
    """Drop these files from the page cache; only clean, unmapped pages go. Raises RuntimeError when they stay."""
    for file in files_in(path):
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    left = max(cached_share(file) for file in files_in(path))
    if left > 0.01:
        raise RuntimeError(f"{path}: {left:.0%} of it is still in the page cache; a cold read cannot be measured")


def make_warm(path: Path) -> None:
    """Read these files once."""
    buffer = bytearray(CHUNK_BYTES)
    for file in files_in(path):
        with file.open("rb", buffering=0) as opened:
            while opened.readinto(buffer):
                pass


def cached_share(path: Path) -> float:
    """Share of a file's pages that are in the page cache (mincore(2))."""
    size = path.stat().st_size
    if not size:
        return 0.0
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), size, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as view,
    ):
        pages = -(-size // mmap.PAGESIZE)
        resident = (ctypes.c_ubyte * pages)()
        pin = ctypes.c_char.from_buffer(view)
        try:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.mincore(ctypes.c_void_p(ctypes.addressof(pin)), ctypes.c_size_t(size), resident):
                raise OSError(ctypes.get_errno(), "mincore")
        finally:
            del pin
        return sum(page & 1 for page in resident) / pages


def file_system(folder: Path) -> str:
    """Type of the file system that holds `folder`; "unknown" where the kernel does not say."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    held = [(place, kind) for place, kind in mounts if folder.resolve().is_relative_to(place)]
    return max(held, key=lambda mount: len(mount[0]), default=("", "unknown"))[1]


class NoRoom(Exception):
    """This machine is too small for a measurement; the text says what is missing."""


def check_room(folder: Path, state_bytes: int) -> None:
    """Raises NoRoom when a state of this size cannot be measured here."""
    # On disk: three files to load from, or an old step, a new one and a peer's. In memory: the state, snapshots, a peer's copy.
    free, available, needed = shutil.disk_usage(folder).free, _available_memory(), 4 * state_bytes
    if free < needed:
        raise NoRoom(f"{folder} has {free / 1e9:.1f} GB free, {needed / 1e9:.1f} are needed; choose another with --dir")
    if available is not None and available < needed:
        raise NoRoom(f"{available / 1e9:.1f} GB of memory are available, {needed / 1e9:.1f} are needed; try --size small")


def _available_memory() -> int | None:
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    except OSError:
        return None
    return int(lines["MemAvailable"].split()[0]) * 1024
