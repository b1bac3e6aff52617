"""Shared libraries: found where the loader and the vendors put them, loaded with dlopen, and asked for their version.

A file that lies there proves nothing: an empty one, one of another architecture and a stub with the right name do too.
"""

from __future__ import annotations

import ctypes
import glob
import os
import re
import struct
import sys
from typing import Any

from image_probe.probe_report import Absent, Failed, Report
from image_probe.probe_torch import imported

FOLDERS = (
    "{site}/nvidia/nccl/lib", "{site}/nvidia/cu*/lib", "/opt/amazon/efa/lib64", "/opt/amazon/efa/lib", "/opt/amazon/ofi-nccl/lib64",
    "/opt/amazon/ofi-nccl/lib", "/opt/amazon/ofi-nccl/lib/*-linux-gnu", "/opt/aws-ofi-nccl/lib", "/opt/nccl/build/lib",
    "/usr/local/cuda/lib64", "/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64", "/usr/lib/*-linux-gnu", "/lib/*-linux-gnu",
)  # fmt: skip
"""Amazon's EFA installer: lib64 on Amazon Linux, lib/x86_64-linux-gnu on Ubuntu for the plug-in."""
MACHINES = {3: "i386", 62: "x86_64", 183: "aarch64", 243: "riscv64"}
"""e_machine of ELF."""


def nccl(report: Report, item: dict[str, object]) -> dict[str, object]:
    """`ncclGetVersion(int*)` answers 0 and, since 2.9, major * 10000 + minor * 100 + patch.

    Of the library that torch uses, which need not be the loader's: wheels bring their own, other builds have it linked in.
    """
    torch = None if "folders" in item else _torch(report)
    path = in_memory("/libnccl.so") if torch else ""
    if torch and not path and torch.version.cuda:
        report.step("call torch.cuda.nccl.version")
        return {"path": str(torch.__file__), "version": ".".join(map(str, torch.cuda.nccl.version()[:3]))}
    path, library = (path, ctypes.CDLL(path)) if path else load(report, ["libnccl.so.2"], item)[:2]
    report.step("call ncclGetVersion")
    number = ctypes.c_int(0)
    try:
        code = library.ncclGetVersion(ctypes.byref(number))
    except AttributeError:
        raise Failed(f"{path} loads and has no ncclGetVersion: it is not NCCL") from None
    if code != 0 or not 2000 <= number.value < 10_000_000:
        raise Failed(f"{path} loads, and ncclGetVersion answers {code} with version {number.value}: a stub, not NCCL")
    parts = divmod(number.value, 10000) if number.value >= 10000 else divmod(number.value, 1000)
    return {"path": path, "version": f"{parts[0]}.{parts[1] // 100}.{parts[1] % 100}"}


def _torch(report: Report) -> Any:
    """None where it cannot be imported: the probe `torch` has the reason as its answer."""
    try:
        return imported(report)
    except Exception:
        return None


def libfabric(report: Report, item: dict[str, object]) -> dict[str, object]:
    """`fi_version()` of rdma/fabric.h: major << 16 | minor."""
    path, library, _ = load(report, ["libfabric.so.1"], item)
    report.step("call fi_version")
    try:
        library.fi_version.restype = ctypes.c_uint32
        number = int(library.fi_version())
    except AttributeError:
        raise Failed(f"{path} loads and has no fi_version: it is not libfabric") from None
    if not 1 <= number >> 16 < 100:
        raise Failed(f"{path} loads, and fi_version answers {number:#x}: a stub, not libfabric")
    return {"path": path, "version": f"{number >> 16}.{number & 0xFFFF}"}


def ofi_nccl(report: Report, item: dict[str, object]) -> dict[str, object]:
    """The plug-in exports `ncclNetPlugin_vN` or `ncclNet_vN`, whose first member is its name (NCCL's net_v*.h)."""
    path, library, by_name = load(report, ["libnccl-net.so", "libnccl-net-ofi.so"], item)
    report.step("read the plug-in's name")
    for version in range(20, 3, -1):
        for symbol in (f"ncclNetPlugin_v{version}", f"ncclNet_v{version}"):
            try:
                name = ctypes.c_char_p.in_dll(library, symbol).value or b""
            except ValueError:
                continue
            if b"libfabric" not in name.lower():
                raise Failed(f"{path} exports {symbol} with the name {name[:40]!r}: it is not aws-ofi-nccl")
            return {"path": path, "interface": version, "version": written_version(path), "by_name": by_name}
    raise Failed(f"{path} loads and exports no ncclNetPlugin: it is not a plug-in of NCCL")


def written_version(path: str) -> str | None:
    """The plug-in has no function for it; it prints `NET/OFI Initializing aws-ofi-nccl 1.20.0` from a text in the file."""
    try:
        with open(path, "rb") as file:
            found = re.search(rb"aws-ofi-nccl (?:git-)?v?(\d{1,4}\.\d{1,4}\.\d{1,4})", file.read(64 << 20))
    except OSError:
        return None
    return found[1].decode("ascii") if found else None


def load(report: Report, names: list[str], item: dict[str, object]) -> tuple[str, ctypes.CDLL, bool]:
    """Path, library, and whether its name is enough for the loader, which comes first; then the folders. Raises Absent, Failed with the cause."""
    found = _files(names, item)
    report.step("find " + " or ".join(names))
    for name in names:
        try:
            library = ctypes.CDLL(name)
            return in_memory("/" + name) or name, library, True
        except OSError as error:
            if "cannot open shared object file" not in str(error) or not str(error).startswith(name):
                raise Failed(_why(name, str(error))) from None
    if not found:
        raise Absent(f"no {' or '.join(names)} in the loader's path, beside torch or in /opt/amazon")
    report.step("load " + found[0])
    try:
        return found[0], ctypes.CDLL(found[0]), False
    except OSError as error:
        raise Failed(_why(found[0], str(error))) from None


def _files(names: list[str], item: dict[str, object]) -> list[str]:
    given = item.get("folders")
    folders = [str(each) for each in given] if isinstance(given, list) else list(FOLDERS)
    found = []
    for folder in folders:
        for site in sys.path if "{site}" in folder else [""]:
            for name in names:
                found += sorted(glob.glob(os.path.join(folder.replace("{site}", glob.escape(site)), name)))
    return found


def in_memory(part: str) -> str:
    """The file of a library that this process has loaded, whose path has `part` in it."""
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as file:
            return next((line.split(None, 5)[5].strip() for line in file if part in line), "")
    except OSError:
        return ""


def _why(path: str, error: str) -> str:
    """The loader's words, and for a file of another architecture which one."""
    machine = elf_machine(path)
    if machine and machine != os.uname().machine:
        return f"{path} is for {machine}, and the image runs on {os.uname().machine}"
    return f"{path} does not load: {error}"


def elf_machine(path: str) -> str | None:
    """x86_64, aarch64, ...; None for what is not ELF."""
    try:
        with open(path, "rb") as file:
            head = file.read(20)
    except OSError:
        return None
    if head[:4] != b"\x7fELF" or len(head) < 20:
        return None
    number = struct.unpack("<H" if head[5] == 1 else ">H", head[18:20])[0]
    return MACHINES.get(number, f"ELF machine {number}")
