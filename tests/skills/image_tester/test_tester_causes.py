"""Each cause is found in the words that the real tool prints, and by no row before it."""

from __future__ import annotations

import probing
import pytest

REAL = {
    "backend": "ValueError: Unknown c10d backend type GLOO",
    "architecture": "standard_init_linux.go:228: exec user process caused: exec format error",
    "numpy-abi": "A module that was compiled using NumPy 1.x cannot be run in NumPy 2.4.6 as it may crash.",
    "glibc": "OSError: /lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by /opt/x.so)",
    "home": "KeyError: 'getpwuid(): uid not found: 12345'",
    "cache": "PermissionError: [Errno 13] Permission denied: '/.cache/huggingface'",
    "shm": "RuntimeError: DataLoader worker (pid 71) is killed by signal: Bus error. It is possible that dataloader's workers are out of shared memory",
    "gpu": "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
    "network": "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>",
    "rendezvous": "torch.distributed.DistNetworkError: The client socket has timed out after 300000ms while trying to connect to (x, 29500).",
    "library": "ImportError: libGL.so.1: cannot open shared object file: No such file or directory",
    "elf": "OSError: /opt/libx.so: wrong ELF class: ELFCLASS32",
    "symbol": "ImportError: flash_attn_2_cuda.so: undefined symbol: _ZN3c104cuda9SetDeviceEi",
    "syntax": "SyntaxError: invalid syntax (app.py, line 3)",
    "module": "ModuleNotFoundError: No module named 'yaml'",
    "pids": "BlockingIOError: [Errno 11] Resource temporarily unavailable",
    "disk": "OSError: [Errno 28] No space left on device",
    "read-only": "OSError: [Errno 30] Read-only file system: '/app/out'",
    "crash": "its process was ended by signal 11",
    "instruction": "its process was ended by signal 4",
}


@pytest.mark.parametrize("id", REAL)
def test_a_cause_is_found(id: str) -> None:
    found = probing.module("tester_causes").cause_of(REAL[id])
    assert found is not None and found.id == id and found.what and found.fix and "{" not in found.what + found.fix


def test_every_row_has_its_words() -> None:
    assert {row.id for row in probing.module("tester_causes").ROWS} <= set(REAL)


@pytest.mark.parametrize("text", ["", "loss 2.5", "ValueError: no", "Permission denied: '/app/out'", "shared memory is fine"])
def test_other_words_have_no_cause(text: str) -> None:
    """Control."""
    assert probing.module("tester_causes").cause_of(text) is None


def test_a_missing_library_names_its_package() -> None:
    cause_of = probing.module("tester_causes").cause_of
    assert "install -y --no-install-recommends libgl1" in cause_of(REAL["library"]).fix
    assert "--no-deps" in cause_of("libcudnn.so.9: cannot open shared object file").fix
    assert "apt-file search libodd.so.3" in cause_of("libodd.so.3: cannot open shared object file").fix
