"""Logs are bounded while the job writes them; whoever follows one loses nothing, and a full disk is reported."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from test_local_disk import mounted, needs_root

LIMIT = 1 << 20
# 40,000 numbered lines are 4 MiB; the job waits at 10,000 until it is told to go on, so that it writes before, at and after a cut
TALKER = """
import os, time
for number in range(40_000):
    print(f"{number:08d} " + "x" * 90, flush=True)
    if number % 10_000 == 9_999:
        place = os.path.join(os.environ["TRAINYARD_RUN_DIR"], f"go-{number // 10_000}")
        while not os.path.exists(place):
            time.sleep(0.02)
"""


def numbers(text: str) -> list[int]:
    return [int(found) for found in re.findall(r"^(\d{8}) x{90}$", text, re.MULTILINE)]


def test_a_log_is_cut_while_the_job_writes_it_and_its_reader_goes_on(run, wait_for):
    run.environ |= {"TRAINYARD_LOG_LIMIT_MB": "1"}
    run.submit(job=["python", "-c", TALKER])
    path = run.folder / "logs" / "attempt-0000.log"
    run.wait_for_log(0)
    told = run.folder / "followed"
    with told.open("w") as file:
        reader = run.popen("logs", str(run.folder), "--follow", "--lines", "2000", stdout=file, stderr=file)
    for part in range(4):
        last = f"{part * 10_000 + 9_999:08d}"
        wait_for(lambda last=last: last in run.log() and path.stat().st_size <= LIMIT, "a log that is short again")
        wait_for(lambda last=last: last in told.read_text(), "its reader")
        (run.folder / f"go-{part}").touch()
    assert run.wait().data["state"] == "finished" and reader.wait(timeout=60) == 0
    kept = numbers(run.log())
    assert kept[:1000] == list(range(1000)) and kept[-1000:] == list(range(39_000, 40_000)), "the first part and the last"
    assert kept == sorted(set(kept)) and path.stat().st_size <= LIMIT
    cut = re.search(r"^\[trainyard\] cut: (\d+) bytes are missing here", run.log(), re.MULTILINE)
    missing = (40_000 - len(kept)) * 100
    assert cut and missing <= int(cut[1]) < missing + 1000, "every byte is there or counted, the earlier notices too"
    lines = [json.loads(line).get("line", "") for line in told.read_text().splitlines()]
    followed = numbers("\n".join(lines))
    assert followed == sorted(set(followed)) and followed[-1] == 39_999, "in order, none twice, to the end"


def test_one_line_without_an_end_is_bounded_too(run, wait_for):
    run.environ |= {"TRAINYARD_LOG_LIMIT_MB": "1"}
    endless = "import os, time\nfor _ in range(80): os.write(1, b'#' * 65536)\ntime.sleep(3600)"
    run.submit(job=["python", "-c", endless])
    path = run.folder / "logs" / "attempt-0000.log"
    wait_for(lambda: path.exists() and b"[trainyard] cut: " in path.read_bytes() and path.stat().st_size <= LIMIT, "the cut")
    shown = run.call("logs", str(run.folder), "--lines", "5")
    assert shown.code == 0 and len(json.dumps(shown.data)) < 20_000
    assert run.stop("--now").data["state"] == "stopped"


def take(filler: Path, *, spare_bytes: int) -> None:
    """All the room at once: what is freed meanwhile stays free."""
    room = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_bsize - spare_bytes)


@needs_root
def test_a_job_that_fills_the_disk_finds_room_again_and_the_screens_say_so(run, tmp_path, wait_for):
    with mounted(tmp_path / "disk", "size=80m") as disk:
        run.folder = disk / "a-run"
        words = (
            "import os, time\nos.write(1, b'a line of a log\\n' * (40 << 16))\n"
            f"while not os.path.exists('{disk / 'end'}'): print('on', flush=True); time.sleep(0.05)"
        )
        run.submit(job=["python", "-c", words])
        path = run.folder / "logs" / "attempt-0000.log"
        wait_for(lambda: path.exists() and path.stat().st_size > 40 << 20, "a long log")
        take(disk / "filler", spare_bytes=1 << 20)
        events = run.folder / "events.jsonl"
        wait_for(lambda: b"disk-full" in events.read_bytes() and path.stat().st_size <= 32 << 20, "room for the next lines")
        assert run.status()["restarts"] == 0
        take(disk / "filler-2", spare_bytes=1 << 20)
        seen = run.call("status", str(run.folder))
        assert [check["id"] for check in seen.document["checks"]] == ["disk.space"] and str(disk) in json.dumps(seen.document)
        (disk / "filler-2").unlink()
        (disk / "end").touch()
        assert run.wait().data["state"] == "finished"


def test_of_many_earlier_attempts_only_their_beginning_and_end_stays(run):
    run.submit("--max-restarts", "0", job=["python", "attempts.py", "3", "0"])
    run.wait()
    logs = run.folder / "logs"
    for attempt in range(1, 12):
        with (logs / f"attempt-{attempt:04d}.log").open("wb") as file:
            file.write(b"first\n")
            file.truncate(8 << 20)
            file.seek(0, 2)
            file.write(b"\nlast\n")
    assert run.submit("--max-restarts", "0", "--resume", job=["python", "attempts.py", "3", "0"]).code == 0
    assert run.wait().data["attempt"] == 12
    sizes = [(logs / f"attempt-{attempt:04d}.log").stat().st_size for attempt in range(1, 12)]
    assert max(sizes[:1]) <= 2 << 20 and min(sizes[1:]) > 8 << 20
    text = (logs / "attempt-0001.log").read_bytes()
    assert text.startswith(b"first\n") and text.endswith(b"\nlast\n")
