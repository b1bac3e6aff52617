"""The small torch: pip prefers it, it trains on a CPU, and its GPU libraries are stubs that load and do nothing."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.components.images.fixtures import full_images
from tests.components.images.old_docker import OldDocker
from tests.components.images.small_torch import libraries, stubs, try_it
from tests.components.images.small_torch.elf import gpu_kernels, symbols
from tests.components.images.small_torch.wheel import torch_version

pytestmark = pytest.mark.when_changed("tests/components/**/*")

UNPRIVILEGED = (
    "--network=none",
    "--hostname=localhost",
    "--memory=2g",
    "--pids-limit=256",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
RUNS = int(os.environ.get("SMALL_TORCH_RUNS", "1"))
SAID = f"torch {torch_version()}+slim, ranks sum to 1, cuda False\n"


@pytest.fixture(scope="module")
def installed(small_torch: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip's resolver takes for `torch` is in this folder; from the served folder alone."""
    folder = tmp_path_factory.mktemp("site")
    uv = Path(sys.executable).with_name("uv")
    command = [uv, "pip", "install", "--quiet", "--no-index", "--no-config", "--find-links", small_torch, "--target", folder]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("UV_", "PIP_"))}
    words = [*map(str, command), "--python", sys.executable, "--link-mode=hardlink", "torch", "numpy"]
    subprocess.run(words, check=True, env=environment, timeout=120)
    return folder


def test_it_is_served_with_what_it_requires(small_torch: str) -> None:
    with urllib.request.urlopen(small_torch, timeout=20) as answer:
        listed = answer.read().decode()
    for name in (f"torch-{torch_version()}%2Bslim-cp311", "sympy-", "numpy-", "safetensors-"):
        assert name in listed
    assert "nvidia" not in listed


def test_it_trains_on_two_ranks(installed: Path, tmp_path: Path) -> None:
    words = ["-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone"]
    # -S: nothing of the installed packages, which have the whole torch.
    command = [sys.executable, "-S", *words, "--no-python", sys.executable, "-S", try_it.__file__, str(tmp_path / "saved")]
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.stdout == SAID, done.stderr[-3000:]


def test_gpu_kernels_are_zeros(installed: Path) -> None:
    library = installed / "torch" / "lib" / "libtorch_cuda.so"
    offset, size = gpu_kernels(library)
    whole = libraries.site() / "torch" / "lib" / "libtorch_cuda.so"
    assert size > 100 << 20 and gpu_kernels(whole) == (offset, size)
    for path, zeros in ((library, True), (whole, False)):
        with path.open("rb") as file:
            file.seek(offset)
            assert (not any(file.read(1 << 20))) == zeros


def test_a_stub_loads_and_is_no_nccl(installed: Path, tmp_path: Path) -> None:
    """A probe for NCCL must not take the stub: it offers the symbols, and answers neither success nor a version."""
    real = libraries.real("libnccl.so.2")
    if real is None:
        pytest.skip("torch is the build for CPUs")
    for stub in (installed / real.relative_to(libraries.site()), stubs.make(real, tmp_path)):
        version = ctypes.c_int(0)
        assert ctypes.CDLL(str(stub)).ncclGetVersion(ctypes.byref(version)) == 100
        assert version.value == 0 and stub.stat().st_size < 1 << 20
    assert set(symbols(tmp_path / real.name).offered) >= set(symbols(real).offered)
    asks = "import ctypes, sys; v = ctypes.c_int(0); print(ctypes.CDLL(sys.argv[1]).ncclGetVersion(ctypes.byref(v)), v.value > 20000)"
    done = subprocess.run([sys.executable, "-c", asks, real], capture_output=True, text=True, timeout=60)
    assert done.stdout == "0 True\n", done.stderr


@full_images
def test_it_trains_in_an_unprivileged_container(old_docker: OldDocker, tmp_path: Path) -> None:
    """Built from the base image as users would; SMALL_TORCH_RUNS=20 repeats the run."""
    (tmp_path / "try_it.py").write_text(Path(try_it.__file__).read_text())
    install = "RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-index --no-cache-dir torch numpy\n"
    text = f"FROM python:3.11-slim\n{install}COPY try_it.py /try_it.py\nUSER 1000\nENV PATH=/opt/venv/bin:$PATH\n"
    (tmp_path / "Dockerfile").write_text(text)
    built = old_docker.build(tmp_path, tag="small-torch")
    assert built.returncode == 0, built.stderr[-3000:]
    program = ["torchrun", "--nproc-per-node=2", "--standalone", "/try_it.py", "/tmp/saved"]
    for number in range(RUNS):
        ran = old_docker.run("run", "--rm", *UNPRIVILEGED, "--shm-size=256m", "small-torch", *program)
        assert ran.stdout == SAID, f"run {number}: {ran.stderr[-3000:]}"
