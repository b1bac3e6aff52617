"""A disk that is full, read-only or forbidden: training goes on where it can, the older checkpoints stand, and the end tells the truth."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trainyard import checkpoint_format as fmt

from tests.training.rt_zygote import ROOT, Ended, Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

PAGE_BYTES = 4096
DISK_PAGES = 320
BALLAST = 50_000
"""Floats: a checkpoint of about 220 KiB."""
OPTIONS = {"policy": {"rolling_steps": 2}, "ballast": BALLAST}
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
needs_other_user = pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")


@contextlib.contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    folder.mkdir(exist_ok=True)
    made = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"mount is not possible here: {made.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={DISK_PAGES * PAGE_BYTES}", "tmpfs") as disk:
        yield disk


@pytest.fixture(scope="module")
def with_ballast(zygote: Zygote, tmp_path_factory: pytest.TempPathFactory) -> dict[int, str]:
    """Step -> digest of the uninterrupted run with the larger model."""
    return zygote.run(tmp_path_factory.mktemp("ballast"), steps=10, ballast=BALLAST).digests


def ended_saves(run_dir: Path) -> list[tuple[str, int]]:
    return [(event["type"], event["step"]) for event in events(run_dir) if event["type"] in ("committed", "save-failed")]


@needs_root
def test_a_save_on_a_full_disk_fails_alone_and_the_next_one_after_freeing_works(
    zygote: Zygote, with_ballast: dict[int, str], small_disk: Path
) -> None:
    """Checkpoints and run folder are on the same disk, so the events are lost too while it is full."""
    after = {
        3: [["fill", str(small_disk)]],
        5: [["probe", str(small_disk)], ["unlink", str(small_disk / "filler")]],
        6: [["exit", 9]],
    }
    ended = zygote.run(small_disk, steps=8, **OPTIONS, wait_after=[2, 6], after=after)
    assert ended.code == 9 and "probe ENOSPC" in ended.stdout, ended.stderr
    assert "step 4 was not saved: OSError: [Errno 28] No space left on device" in ended.stderr
    assert ("committed", 2) in ended_saves(small_disk) and ("committed", 6) in ended_saves(small_disk)
    assert not list((small_disk / "checkpoints").glob("*.tmp"))
    resumed = zygote.run(small_disk, steps=8, **OPTIONS)
    assert (resumed.code, resumed.restored) == (0, (6, with_ballast[6])), resumed.stderr
    assert resumed.digests[8] == with_ballast[8]


@needs_root
def test_wherever_in_a_save_the_disk_becomes_full_the_older_step_stands_or_the_newer_is_whole(
    zygote: Zygote, with_ballast: dict[int, str], tmp_path: Path
) -> None:
    outcomes = []
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", f"size={DISK_PAGES * PAGE_BYTES}", "tmpfs") as disk:
        for pages in (0, 1, 20, 49, *range(50, 62, 2), 70, 100):
            run_dir, folder = tmp_path / f"run-{pages}", disk / f"{pages}"
            run_dir.mkdir()
            env = {"TRAINYARD_CHECKPOINTS": str(folder)}
            after = {3: [["fill", str(disk), pages * PAGE_BYTES]], 4: [["unlink", str(disk / "filler")], ["exit", 9]]}
            ended = zygote.start(run_dir, env=env, steps=5, **OPTIONS, wait_after=[2, 4], after=after).wait()
            assert ended.code == 9, ended.stderr
            kind = ended_saves(run_dir)[-1]
            resumed = zygote.start(run_dir, env=env, steps=0, ballast=BALLAST, close=False).wait()
            step, digest = resumed.restored
            assert digest == with_ballast[step] and step == (4 if kind == ("committed", 4) else 2), (
                pages,
                kind,
                resumed.stderr,
            )
            outcomes.append(step)
            subprocess.run(["rm", "-r", str(folder)], check=True)
    assert outcomes == sorted(outcomes) and set(outcomes) == {2, 4}, "the sizes tried must hit both sides"


def assert_not_finished(ended: Ended, step: int) -> None:
    assert ended.code == 1
    assert re.search(rf"SaveError: step {step} was not saved: OSError: .*; the older checkpoints in /.* stand", ended.stderr), (
        ended.stderr
    )


@needs_root
def test_a_last_save_that_fails_ends_the_run_with_an_error(
    zygote: Zygote, with_ballast: dict[int, str], small_disk: Path
) -> None:
    ended = zygote.run(small_disk, steps=3, **OPTIONS, wait_after=[2], after={3: [["fill", str(small_disk)]]})
    assert_not_finished(ended, 3)
    (small_disk / "filler").unlink()
    resumed = zygote.run(small_disk, steps=3, **OPTIONS)
    assert (resumed.code, resumed.restored) == (0, (2, with_ballast[2])), resumed.stderr
    fmt.verify_folder(small_disk / "checkpoints" / "step_00000003")


@needs_root
def test_sigterm_on_a_full_disk_exits_143_and_says_that_nothing_was_saved(zygote: Zygote, small_disk: Path) -> None:
    after = {2: [["fill", str(small_disk)], ["signal", "SIGTERM"]]}
    ended = zygote.run(small_disk, steps=9, **OPTIONS, wait_after=[2], after=after)
    assert ended.code == 143 and "step 3 was not saved" in ended.stderr


def test_a_checkpoint_folder_below_a_file_is_refused_in_words(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ended = zygote.start(tmp_path, env={"TRAINYARD_CHECKPOINTS": str(tmp_path / "file" / "checkpoints")}, steps=1).wait()
    assert ended.code == 1
    assert f"FolderError: checkpoint folder {tmp_path}/file/checkpoints: Not a directory; choose another" in ended.stderr


@needs_root
def test_a_read_only_file_system_is_refused_in_words(zygote: Zygote, tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "ro", "tmpfs") as disk:
        ended = zygote.start(tmp_path, env={"TRAINYARD_CHECKPOINTS": str(disk / "checkpoints")}, steps=1).wait()
    assert ended.code == 1 and "Read-only file system; choose another with TRAINYARD_CHECKPOINTS" in ended.stderr


@needs_other_user
def test_a_folder_of_another_user_is_refused_in_words(zygote: Zygote, tmp_path: Path, memory_path: Path) -> None:
    memory_path.chmod(0o755)
    ended = zygote.run(memory_path, steps=1, uid=NOBODY)
    told = f"Permission denied: {memory_path} belongs to user 0, group 0 (drwxr-xr-x), and this process is user {NOBODY}"
    assert ended.code == 1 and told in ended.stderr
    assert f"chown -R {NOBODY} {memory_path}, or choose another with TRAINYARD_CHECKPOINTS" in ended.stderr
    memory_path.chmod(0o777)
    assert zygote.run(memory_path, steps=1, uid=NOBODY).code == 0


@needs_other_user
def test_a_run_folder_that_cannot_be_written_costs_the_telemetry_and_not_the_training(
    zygote: Zygote, memory_path: Path
) -> None:
    memory_path.chmod(0o755)
    (memory_path / "open").mkdir()
    (memory_path / "open").chmod(0o777)
    env = {"TRAINYARD_CHECKPOINTS": str(memory_path / "open")}
    ended = zygote.start(memory_path / "forbidden", env=env, steps=2, uid=NOBODY).wait()
    assert ended.code == 0 and "trainyard step=2" in ended.stdout and "cannot be written (Permission denied: " in ended.stderr
    assert fmt.verify_folder(memory_path / "open" / "step_00000002")


@needs_other_user
def test_a_folder_that_becomes_forbidden_in_mid_run_fails_its_saves_until_it_is_open_again(
    zygote: Zygote, reference: dict[int, str], memory_path: Path
) -> None:
    memory_path.chmod(0o777)
    folder = str(memory_path / "checkpoints")
    after = {3: [["chmod", folder, 0o555]], 5: [["chmod", folder, 0o755]]}
    ended = zygote.run(memory_path, steps=6, uid=NOBODY, policy={"rolling_steps": 2}, wait_after=[2, 4, 6], after=after)
    assert ended.code == 0, ended.stderr
    assert ended_saves(memory_path) == [("committed", 2), ("save-failed", 4), ("committed", 6)]
    assert zygote.run(memory_path, steps=6, close=False).restored == (6, reference[6])


# --- a full disk under the run folder, the checkpoints elsewhere -------------------------------------------------


@needs_root
def test_a_full_disk_under_the_run_folder_costs_its_lines_and_charts_and_neither_training_nor_saves_nor_starts(
    zygote: Zygote, reference: dict[int, str], small_disk: Path, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    env = {"TRAINYARD_CHECKPOINTS": str(tmp_path / "c")}
    options = {"policy": {"rolling_steps": 2}, "tensorboard": True, "metrics": {"padding": "x" * PAGE_BYTES}}
    full = {3: [["fill", str(small_disk)], ["probe", str(small_disk)]], 5: [["signal", "SIGTERM"]]}
    stopped = zygote.start(small_disk, env=env, steps=8, after=full, **options).wait()
    assert stopped.code == 143 and "probe ENOSPC" in stopped.stdout, stopped.stderr
    assert stopped.stderr.count("trainyard: steps.jsonl cannot be written (No space left on device); training goes on") == 1
    assert [entry.step for entry in fmt.committed(fmt.scan(tmp_path / "c"))] == [2, 4, 6]
    again = zygote.start(small_disk, env=env, steps=8, **options).wait()
    assert (again.code, again.restored) == (0, (6, reference[6])), again.stderr
    assert "trainyard: TensorBoard cannot be written (No space left on device); training goes on" in again.stderr
    fmt.verify_folder(tmp_path / "c" / "step_00000008")
    first = zygote.start(small_disk, env={"TRAINYARD_CHECKPOINTS": str(tmp_path / "d")}, steps=2, **options).wait()
    assert first.code == 0, first.stderr


def test_a_run_folder_that_is_a_file_costs_the_telemetry_and_not_the_training(zygote: Zygote, tmp_path: Path) -> None:
    (tmp_path / "run").write_text("in the way")
    env = {"TRAINYARD_CHECKPOINTS": str(tmp_path / "c")}
    ended = zygote.start(tmp_path / "run", env=env, steps=2).wait()
    assert ended.code == 0 and "steps.jsonl cannot be written (Not a directory); training goes on" in ended.stderr
    fmt.verify_folder(tmp_path / "c" / "step_00000002")


def run_local(*words: str) -> dict[str, Any]:
    """The document that a call of the local-runner skill answers with."""
    command = [sys.executable, str(ROOT / "skills/local-runner/src/run_local.py"), *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout)["data"])


@needs_root
def test_a_job_of_local_runner_goes_on_while_the_disk_of_its_run_folder_is_full(small_disk: Path, tmp_path: Path) -> None:
    """Its stdout and stderr are a log on that disk, so every print of the script fails as well."""
    folder, filler = small_disk / "run", str(small_disk / "filler")
    after = {2: [["fill", str(small_disk)], ["probe_into", str(small_disk), str(tmp_path / "probe")]], 7: [["unlink", filler]]}
    options = {"steps": 8, "policy": {"rolling_steps": 2}, "after": after, "metrics": {"padding": "x" * PAGE_BYTES}}
    job = [sys.executable, "-m", "tests.training.rt_trainer", json.dumps(options)]
    where = ["--run-dir", str(folder), "--workdir", str(ROOT), "--checkpoints", str(tmp_path / "c"), "--python", sys.executable]
    run_local("submit", *where, "--max-restarts", "0", "--", *job)
    ended = run_local("wait", str(folder), "--timeout", "150")
    assert (ended["state"], ended["restarts"], ended["exit_code"]) == ("finished", 0, 0), ended
    assert (tmp_path / "probe").read_text() == "ENOSPC"
    assert [entry.step for entry in fmt.committed(fmt.scan(tmp_path / "c"))] == [2, 4, 6, 8]
    log = (folder / "logs" / "attempt-0000.log").read_text()
    assert "digest step=1 " in log and "digest step=5 " not in log and "digest step=8 " in log
