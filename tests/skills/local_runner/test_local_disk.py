"""A disk that is full or may not be written: a refusal with the path, and nothing left behind; a full disk is reported."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

JOB = ["python", "attempts.py", "0"]


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="by design: mounting a small disk needs root")


def fill(place: Path, *, spare_bytes: int) -> None:
    """Leave `spare_bytes` (whole pages)."""
    handle = os.open(place / "filler", os.O_WRONLY | os.O_CREAT)
    size = 0
    with suppress(OSError):
        while True:
            size += os.write(handle, bytes(4096))
    os.ftruncate(handle, size - spare_bytes)
    os.close(handle)


@needs_root
@pytest.mark.parametrize("spare_bytes", [0, 4096, 16384])
def test_a_submit_on_a_full_disk_leaves_nothing(run, tmp_path, spare_bytes):
    with mounted(tmp_path / "disk", "size=256k") as disk:
        fill(disk, spare_bytes=spare_bytes)
        run.folder = disk / "runs" / "a-run"
        refused = run.submit(job=JOB)
        assert refused.code == 8 and str(disk) in refused.error["message"], refused
        assert os.listdir(disk) == ["filler"] and run.processes() == set()
        (disk / "filler").unlink()
        assert run.submit(job=JOB).code == 0 and run.wait().data["state"] == "finished"


@needs_root
def test_a_resume_on_a_full_disk_leaves_the_run_as_it_was(run, tmp_path):
    with mounted(tmp_path / "disk", "size=256k") as disk:
        run.folder = disk / "a-run"
        job = ["python", "attempts.py", "3", "0"]
        run.submit("--max-restarts", "0", job=job)
        run.wait()
        before = {path.name: path.read_bytes() for path in run.folder.glob("*.json")}
        fill(disk, spare_bytes=0)
        refused = run.submit("--max-restarts", "0", "--resume", job=job)
        assert refused.code == 8 and str(run.folder) in refused.error["message"]
        assert {path.name: path.read_bytes() for path in run.folder.glob("*.json")} == before
        seen = run.call("status", str(run.folder))
        assert (seen.code, seen.data["state"]) == (0, "failed")
        assert [check["id"] for check in seen.document["checks"]] == ["disk.space"], "a full disk is reported"
        (disk / "filler").unlink()
        run.submit("--max-restarts", "0", "--resume", job=job)
        assert run.wait().data["state"] == "finished"


@needs_root
def test_a_submit_on_a_read_only_disk_names_it_and_leaves_nothing(run, tmp_path):
    with mounted(tmp_path / "disk", "size=256k") as disk:
        run.folder = disk / "a-run"
        (disk / "there").mkdir()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        for folder in (disk / "a-run", disk / "there"):
            run.folder = folder
            refused = run.submit(job=JOB)
            assert refused.code == 4 and str(folder) in refused.error["message"]
        assert os.listdir(disk) == ["there"] and os.listdir(disk / "there") == []
        assert run.processes() == set()
