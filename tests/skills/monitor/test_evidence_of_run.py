"""`collect` of a run on this machine: what is taken, what is removed, how large it may be, and whose folder stays."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from diagnose_call import diagnose
from monitor_run_writer import RunWriter

KEY = "AKIA" + "QZ7" * 5 + "A"
TOKEN = "hf_" + "aB3dE5gH7j" * 4
PEM = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA7bq\n" * 20 + "-----END RSA PRIVATE KEY-----\n"


@pytest.fixture
def run(tmp_path: Path) -> RunWriter:
    """Twenty steps, one attempt with a log, an end."""
    run = RunWriter(tmp_path / "tiny-lm")
    run.launch()
    run.live()
    for _ in range(20):
        run.train()
    run.runner("failed", name="tiny-lm", exit_code=1)
    (run.path / "logs").mkdir()
    (run.path / "launch.key").write_text("the key of the nodes")
    return run


def _log(run: RunWriter, data: bytes, name: str = "attempt-0000.log") -> None:
    (run.path / "logs" / name).write_bytes(data)


def _evidence(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "evidence.json").read_text())
    assert isinstance(found, dict)
    return found


def _left_out(folder: Path) -> dict[str, str]:
    return {each["what"]: each["why"] for each in _evidence(folder)["left_out"]}


def _all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_a_run_becomes_a_private_folder(run: RunWriter, tmp_path: Path) -> None:
    """The records as they are, the stacks and dumps that are there; the key of the nodes and checkpoints are not taken."""
    _log(run, b"trainyard step=20 loss=2.1\nTraceback (most recent call last):\n")
    _log(run, b"Thread 0x1\n", "attempt-0000.stacks.txt")
    for name, data in (("stacks/rank-0003.txt", b"File train.py\n"), ("flight/rank-0003.bin", b"\x80\x04]\x94.")):
        (run.path / name).parent.mkdir()
        (run.path / name).write_bytes(data)
    run.commit()
    old = os.umask(0)
    try:
        answer = diagnose("collect", run.path, "--output", tmp_path / "evidence")
    finally:
        os.umask(old)
    folder = tmp_path / "evidence"
    assert answer.data["folder"] == str(folder) and answer.document["changed"] == [str(folder)]
    head = _evidence(folder)
    wanted = {
        "format": 1,
        "run": "tiny-lm",
        "run_id": "5f0c5f0c5f0c5f0c",
        "engine": "local",
        "world_size": 2,
        "procs_per_node": 2,
    }
    assert {name: head[name] for name in wanted} == wanted and head["pods"] == []
    for name in ("steps.jsonl", "events.jsonl", "logs/attempt-0000.log", "logs/attempt-0000.stacks.txt", "checkpoints/latest"):
        assert (folder / "run" / name).read_bytes() == (run.path / name).read_bytes(), name
    assert json.loads((folder / "run/runner.json").read_text()) == json.loads((run.path / "runner.json").read_text())
    assert (folder / "flight/rank-0003.bin").read_bytes() == b"\x80\x04]\x94."
    assert (folder / "stacks/rank-0003.txt").read_bytes() == b"File train.py\n"
    assert not list(folder.rglob("launch.key")) and not list(folder.rglob("manifest.json"))
    modes = {stat.S_IMODE(path.stat().st_mode) for path in [folder, *folder.rglob("*")]}
    assert modes == {0o700, 0o600}
    assert [path.name for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == []


def test_secrets_are_removed(run: RunWriter, tmp_path: Path) -> None:
    """From logs, records and documents, in colours and half cut off too; what is no secret stays."""
    lines = [
        f"login with HF_TOKEN={TOKEN}",
        f"colours \x1b[31m{TOKEN[:9]}\x1b[0m{TOKEN[9:]} end",
        "postgres://user:hunter2secret@db.example/x",
        "max_tokens=4096 tokens_per_s=15213 pad_token=<pad>",
        f"key {KEY} was refused",
    ]
    _log(run, "\n".join(lines).encode() + b"\n" + PEM.encode() + b"after the key\n")
    (run.path / "run.json").write_text(
        json.dumps({"request": {"env": {"WANDB_API_KEY": "0123456789abcdef01", "NOT": "hidden"}}})
    )
    run.event("attempt-ended", attempt=0, exit_code=1, reason=f"401 for token {TOKEN}")
    diagnose("collect", run.path, "--output", tmp_path / "evidence")
    found = _all_bytes(tmp_path / "evidence")
    for secret in (TOKEN, TOKEN[9:], "hunter2secret", KEY, "MIIEpAIBAAKCAQEA7bq", "0123456789abcdef01"):
        assert secret.encode() not in found, secret
    for plain in (
        b"max_tokens=4096 tokens_per_s=15213 pad_token=<pad>",
        b"after the key",
        b'"NOT": "hidden"',
        b"401 for token ***",
    ):
        assert plain in found, plain
    log = (tmp_path / "evidence/run/logs/attempt-0000.log").read_text().split("\n")
    assert log.index("after the key") == len(lines) + PEM.count("\n"), "a line's number has changed"


def test_a_long_log_keeps_head_and_tail(run: RunWriter, tmp_path: Path) -> None:
    """Whole lines of both ends, with what is missing told between them; nothing of a key that was cut through."""
    lines = [f"line {number:07d} of a log that is long".encode() for number in range(60_000)]
    half = 1 << 19
    at = half // (len(lines[0]) + 1)
    lines[at - 3 : at + 30] = [
        b"-----BEGIN PRIVATE KEY-----",
        *[b"MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw"] * 32,
        b"-----END PRIVATE KEY-----",
    ]
    _log(run, b"\n".join(lines) + b"\n")
    diagnose("collect", run.path, "--output", tmp_path / "evidence", "--max-file-mib", 1)
    kept = (tmp_path / "evidence/run/logs/attempt-0000.log").read_bytes()
    assert kept.startswith(lines[0]) and kept.endswith(lines[-1] + b"\n") and len(kept) <= 1 << 20
    assert b"MIIEvQIBADAN" not in kept
    marker = next(line for line in kept.split(b"\n") if line.startswith(b"[... "))
    whole = len(lines[0]) * 60_000
    assert abs(int(marker.split()[1]) - (whole - (1 << 20))) < whole * 0.1 and marker.endswith(b" bytes left out ...]")
    assert any("attempt-0000.log" in what for what in _left_out(tmp_path / "evidence"))


def test_a_line_without_end(run: RunWriter, tmp_path: Path) -> None:
    """A hundred megabytes in a line, binary bytes, NUL: kept within the limit, and a secret at an edge is not halved."""
    name = run.path / "logs" / "attempt-0000.log"
    with name.open("wb") as file:
        file.write(b"begin\n" + b"x" * ((32 << 10) - 30) + b" " + TOKEN.encode() + b" ")
        file.seek(100 << 20)
        file.write(b"\n\xff\xfe\x00\x9b31mred\x1b]0;title\x07 end\n")
    diagnose("collect", run.path, "--output", tmp_path / "evidence", "--max-file-mib", 1)
    kept = (tmp_path / "evidence/run/logs/attempt-0000.log").read_bytes()
    assert len(kept) < 1 << 20 and kept.startswith(b"begin\n") and kept.endswith(b" end\n")
    assert TOKEN[:12].encode() not in kept and not set(kept) & {0, 7, 27}


def test_the_whole_folder_is_bounded(run: RunWriter, tmp_path: Path) -> None:
    """The newest attempts come first; what has no room is named."""
    for attempt in range(6):
        _log(run, b"a line of it\n" * 40_000, f"attempt-{attempt:04d}.log")
    diagnose("collect", run.path, "--output", tmp_path / "evidence", "--max-total-mib", 3)
    kept = sorted(path.name for path in (tmp_path / "evidence/run/logs").iterdir())
    assert kept == ["attempt-0002.log", "attempt-0003.log", "attempt-0004.log", "attempt-0005.log"]
    left_out = _left_out(tmp_path / "evidence")
    assert "--max-total-mib" in left_out["run/logs/attempt-0000.log"]
    assert sum(path.stat().st_size for path in (tmp_path / "evidence").rglob("*") if path.is_file()) <= 3 << 20


def test_links_and_pipes_are_left_out(run: RunWriter, tmp_path: Path) -> None:
    """The job can write its run folder: what leads out of it is another's file, and what is no file could be waited for in vain."""
    (tmp_path / "shadow").write_text("root's own")
    (run.path / "logs/attempt-0001.log").symlink_to(tmp_path / "shadow")
    os.mkfifo(run.path / "logs/attempt-0002.log")
    (run.path / "logs/odd\nname.log").write_text("x")
    _log(run, b"plain\n")
    diagnose("collect", run.path, "--output", tmp_path / "evidence")
    left_out = _left_out(tmp_path / "evidence")
    assert "outside" in left_out["run/logs/attempt-0001.log"] and "pipe" in left_out["run/logs/attempt-0002.log"]
    assert b"root's own" not in _all_bytes(tmp_path / "evidence")
    assert (tmp_path / "evidence/run/logs/attempt-0000.log").read_text() == "plain\n"


def test_damaged_records_are_evidence(run: RunWriter, tmp_path: Path) -> None:
    (run.path / "runner.json").write_bytes(b'{"state": "run\xff')
    (run.path / "run.json").write_text("[" * 100_000)
    answer = diagnose("collect", run.path, "--output", tmp_path / "evidence")
    assert (tmp_path / "evidence/run/runner.json").read_text().startswith('{"state": "run')
    assert answer.data["run"] == "tiny-lm"


def test_nobodys_folder_is_overwritten(run: RunWriter, tmp_path: Path) -> None:
    """Neither somebody's files nor earlier evidence; an empty folder is taken, and becomes private."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/thesis.txt").write_text("years of work")
    assert diagnose("collect", run.path, "--output", tmp_path / "theirs", code=5).error["code"] == "conflict"
    assert [path.name for path in (tmp_path / "theirs").iterdir()] == ["thesis.txt"]
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    diagnose("collect", run.path, "--output", tmp_path / "link", code=5)
    (tmp_path / "empty").mkdir(mode=0o755)
    diagnose("collect", run.path, "--output", tmp_path / "empty")
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700
    before = (tmp_path / "empty/evidence.json").read_bytes()
    diagnose("collect", run.path, "--output", tmp_path / "empty", code=5)
    assert (tmp_path / "empty/evidence.json").read_bytes() == before
    diagnose("collect", run.path, "--output", tmp_path / "no" / "parent", code=3)
    assert diagnose("collect", run.path, "--output", tmp_path / "dry", "--dry-run").document["changed"] == []
    assert not (tmp_path / "dry").exists() and not list(tmp_path.glob(".*"))
