"""Loadable is dlopen and a version call: the real library, none, an empty file, a stub, one for another architecture."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from pathlib import Path

import probing
import pytest

gcc = pytest.mark.skipif(shutil.which("gcc") is None, reason="no gcc")


def probe(name: str, folder: Path) -> object:
    return probing.one(f"probe_loading.{name}", {"folders": [str(folder)]})


def library(folder: Path, name: str, source: str) -> Path:
    """A shared library of C."""
    (folder / "it.c").write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", folder / name, folder / "it.c"], check=True)
    return folder / name


def real_nccl() -> Path:
    for each in importlib.metadata.distributions():
        for file in each.files or []:
            if file.name == "libnccl.so.2":
                return Path(str(each.locate_file(file)))
    pytest.skip("no libnccl.so.2 in this environment")


def other_architecture(source: Path, target: Path) -> None:
    """The same file for aarch64: e_machine is 183."""
    head = bytearray(source.read_bytes()[: 1 << 16])
    head[18:20] = (183).to_bytes(2, "little")
    target.write_bytes(head)


def test_real_nccl() -> None:
    found = probe("nccl", real_nccl().parent)
    assert found.state == "done" and found.data["version"].startswith("2.")


def test_nccl_is_missing(tmp_path: Path) -> None:
    assert probe("nccl", tmp_path).state == "absent"


def test_nccl_is_empty(tmp_path: Path) -> None:
    (tmp_path / "libnccl.so.2").write_bytes(b"")
    found = probe("nccl", tmp_path)
    assert found.state == "failed" and "file too short" in found.text


def test_nccl_is_of_another_architecture(tmp_path: Path) -> None:
    other_architecture(real_nccl(), tmp_path / "libnccl.so.2")
    found = probe("nccl", tmp_path)
    assert found.state == "failed" and "is for aarch64, and the image runs on " + os.uname().machine in found.text


@gcc
@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("int ncclGetVersion(int *v) { return 100; }", "a stub"),
        ("int ncclGetVersion(int *v) { *v = 0; return 0; }", "a stub"),
        ("int other(void) { return 0; }", "no ncclGetVersion"),
    ],
)
def test_nccl_is_a_stub(tmp_path: Path, source: str, says: str) -> None:
    """What the small torch of these tests has in NCCL's place, and worse."""
    library(tmp_path, "libnccl.so.2", source)
    found = probe("nccl", tmp_path)
    assert found.state == "failed" and says in found.text


@gcc
def test_nccl_crashes(tmp_path: Path) -> None:
    library(tmp_path, "libnccl.so.2", "int ncclGetVersion(int *v) { *(volatile int *)0 = 1; return 0; }")
    found = probe("nccl", tmp_path)
    assert found.state == "died" and found.step == "call ncclGetVersion"


@gcc
@pytest.mark.parametrize(
    ("source", "state", "version"),
    [
        ("unsigned fi_version(void) { return 2 << 16 | 4; }", "done", "2.4"),
        ("unsigned fi_version(void) { return 0; }", "failed", None),
        ("int nothing;", "failed", None),
    ],
)
def test_libfabric(tmp_path: Path, source: str, state: str, version: str | None) -> None:
    library(tmp_path, "libfabric.so.1", source)
    found = probe("libfabric", tmp_path)
    assert (found.state, found.data.get("version")) == (state, version)


PLUGIN = (
    'const char *text = "NET/OFI Initializing aws-ofi-nccl 1.20.0"; struct {{ const char *name; }} ncclNet_v10 = {{ "{}" }};'
)


@gcc
@pytest.mark.parametrize(
    ("name", "state"), [("AWS Libfabric", "done"), ("Libfabric", "done"), ("IB", "failed"), ("Socket", "failed")]
)
def test_ofi_nccl(tmp_path: Path, name: str, state: str) -> None:
    """The name in the plug-in's table decides; its version is a text in the file."""
    library(tmp_path, "libnccl-net.so", PLUGIN.format(name))
    found = probe("ofi_nccl", tmp_path)
    assert found.state == state
    assert found.data.get("version") == ("1.20.0" if state == "done" else None)


@gcc
def test_ofi_nccl_needs_what_is_not_there(tmp_path: Path) -> None:
    """A plug-in whose libfabric is missing does not load, and the missing library is named."""
    library(tmp_path, "libabsent.so.9", "int absent(void) { return 1; }")
    (tmp_path / "plug.c").write_text("int absent(void); int ncclNet_v10 = 0; int use(void) { return absent(); }")
    words = [
        "gcc",
        "-shared",
        "-fPIC",
        "-o",
        tmp_path / "libnccl-net.so",
        tmp_path / "plug.c",
        f"-L{tmp_path}",
        "-l:libabsent.so.9",
    ]
    subprocess.run(words, check=True)
    (tmp_path / "libabsent.so.9").unlink()
    found = probe("ofi_nccl", tmp_path)
    assert found.state == "failed" and "libabsent.so.9: cannot open shared object file" in found.text
