"""`efa`: proof for every rank, or no, or not known."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from monitor_call import call, check

from tests import nccl_lines as nccl


def asked(path: Path, text: str, *words: str, code: int) -> tuple[str, str]:
    """(status, summary) of efa.ranks for one log."""
    path.write_text(text)
    found = check(call("efa", path, *words, code=code), "efa.ranks")
    return found["status"], found["summary"]


def test_all_ranks_or_fail(tmp_path: Path) -> None:
    """Old words and new ones prove it; one rank on TCP, in any of its wordings, is a no that names the rank."""
    log = tmp_path / "job.log"
    assert asked(log, nccl.job(16), code=0) == ("pass", "all 16 ranks use EFA")
    assert asked(log, nccl.job(16, lambda r, n: nccl.efa(r, n, words=nccl.OLD)), code=0)[0] == "pass"
    for lines in (nccl.socket(11, 16), nccl.ofi_over_tcp(11, 16)):
        status, told = asked(log, nccl.job(16, rank11=lines), code=1)
        assert status == "fail" and "rank 11 TCP" in told and "15 use EFA" in told, told
    status, told = asked(log, nccl.job(16, nccl.socket), code=1)
    assert status == "fail" and "ranks 0-15 TCP (Socket)" in told, told


def test_a_512_rank_job_names_the_one(tmp_path: Path) -> None:
    status, told = asked(tmp_path / "job.log", nccl.job(512, rank300=nccl.socket(300, 512)), code=1)
    assert status == "fail" and "1 of 512 ranks" in told and "rank 300 TCP" in told


def test_no_evidence_is_unknown(tmp_path: Path) -> None:
    """Nothing printed, a rank that is silent, a plugin whose provider is not told, ranks that nobody counts."""
    log = tmp_path / "job.log"
    status, _ = asked(log, "trainyard step=1 loss=2.5\n", code=1)
    assert status == "unknown"
    assert "NCCL_DEBUG=INFO" in check(call("efa", log, code=1), "efa.ranks")["fix"]
    status, told = asked(log, nccl.job(16, rank7=[]), code=1)
    assert status == "unknown" and "ranks 7" in told
    quiet = nccl.job(4, lambda rank, n: [nccl.start(rank, n)[0] + "Using network AWS Libfabric"])
    assert asked(log, quiet, "--ranks", "4", code=1)[0] == "unknown"
    unnumbered = nccl.job(4, lambda rank, n: nccl.efa(rank, n)[:4])
    assert asked(log, unnumbered, code=1)[0] == "unknown"
    assert asked(log, unnumbered, "--ranks", "8", code=1)[0] == "unknown"
    again = unnumbered + nccl.job(4, lambda rank, n: nccl.efa(rank, n, pid=900 + rank)[:4])
    assert asked(log, again, "--ranks", "4", code=1)[0] == "unknown", "an earlier start proves nothing"


def test_a_plugin_that_came_up_at_last_counts(tmp_path: Path) -> None:
    """Its first protocol found no device, its second one did: only what carries the traffic decides."""
    head, _ = nccl.start(0, 16)
    lines = [f"{head}NET/OFI OFI fi_getinfo() call failed: No data available", *nccl.efa(0, 16)]
    assert asked(tmp_path / "job.log", nccl.job(16, rank0=lines), code=0)[0] == "pass"
    lines = [f"{head}NET/OFI aws-ofi-nccl initialization failed", nccl.start(0, 16)[1]]
    assert asked(tmp_path / "job.log", nccl.job(16, rank0=lines), code=1)[0] == "fail"


def test_of_a_restarted_rank_the_newest_start_counts(tmp_path: Path) -> None:
    log = tmp_path / "job.log"
    healed = nccl.job(16, nccl.socket) + nccl.job(16, lambda rank, n: nccl.efa(rank, n, pid=900 + rank))
    assert asked(log, healed, code=0)[0] == "pass"
    broken = nccl.job(16) + nccl.job(16, lambda rank, n: nccl.socket(rank, n, pid=900 + rank))
    assert asked(log, broken, code=1)[0] == "fail"


def test_where_no_network_is_used_it_is_skipped(tmp_path: Path) -> None:
    """One node, gloo by the trainer's record or by its own words. A log with NCCL in it is never skipped for such words."""
    log = tmp_path / "job.log"
    assert asked(log, nccl.job(8, nccl.socket), code=0)[0] == "skipped"
    assert asked(log, "init_process_group(backend='gloo')\n", code=0)[0] == "skipped"
    assert asked(log, "backend=gloo for barriers\n" + nccl.job(16, nccl.socket), code=1)[0] == "fail"
    run = tmp_path / "run"
    (run / "logs").mkdir(parents=True)
    (run / "logs" / "attempt-0000.log").write_text("step\n")
    start = {"time": 1.79e9, "type": "start", "source": "trainer", "world_size": 16, "backend": "gloo"}
    (run / "events.jsonl").write_text(json.dumps(start) + "\n")
    assert check(call("efa", run), "efa.ranks")["status"] == "skipped"
    (run / "events.jsonl").write_text(json.dumps(start | {"backend": "cpu:gloo,cuda:nccl"}) + "\n")
    assert check(call("efa", run, code=1), "efa.ranks")["status"] == "unknown"


def test_folders_of_logs_are_one_job(tmp_path: Path) -> None:
    """A file a pod, an evidence folder, and the newest attempt of a run folder; fewer devices on a node are a warning."""
    pods = tmp_path / "evidence" / "pods"
    for node in range(2):
        (pods / f"job-worker-{node}").mkdir(parents=True)
        own = nccl.job(16).splitlines()[node * 40 : node * 40 + 40]
        (pods / f"job-worker-{node}" / "pytorch.log").write_text("\n".join(own))
    (pods / "job-worker-1" / "pytorch.previous.log").write_text(nccl.job(16, nccl.socket))
    (tmp_path / "evidence" / "evidence.json").write_text(json.dumps({"format": 1, "world_size": 16}))
    assert check(call("efa", tmp_path / "evidence"), "efa.ranks")["status"] == "pass"
    found = call("efa", pods)
    assert found["data"]["files"] == 2 and found["data"]["proven"] == 16
    (pods / "job-worker-1" / "pytorch.log").unlink()
    assert check(call("efa", tmp_path / "evidence", code=1), "efa.ranks")["status"] == "unknown"
    few = "".join(nccl.job(16, rank8=nccl.efa(8, 16, nics=3)))
    (tmp_path / "few.log").write_text(few)
    assert check(call("efa", tmp_path / "few.log"), "efa.nics")["status"] == "warn"


@pytest.mark.parametrize("noise", [b"\x1b[31m", b"\x00\xff" * 50, b"x" * 40_000_000])
def test_damaged_logs_are_read_in_bounds(tmp_path: Path, noise: bytes) -> None:
    log = tmp_path / "job.log"
    log.write_bytes(noise + b"\n" + nccl.job(16).replace("\n", "\r\n").encode() + noise)
    assert check(call("efa", log), "efa.ranks")["status"] == "pass"
