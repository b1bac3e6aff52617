"""Words of a failure -> what is wrong and what to do. The first row that matches counts; each has a test with the real message."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEBIAN = {
    "libGL.so.1": "libgl1", "libgthread-2.0.so.0": "libglib2.0-0", "libglib-2.0.so.0": "libglib2.0-0", "libSM.so.6": "libsm6",
    "libXext.so.6": "libxext6", "libgomp.so.1": "libgomp1", "libsndfile.so.1": "libsndfile1", "libnuma.so.1": "libnuma1",
    "libibverbs.so.1": "libibverbs1", "librdmacm.so.1": "librdmacm1", "libstdc++.so.6": "libstdc++6", "libopenblas.so.0": "libopenblas0",
    "libmpi.so.40": "libopenmpi3", "libaio.so.1": "libaio1", "libjpeg.so.62": "libjpeg62-turbo", "libssl.so.1.1": "libssl1.1",
    "libfabric.so.1": "libfabric1", "libhwloc.so.15": "libhwloc15", "libatomic.so.1": "libatomic1", "libpython3.11.so.1.0": "libpython3.11",
}  # fmt: skip
"""Library -> package of Debian and Ubuntu that brings it."""
NVIDIA = re.compile(r"lib(?:cu|nv|nccl)")


@dataclass(frozen=True)
class Cause:
    """What is wrong, by a name that stays."""

    id: str
    what: str
    fix: str


@dataclass(frozen=True)
class Row:
    id: str
    pattern: re.Pattern[str]
    what: str
    """With the groups of the pattern, `{0}` the first."""
    fix: str


def row(id: str, pattern: str, what: str, fix: str) -> Row:
    return Row(id, re.compile(pattern), what, fix)


ROWS = (
    row("backend", r"Unknown c10d backend type (\w+)",
        "torch does not know the backend {0}: its dist-info with entry_points.txt is not in the image",
        "install torch with pip in the image; copying its folder alone leaves torch-*.dist-info behind"),
    row("architecture", r"[Ee]xec(?: user process caused:?)? ?.{0,60}exec format error|exec format error",
        "the program is for another processor architecture", "build with --platform linux/amd64 (or the architecture of the instance type)"),
    row("numpy-abi", r"_ARRAY_API not found|compiled using NumPy 1\.x cannot be run in NumPy|numpy\.dtype size changed|"
        r"numpy\.core\.multiarray failed to import|module compiled against (?:API|ABI) version",
        "an extension was built for another NumPy", 'numpy<2, or a newer release of the package that was built for NumPy 1'),
    row("glibc", r"version `(GLIBC(?:XX)?_[\d.]+)' not found",
        "a library needs {0}, and the image's C library is older", "a newer base image, or an older release of the package"),
    row("home", r"getpwuid\(\): uid not found: (\d+)",
        "user {0} has no entry in /etc/passwd", "RUN useradd --uid {0} --create-home trainer, or ENV USER and HOME in the Dockerfile"),
    row("cache", r"Permission(?:Error|denied)?.{0,80}'(/(?:\.cache|\.config|\.triton|root)[^']{0,100})'",
        "{0} cannot be written: the user has no home of its own", "ENV HOME=/tmp in the Dockerfile, or a user with a home"),
    row("shm", r"DataLoader worker .{0,80}Bus error|killed by signal: Bus error|unable to (?:open|mmap|allocate) shared memory|"
        r"unable to open shared memory object|No space left on device.{0,60}(?:/dev/shm|torch_)|signal 7\b",
        "/dev/shm is too small", "resources.shm in the job file (--shm here), or fewer DataLoader workers"),
    row("gpu", r"Found no NVIDIA driver|No CUDA GPUs are available|Torch not compiled with CUDA enabled|no NVIDIA GPUs? detected|"
        r"CUDA driver initialization failed|cuda\w* (?:is )?not available|ProcessGroupNCCL is only supported with GPUs|libcuda\.so\.1: cannot open|"
        r"CUDA is not available|torch\.cuda\.is_available\(\) (?:is|==) False|no CUDA-capable device",
        "it needs a GPU", "run the test on a machine with a GPU: --gpus all"),
    row("network", r"Temporary failure in name resolution|Name or service not known|Network is unreachable|MaxRetryError|"
        r"LocalEntryNotFoundError|couldn't connect to 'https?://|OfflineModeIsEnabled",
        "it needs the network", "--network, or what it downloads in the image"),
    row("rendezvous", r"DistNetworkError|timed out after \d+ms.{0,80}(?:connect|client socket)|The client socket has timed out",
        "the ranks do not reach each other: the host name does not resolve", "ranks on localhost; PET_RDZV_ENDPOINT=localhost:0"),
    row("library", r"(lib[\w+.-]+\.so[\w.]*): cannot open shared object file",
        "the shared library {0} is not in the image", ""),
    row("elf", r"(\S+): (?:wrong ELF class|invalid ELF header|file too short)",
        "{0} is not a library for this architecture", "install it for the image's architecture"),
    row("symbol", r"undefined symbol: (\w{1,120})",
        "an extension was built against another release (undefined symbol {0})", "rebuild it for the torch and CUDA of the image"),
    row("syntax", r"SyntaxError: (.{1,80})", "the code does not fit the image's Python: {0}", "another Python in the image, or another release"),
    row("module", r"No module named '([\w.]+)'", "the module {0} is not in the image", "declare its package, and install it in the image"),
    row("pids", r"Resource temporarily unavailable|can't start new thread|BlockingIOError", "it needs more processes or threads", "--pids"),
    row("disk", r"No space left on device|ENOSPC", "a disk of the container is full", "--memory: /tmp has half of it"),
    row("read-only", r"Read-only file system: '?([^'\n]{1,100})", "it writes to {0}, which is read-only in this test", "write to /tmp or TRAINYARD_RUN_DIR"),
)  # fmt: skip
MEMORY = Cause("memory", "the kernel ended it for want of memory", "--memory 8Gi")
CRASH = {
    "4": Cause(
        "instruction", "it ended with an illegal instruction: built for a newer processor", "a build for x86-64-v2 or older"
    ),
    "7": Cause("shm", "it ended with a bus error: /dev/shm is too small", "resources.shm in the job file (--shm here)"),
    "11": Cause("crash", "it crashed (segmentation fault) in native code", "another release of what it was importing"),
}


def cause_of(text: str, *, only: tuple[str, ...] = ()) -> Cause | None:
    """The first row that matches; `only`: of these."""
    for each in ROWS:
        if (not only or each.id in only) and (found := each.pattern.search(text)):
            if each.id == "library":
                return _library(found[1])
            return Cause(each.id, each.what.format(*found.groups()), each.fix.format(*found.groups()))
    if found := re.search(r"ended by signal (\d+)", text):
        return CRASH.get(found[1])
    return None


def _library(name: str) -> Cause:
    package = DEBIAN.get(name)
    if package:
        fix = f"RUN apt-get update && apt-get install -y --no-install-recommends {package}"
    elif NVIDIA.match(name):
        fix = "the CUDA package that torch names in its metadata (pip install torch without --no-deps), or an image with CUDA"
    else:
        fix = f"`apt-file search {name}` names the package that brings it"
    return Cause("library", f"the shared library {name} is not in the image", fix)
