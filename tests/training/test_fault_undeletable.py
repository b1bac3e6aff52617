"""What cannot be written, renamed or removed in a checkpoint folder is reported once and passed over: saves, tidying and starts go on."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trainyard import checkpoint_format as fmt

from tests.training.rt_folder import files_under, flip, shards
from tests.training.rt_zygote import Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="by design: immutable files, mounts and other owners need root")
OPTIONS = {"policy": {"rolling_steps": 1, "keep_rolling": 2}}
NOBODY = 65534


GET_FLAGS, SET_FLAGS, IMMUTABLE = 0x80086601, 0x40086602, 0x10
"""ioctl_iflags(2), what `chattr +i` does."""


@contextlib.contextmanager
def immutable(path: Path) -> Iterator[None]:
    with path.open("rb") as file:
        before = bytearray(8)
        try:
            fcntl.ioctl(file, GET_FLAGS, before)
            fcntl.ioctl(file, SET_FLAGS, struct.pack("l", struct.unpack("l", before)[0] | IMMUTABLE))
        except OSError as error:
            pytest.skip(f"by design: this file system has no immutable files ({error.strerror})")
        try:
            yield
        finally:
            fcntl.ioctl(file, SET_FLAGS, bytes(before))


@contextlib.contextmanager
def busy(path: Path) -> Iterator[None]:
    subprocess.run(["mount", "--bind", str(path), str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)


@pytest.fixture
def run_dir(saved: Path, memory_path: Path) -> Path:
    """Steps 2 and 4, both intact."""
    return Path(shutil.copytree(saved, memory_path / "run"))


def steps(run_dir: Path) -> list[str]:
    return sorted(path.name for path in (run_dir / "checkpoints").iterdir() if path.name.startswith("step_"))


HOLD: dict[str, tuple[Callable[[Path], contextlib.AbstractContextManager[None]], str]] = {
    "a file in it": (lambda step: immutable(shards(step)[0]), "step_00000002.removed.tmp"),
    "the folder itself": (busy, "step_00000002"),
}


@needs_root
@pytest.mark.parametrize("what", HOLD)
def test_a_step_that_cannot_be_removed_does_not_keep_the_others_and_the_next_start_works(
    zygote: Zygote, reference: dict[int, str], run_dir: Path, what: str
) -> None:
    hold, stuck = HOLD[what]
    with hold(run_dir / "checkpoints" / "step_00000002"):
        ended = zygote.run(run_dir, steps=7, wait_after=[5, 6], **OPTIONS)
        assert ended.code == 0, ended.stderr
        assert steps(run_dir) == [stuck, "step_00000006", "step_00000007"]
        assert ended.stderr.count("older ones could not be tidied: ") == 1, "reported once"
        (failed,) = events(run_dir, "retention-failed")
        assert "step_00000002" in failed["error"]
        again = zygote.run(run_dir, steps=8, **OPTIONS)
        assert (again.code, again.restored) == (0, (7, reference[7])), again.stderr
        assert steps(run_dir) == [stuck, "step_00000007", "step_00000008"]
        # In a `.removed.tmp` everything else is gone, so that it takes no more room than it must.
        left = [name for name, _ in files_under(run_dir / "checkpoints" / stuck)]
        assert len(left) == (1 if stuck.endswith(".tmp") else 3)
    assert zygote.run(run_dir, steps=8, **OPTIONS).code == 0
    assert "step_00000002.removed.tmp" not in steps(run_dir)


IN_THE_WAY: dict[str, Callable[[Path], object]] = {
    "tiers.json is a folder": lambda root: (root / "tiers.json").mkdir(parents=True),
    "latest is a folder": lambda root: (root / "latest" / "x").mkdir(parents=True),
    "a step is a file": lambda root: (root / "step_00000003").write_text("mine"),
    "a step being written is a file": lambda root: (root / "step_00000003.e1.tmp").write_text("mine"),
    "what is to be removed is a file": lambda root: (root / "step_00000001.removed.tmp").write_text("mine"),
    "a link with the name of a step": lambda root: (root / "step_00000003").symlink_to(root / "nowhere"),
    "names like ours": lambda root: [(root / name).write_text("mine") for name in ("step_00000003.tmp-e1", "step_5", "step_")],
    "a leftover that is a folder": lambda root: (root / ".latest.0123abcd").mkdir(),
}


@pytest.mark.parametrize("what", IN_THE_WAY)
def test_a_file_where_a_folder_should_be_and_a_folder_for_a_file_cost_no_save(
    zygote: Zygote, reference: dict[int, str], memory_path: Path, what: str
) -> None:
    root = memory_path / "checkpoints"
    root.mkdir()
    IN_THE_WAY[what](root)
    mine = {content for _, content in files_under(root)}
    ended = zygote.run(memory_path, steps=5, **OPTIONS, wait_after=[1, 2, 3, 4])
    assert ended.code == 0, ended.stderr
    assert [event["step"] for event in events(memory_path, "committed")] == [1, 2, 3, 4, 5]
    committed = [entry.step for entry in fmt.committed(fmt.scan(root))]
    assert committed == ([1, 4, 5] if what == "what is to be removed is a file" else [4, 5])
    assert len(events(memory_path, "retention-failed")) <= 1, "reported once"
    assert mine <= {content for _, content in files_under(root)}, "somebody's file is kept"
    again = zygote.run(memory_path, steps=5, close=False)
    assert (again.code, again.restored) == (0, (5, reference[5])), again.stderr


@needs_root
def test_a_damaged_step_that_cannot_be_set_aside_is_reported_and_an_intact_one_is_an_error(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    newest = run_dir / "checkpoints" / "step_00000004"
    with busy(newest):
        refused = zygote.run(run_dir, steps=3, which="step:2")
        assert refused.code == 1 and "step_00000004: Device or resource busy (EBUSY)" in refused.stderr
        assert "move it away, or the next start takes it" in refused.stderr
        flip(newest / "state.json", 4000)
        ended = zygote.run(run_dir, steps=3)
        assert (ended.code, ended.restored) == (0, (2, reference[2])), ended.stderr
        assert "this damaged step cannot be set aside, and stays" in ended.stderr


@needs_root
def test_a_leftover_of_another_user_does_not_stop_a_start(zygote: Zygote, memory_path: Path) -> None:
    """As root_squash leaves it on NFS: root's file, and a job that is not root."""
    memory_path.chmod(0o777)
    left = memory_path / "checkpoints" / "step_00000009.e1.tmp"
    left.mkdir(parents=True)
    (left / "shard").write_text("root's")
    os.chown(memory_path / "checkpoints", NOBODY, NOBODY)
    ended = zygote.run(memory_path, steps=2, uid=NOBODY)
    assert ended.code == 0 and "left over, and cannot be removed: step_00000009.e1.tmp: " in ended.stderr, ended.stderr
    assert left.is_dir()
