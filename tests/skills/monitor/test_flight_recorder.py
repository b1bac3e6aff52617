"""`flight`: which ranks hold the others up, by dumps of real gloo groups (flight_dumps.py), and by files that are no dumps."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest
from flight_dumps import CASES

from tests.calling import SKILLS
from tests.training.forking import skill_run

PROGRAM = SKILLS / "monitor" / "src" / "diagnose_training.py"
ARCHIVE = Path(__file__).parent / "samples" / "flight.tar.xz"


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder each case, a file each rank; the files are as old as the dumps."""
    folder = tmp_path_factory.mktemp("dumps")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    for path in folder.glob("*/*.bin"):
        made = json.loads(path.read_bytes().rpartition(b"\n{")[2].join((b"{", b"")))["time"]
        os.utime(path, (made, made))
    return folder


def flight(folder: Path, code: int | None = None) -> dict[str, Any]:
    done = skill_run([sys.executable, str(PROGRAM), "flight", str(folder)], timeout=120)
    assert code is None or done.returncode == code, (done.stdout, done.stderr)
    return dict(json.loads(done.stdout))


@pytest.mark.parametrize("name", CASES)
def test_guilty(name: str, dumps: Path) -> None:
    """Named are exactly the ranks at which the fault was put, and nobody in a healthy run."""
    case = CASES[name]
    data = flight(dumps / name, 1 if case.guilty else 0)["data"]
    assert (data["state"], data["guilty"]) == (case.state, list(case.guilty)), data["line"]
    if case.guilty:
        assert f"rank{'s' if len(case.guilty) > 1 else ''} {', '.join(map(str, case.guilty))} " in data["line"]
        assert data["collective"].startswith("gloo:") and data["group"] and data["seq"] is not None


def test_without_the_runtimes_line(dumps: Path, tmp_path: Path) -> None:
    """torch's own dumps: when they were made is the file's time, and the ranks of gloo's groups are those that called in them."""
    wrong = {}
    for name, case in CASES.items():
        folder = tmp_path / name
        folder.mkdir()
        for path in (dumps / name).iterdir():
            raw, when = path.read_bytes(), path.stat().st_mtime
            bare = folder / f"nccl_trace_rank_{int(path.stem[-4:])}"
            bare.write_bytes(raw[: raw.rindex(b"\n{")])
            os.utime(bare, (when, when))
        data = flight(folder)["data"]
        # The last rank of all has left no dump: nobody knows then that there is one, so nobody is named.
        if data["guilty"] != ([] if name == "stopped-3" else list(case.guilty)):
            wrong[name] = data["line"]
    assert not wrong


def entry(seq: int, *, retired: bool, created: float, op: str = "gloo:all_reduce", **more: Any) -> dict[str, Any]:
    return {
        "pg_id": 0,
        "process_group": ("0", "default_pg"),
        "collective_seq_id": seq,
        "profiling_name": op,
        "time_created_ns": int(created * 1e9),
        "input_sizes": [[8]],
        "input_dtypes": ["Float"],
        "state": "scheduled",
        "retired": retired,
        "is_p2p": False,
        **more,
    }


def write(folder: Path, rank: int, entries: list[dict[str, Any]], protocol: int = 2) -> None:
    count = max(row["collective_seq_id"] for row in entries)
    status = {"0": {"last_enqueued_collective": count, "last_completed_collective": count - (not entries[-1]["retired"])}}
    folder.mkdir(exist_ok=True)
    (folder / f"rank-{rank:04d}.bin").write_bytes(
        pickle.dumps({"version": "2.10", "pg_config": {}, "pg_status": status, "entries": entries}, protocol=protocol)
    )


def test_one_of_512(tmp_path: Path) -> None:
    """512 ranks of which one is missing."""
    began = time.time() - 60
    for rank in range(512):
        done = [entry(seq, retired=True, created=began + seq / 10) for seq in range(1, 4)]
        write(tmp_path, rank, done if rank == 301 else [*done, entry(4, retired=False, created=began + 0.5)])
    data = flight(tmp_path, 1)["data"]
    assert data["guilty"] == [301] and data["total"]["waiting"] == 511


def test_two_that_disagree(tmp_path: Path) -> None:
    """Of two calls that do not fit together, neither is the odd one."""
    began = time.time() - 60
    for rank, op in enumerate(("gloo:all_reduce", "gloo:broadcast")):
        write(tmp_path, rank, [entry(1, retired=True, created=began), entry(2, retired=False, created=began + 1, op=op)])
    assert flight(tmp_path, 1)["data"]["guilty"] == [0, 1]


class Evil:
    def __reduce__(self) -> Any:
        return os.system, ("touch /tmp/trainyard-was-here",)


DAMAGED = {
    "code": pickle.dumps({"entries": [Evil()]}),
    "empty": b"",
    "text": b"not a pickle at all",
    "cut": pickle.dumps({"entries": [1, 2, 3], "pg_status": {}}, protocol=2)[:-4],
    "list": pickle.dumps([1, 2]),
    "no entries": pickle.dumps({"entries": None}),
    "other entries": pickle.dumps({"entries": [7, "x", None]}),
    "huge memo": b"\x80\x02}r\xff\xff\xff\xff" + b"X\x07\x00\x00\x00entries]s.",
    "huge text": b"\x80\x02X\xff\xff\xff\xffx.",
    "deep": b"\x80\x02" + b"(" * 200_000 + b".",
    "persistent": b"\x80\x02Pid\n.",
    "no mark": b"\x80\x02]e.",
    "laughs": pickle.dumps(
        {"entries": [entry(1, retired=False, created=1.0, input_sizes=(lambda row: [[row] * 9] * 9)([[[1] * 9] * 9] * 9))]}
    ),
    "number": pickle.dumps({"entries": [entry(10**60, retired=False, created=1.0)]}),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(name: str, tmp_path: Path) -> None:
    """Nothing in a file is run, it takes no more memory than it has bytes, and what cannot be read is unknown."""
    (tmp_path / "rank-0000.bin").write_bytes(DAMAGED[name])
    answer = flight(tmp_path)
    assert answer["data"]["guilty"] == [] and not Path("/tmp/trainyard-was-here").exists()
    assert answer["checks"][0]["status"] == "unknown"
    # Six bytes that Python's own Unpickler answers with 64 GB are a dump without entries here.
    assert len(answer["data"]["unreadable"]) == (name != "huge memo")


def test_a_damaged_one_among_good_ones(tmp_path: Path) -> None:
    """The rank whose dump was cut short is one of whom nothing is known, and the others wait for it."""
    began = time.time() - 60
    for rank in (0, 1, 2):
        write(tmp_path, rank, [entry(1, retired=True, created=began), entry(2, retired=False, created=began + 1)])
    cut = tmp_path / "rank-0003.bin"
    cut.write_bytes((tmp_path / "rank-0000.bin").read_bytes()[:-30])
    data = flight(tmp_path, 1)["data"]
    assert (data["guilty"], data["without_file"]) == ([3], [3]) and data["unreadable"]


def test_no_dumps(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "not there"):
        assert flight(folder, 3)["error"]["code"] == "not-found"


def test_every_protocol_of_pickle(tmp_path: Path) -> None:
    """What the reader takes for a value is what Python takes for one."""
    value = {
        "a": [1, -5, 2**40, 70_000, 300, 2.5, None, True, False, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        "é": {"b": b"x", "c": {}},
    }
    code = "import sys; sys.path.insert(0, sys.argv[1]); from flight_recorder.pickled import plain; print(repr(plain(sys.stdin.buffer.read())))"
    for protocol in (2, 3, 4, 5):
        wanted = {**value, "é": {"c": {}}} if protocol == 2 else value  # bytes were no plain thing then
        raw = pickle.dumps(wanted, protocol=protocol)
        done = subprocess.run(
            [sys.executable, "-c", code, str(PROGRAM.parent)],
            input=raw + b"more",
            stdout=subprocess.PIPE,
            timeout=60,
            check=True,
        )
        assert done.stdout.decode() == f"{(wanted, len(raw))!r}\n"
