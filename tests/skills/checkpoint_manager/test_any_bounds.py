"""What a file claims costs bounded memory and time: headers of a hundred megabytes, a million tensors, pickles that share and nest."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from damaged_samples import torch_zip
from made_checkpoints import PROGRAM

RSS_MB = 500


@pytest.fixture(scope="module")
def reading_s() -> float:
    """CPU seconds in which this machine, loaded as it is, reads a million tensors' entries as JSON."""
    entries = json.dumps({f"{n:07d}": {"dtype": "F32", "shape": [1], "data_offsets": [n, n + 4]} for n in range(100_000)})
    began = time.process_time()
    json.loads(entries)
    return (time.process_time() - began) * 10


class Ran(NamedTuple):
    document: dict[str, Any]
    code: int
    cpu_s: float
    rss_mb: float


MEASURE = """
import json, os, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([json.loads(done.stdout), done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024]))
"""
"""A small process in between: a child's peak begins with that of its parent."""


def measured(*words: str | Path) -> Ran:
    """One call in a process of its own, with what it used."""
    command = [sys.executable, "-c", MEASURE, sys.executable, str(PROGRAM), *map(str, words)]
    return Ran(*json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=180).stdout))


def million(path: Path) -> Path:
    """A header of 96 MB; the tensors' bytes are a hole."""
    entries = (
        f'"model.layers.{n:07d}.block.weight":{{"dtype":"F32","shape":[1],"data_offsets":[{4 * n},{4 * n + 4}]}}'
        for n in range(10**6)
    )
    header = ("{" + ",".join(entries) + "}").encode()
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + 4 * 10**6)
    return path


def test_a_million_tensors_take_seconds_and_a_header_of_96_mb_half_a_gigabyte(tmp_path: Path, reading_s: float) -> None:
    path = million(tmp_path / "model.safetensors")
    assert path.stat().st_size > 99_000_000
    ran = measured("tensors", path, "--limit", "1")
    assert ran.document["data"]["total"] == 10**6
    assert ran.cpu_s < 4 * reading_s and ran.rss_mb < RSS_MB, ran[1:]


def test_a_header_of_one_long_text_is_bounded_too(tmp_path: Path, reading_s: float) -> None:
    """One letter beyond the sixteen-bit ones makes a text of Python four bytes a letter."""
    for number, (header, verdict) in enumerate(
        (
            (b'{"__metadata__":{"a":"' + b"x" * 99_000_000 + "\U0001f600".encode() + b'"}}', "unknown"),
            (b'{"w":{"dtype":"' + b"x" * 99_000_000 + "\U0001f600".encode() + b'"}}', "damaged"),
            (b"[" * 99_000_000, "damaged"),
            (b'{"a":' * 19_000_000, "damaged"),
            (b'{"' + b'\\"' * 49_000_000, "damaged"),
        )
    ):
        path = tmp_path / f"{number}.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        ran = measured("verify", path)
        assert (ran.code, ran.document["data"]["verdict"]) == (1, verdict), number
        assert ran.cpu_s < 4 * reading_s and ran.rss_mb < RSS_MB, (number, ran[1:])
        path.unlink()


def laughs(levels: int) -> bytes:
    """Lists of ten times the list before: 10**levels places."""
    data = b"]q\x00X\x04\x00\x00\x00lolza"
    for number in range(1, levels + 1):
        level = b"]q" + bytes([number]) + b"(" + (b"h" + bytes([number - 1])) * 10 + b"e"
        data += level
    return b"\x80\x02" + data + b"."


def test_pickles_that_share_or_nest_cost_the_same_whatever_they_claim(tmp_path: Path, reading_s: float) -> None:
    cases = {
        "laughs": laughs(9),
        "many laughs": laughs(200),
        "tuples": b")" + b"\x85" * 3_000_000 + b".",
        "tuples of two": b"\x80\x02)" + b"2\x86" * 1_000_000 + b".",
        "lists": b"\x80\x02" + b"]" * 900_000 + b"a" * 899_999 + b".",
    }
    for name, data in cases.items():
        path = torch_zip(tmp_path / f"{name}.pt", data)
        ran = measured("verify", path)
        assert (ran.code, ran.document["data"]["verdict"]) == (1, "unknown"), name
        assert ran.cpu_s < 2 * reading_s and ran.rss_mb < RSS_MB, (name, ran[1:])


def test_operations_and_members_are_counted(tmp_path: Path, reading_s: float) -> None:
    """More than eight million operations, and a directory of a million members: not known, in seconds."""
    path = torch_zip(tmp_path / "long.pt", b"\x80\x02" + b"N0" * 4_500_000 + b"N.")
    ran = measured("verify", path)
    assert ran.document["data"]["verdict"] == "unknown" and ran.cpu_s < 4 * reading_s, ran[1:]
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 33, 0, 0, 0, 20, 0, 0, 0, 0, 0, 0)
    names = b"".join(entry + b"archive/data/%07d" % number for number in range(400_000))
    with zipfile.ZipFile(tmp_path / "members.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
        begin = archive.fp.tell()  # type: ignore[union-attr]
    data = (tmp_path / "members.pt").read_bytes()[:begin]
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 7, 7, len(names), len(data), 0)
    (tmp_path / "members.pt").write_bytes(data + names + end)
    ran = measured("verify", tmp_path / "members.pt")
    assert ran.code == 1 and ran.cpu_s < 4 * reading_s and ran.rss_mb < RSS_MB, ran[1:]
