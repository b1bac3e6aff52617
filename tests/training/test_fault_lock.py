"""A checkpoint folder belongs to one run: another is refused, the same run takes over, and who was taken over cannot commit."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from trainyard import checkpoint_format as fmt

from tests.training.rt_folder import files_under
from tests.training.rt_zygote import Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

POLICY = {"rolling_steps": 2}
RUN, OTHER = "5f0c000000000000", "ffff000000000000"
DEADLINE_S = 60.0


@pytest.fixture
def run_dir(saved: Path, memory_path: Path) -> Path:
    return Path(shutil.copytree(saved, memory_path / "run"))


def lock_of(run_dir: Path) -> dict[str, object]:
    return dict(json.loads((run_dir / "checkpoints" / "lock.json").read_text()))


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.01)


def test_another_run_is_refused_and_nothing_is_touched(zygote: Zygote, run_dir: Path) -> None:
    before = dict(files_under(run_dir / "checkpoints"))
    ended = zygote.run(run_dir, run_id=OTHER, steps=6)
    assert ended.code == 1 and f"holds the checkpoints of run {RUN}; this is run {OTHER}" in ended.stderr
    assert dict(files_under(run_dir / "checkpoints")) == before


def test_another_run_is_refused_too_after_the_first_one_has_finished(zygote: Zygote, memory_path: Path) -> None:
    assert zygote.run(memory_path, steps=2).code == 0
    assert lock_of(memory_path)["holder"] is None
    ended = zygote.run(memory_path, run_id=OTHER, steps=4)
    assert ended.code == 1 and "Give this run a folder of its own" in ended.stderr


def test_a_script_started_by_hand_goes_on_where_the_holder_is_dead(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    ended = zygote.run(run_dir, run_id=None, steps=4)
    assert (ended.code, ended.restored) == (0, (4, reference[4])), ended.stderr
    assert lock_of(run_dir) == {"format": 1, "run_id": RUN, "incarnation": 2, "holder": None, "origin": None}


def test_a_script_started_by_hand_is_refused_while_the_holder_lives(zygote: Zygote, run_dir: Path, memory_path: Path) -> None:
    gate = memory_path / "gate"
    living = zygote.start(run_dir, steps=6, policy=POLICY, after={5: [["pause", str(gate)]]})
    wait_for(memory_path / "gate.here")
    refused = zygote.run(run_dir, run_id=None, steps=6)
    gate.touch()
    assert refused.code == 1 and f"is in use by process {living.pid} on {os.uname().nodename}" in refused.stderr
    assert living.wait().code == 0


def test_a_holder_on_another_host_cannot_be_judged_and_the_refusal_says_what_to_do(zygote: Zygote, run_dir: Path) -> None:
    lock = lock_of(run_dir)
    lock["holder"] = {"host": "elsewhere", "boot_id": "x", "pid": 1, "start_time": 1}
    (run_dir / "checkpoints" / "lock.json").write_text(json.dumps(lock))
    refused = zygote.run(run_dir, run_id=None, steps=4)
    assert refused.code == 1 and "maybe still is, by process 1 on elsewhere" in refused.stderr
    assert f"if it is gone, move {run_dir}/checkpoints/lock.json away" in refused.stderr
    (run_dir / "checkpoints" / "lock.json").unlink()
    assert zygote.run(run_dir, run_id=None, steps=4).restored[0] == 4


def test_the_same_run_takes_over_at_once_and_the_older_process_cannot_commit(
    zygote: Zygote, reference: dict[int, str], run_dir: Path, memory_path: Path
) -> None:
    gate = memory_path / "gate"
    older = zygote.start(run_dir, steps=8, policy=POLICY, after={5: [["pause", str(gate)]]})
    wait_for(memory_path / "gate.here")
    newer = zygote.run(run_dir, steps=7, policy=POLICY)
    assert (newer.code, newer.restored) == (0, (4, reference[4])), newer.stderr
    gate.touch()
    ended = older.wait()
    assert ended.code == 1 and "another start of this run has taken" in ended.stderr
    committed = [(event["step"], event["incarnation"]) for event in events(run_dir, "committed")]
    assert committed == [(2, 1), (4, 1), (6, 3), (7, 3)]
    root = run_dir / "checkpoints"
    assert {fmt.verify_folder(root / f"step_{step:08d}")["incarnation"] for step in (6, 7)} == {3}
    assert [entry.name for entry in fmt.scan(root) if entry.kind != "step"] == []
    assert zygote.run(run_dir, steps=8, policy=POLICY).restored == (7, reference[7])


GARBAGE = [
    b"",
    b"{}",
    b"[]",
    b"null",
    b"\xff\xfe\0",
    b'{"format": 2, "run_id": "x", "incarnation": 1}',
    b'{"format":1,"run_id":5,"incarnation":1}',
    b'{"format":1,"run_id":"","incarnation":1}',
    b'{"format":1,"run_id":"5f0c000000000000","incarnation":true}',
    b'{"format":1,"run_id":"5f0c000000000000","incarnation":-1}',
    b'{"format":1,"run_id":"5f0c000000000000","incarnation":1' + b"0" * 5000 + b"}",
    b'{"format":1,"run_id":"5f0c000000000000","incarnation":1,"holder":"somebody"}',
    b'{"format":1,"run_id":"5f0c000000000000","incarnation":1,"holder":{"host":"h","boot_id":"b","pid":"1","start_time":1}}',
    b'{"format":1,"run_id":"5f0c000000000000","incarnation":1,"holder":{"pid":1}}',
    b'{"format":1,"run_id":"5f0c000000000000","incarnation":1,"origin":"step:2"}',
    b'{"format":1,"run_id":"5f0c000000000000","incarnation":1,"origin":{"step":2}}',
    b"[" * 50_000,
    b" " * (1 << 20),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=range(len(GARBAGE)))
def test_a_lock_that_cannot_be_read_is_never_guessed(zygote: Zygote, run_dir: Path, garbage: bytes) -> None:
    lock = run_dir / "checkpoints" / "lock.json"
    lock.write_bytes(garbage)
    for run_id in (RUN, None):
        ended = zygote.run(run_dir, run_id=run_id, steps=4)
        assert ended.code == 1 and f"FolderError: {lock} is not a lock file of this format" in ended.stderr
        assert lock.read_bytes() == garbage
    lock.unlink()
    assert zygote.run(run_dir, steps=4).restored[0] == 4


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("/dev/zero", path)])
def test_a_lock_that_is_no_file_is_refused_and_waited_for_by_nobody(
    zygote: Zygote, run_dir: Path, make: Callable[[Path], None]
) -> None:
    lock = run_dir / "checkpoints" / "lock.json"
    lock.unlink()
    make(lock)
    ended = zygote.run(run_dir, steps=4)
    assert ended.code == 1 and f"FolderError: {lock} is not a lock file of this format" in ended.stderr, ended.stderr


def test_a_lock_that_becomes_garbage_while_training_ends_with_an_error_and_nothing_committed_over_it(
    zygote: Zygote, run_dir: Path
) -> None:
    lock = run_dir / "checkpoints" / "lock.json"
    ended = zygote.run(run_dir, steps=6, policy=POLICY, after={5: [["write", str(lock), "garbage"]]}, wait_after=[6])
    assert ended.code == 1 and "step 6 was not saved" in ended.stderr
    failed = events(run_dir, "save-failed")[-1]
    assert failed["step"] == 6 and "is not a lock file of this format" in failed["error"]
    assert lock.read_text() == "garbage"
    assert not (run_dir / "checkpoints" / "step_00000006").exists()
