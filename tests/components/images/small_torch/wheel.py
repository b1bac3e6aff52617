"""The wheel of the small torch, and beside it the wheels of what torch and trainyard require: together what pip needs.

Its version has the local part `slim`, which pip prefers to the public release for `torch` and for `torch==2.15.0`: Dockerfiles and
requirements stay as users write them.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import re
import stat
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from tests.components.images.small_torch import elf, libraries, stubs

ROOT = Path(__file__).resolve().parents[4]
PACKAGES = ("torch", "torchgen", "functorch")
LEFT_OUT = ("torch/include/", "torch/test/", "torch/share/")
NOT_REQUIRED = ("cuda", "nvidia", "triton")
TAG = "cp311-cp311-manylinux_2_28_x86_64"
WHEEL = f"Wheel-Version: 1.0\nGenerator: trainyard\nRoot-Is-Purelib: false\nTag: {TAG}\n"
DOWNLOAD_LIMIT_S = 300


def torch_version() -> str:
    """Of the installed torch, without its local part."""
    return importlib.metadata.version("torch").partition("+")[0]


def make(folder: Path) -> None:
    """About 15 s. Raises CalledProcessError, OSError."""
    version = f"{torch_version()}+slim"
    with tempfile.TemporaryDirectory(prefix="trainyard-torch-") as scratch:
        pack(folder / f"torch-{version}-{TAG}.whl", version, {**of_torch(), **of_nvidia(Path(scratch))})
    download_required(folder)


def of_torch() -> dict[str, Path]:
    """Name in the wheel -> file."""
    site = libraries.site()
    found = {}
    for package in PACKAGES:
        for path in sorted((site / package).rglob("*")):
            name = path.relative_to(site).as_posix()
            if path.is_file() and "__pycache__" not in path.parts and not name.startswith(LEFT_OUT):
                found[name] = path
    return found


def of_nvidia(scratch: Path) -> dict[str, Path]:
    """In their places, for torch looks for them there."""
    site = libraries.site()
    asked = frozenset().union(*(elf.symbols(path).asked for path in (site / "torch" / "lib").glob("*.so*")))
    stubbed = {path: stubs.make(path, scratch, asked) for path in libraries.of_nvidia(libraries.STUBBED)}
    kept = {path: path for path in libraries.of_nvidia(libraries.REAL)}
    return {original.relative_to(site).as_posix(): path for original, path in {**stubbed, **kept}.items()}


def content(path: Path) -> bytearray:
    """Of a file; of a library without its GPU kernels, which are zeros then and take no room in a compressed layer."""
    found = bytearray(path.read_bytes())
    if path.name.startswith("libtorch") and ".so" in path.name:
        offset, size = elf.gpu_kernels(path)
        found[offset : offset + size] = bytes(size)
    return found


def pack(wheel: Path, version: str, files: dict[str, Path]) -> None:
    """As the wheel format has it: https://packaging.python.org/en/latest/specifications/binary-distribution-format/"""
    about, record = f"torch-{version}.dist-info", []
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in files.items():
            record.append(add(archive, name, content(path), stat.S_IMODE(path.stat().st_mode)))
        for name, text in descriptions(version):
            record.append(add(archive, f"{about}/{name}", text.encode()))
        archive.writestr(f"{about}/RECORD", "\n".join([*record, f"{about}/RECORD,,", ""]))


def add(archive: zipfile.ZipFile, name: str, data: bytes | bytearray, mode: int = 0o644) -> str:
    """The entry's line of RECORD. The mode matters: torch starts its torch_shm_manager."""
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFREG | mode) << 16
    archive.writestr(entry, bytes(data), zipfile.ZIP_DEFLATED, compresslevel=1)
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}"


def descriptions(version: str) -> Iterator[tuple[str, str]]:
    """What is in dist-info. Without the entry points torch knows neither gloo nor nccl (`Unknown c10d backend type GLOO`)."""
    installed = importlib.metadata.distribution("torch")
    metadata = installed.read_text("METADATA") or ""
    metadata = re.sub(rf"(?m)^Requires-Dist: ({'|'.join(NOT_REQUIRED)}).*\n", "", metadata)
    yield "METADATA", re.sub(r"(?m)^Version: .*", f"Version: {version}", metadata, count=1)
    yield "entry_points.txt", installed.read_text("entry_points.txt") or ""
    yield "WHEEL", WHEEL


def required() -> list[str]:
    """What torch and trainyard require here, and NumPy, without which torch warns."""
    found = {"numpy"}
    for package in ("torch", "trainyard"):
        for text in importlib.metadata.requires(package) or []:
            requirement = Requirement(text)
            wanted = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            if wanted and requirement.name != "torch" and not requirement.name.startswith(NOT_REQUIRED):
                found.add(f"{requirement.name}{requirement.specifier}")
    return sorted(found)


def download_required(folder: Path) -> None:
    """So that builds can do with `--no-index`: what they install is then the same on every day."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--only-binary=:all:"]
    command += ["--dest", str(folder), "--constraint", str(ROOT / "constraints.txt"), *required()]
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=DOWNLOAD_LIMIT_S)
