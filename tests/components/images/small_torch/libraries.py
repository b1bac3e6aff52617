"""Where the installed torch lies, and which of NVIDIA's libraries it needs to load, in what form."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

REAL = ("libcudart.so", "libcupti.so", "libcufile.so.0")
"""Small ones, used as they are."""
STUBBED = (
    "libcublas.so",
    "libcublasLt.so",
    "libcudnn.so",
    "libcufft.so",
    "libcusparse.so",
    "libcusparseLt.so",
    "libnccl.so",
    "libnvrtc.so",
    "libnvshmem_host.so",
)
"""The others that torch 2.15 asks for when it is loaded. Not asked for: triton, cusolver, the parts of cudnn."""


def site() -> Path:
    """The folder of the installed packages."""
    return Path(sysconfig.get_path("purelib"))


def of_nvidia(beginnings: tuple[str, ...]) -> Iterator[Path]:
    """Those whose file name begins so, with a version behind `.so`; none where torch is the build for CPUs."""
    for path in sorted((site() / "nvidia").rglob("lib*.so.*")):
        if path.name.startswith(beginnings):
            yield path


def real(name: str) -> Path | None:
    """Where a library of NVIDIA's lies here, say libnccl.so.2 (252 MB); None where torch is the build for CPUs."""
    return next(of_nvidia((name,)), None)
