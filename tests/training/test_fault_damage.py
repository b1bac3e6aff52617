"""A damaged newest checkpoint is stepped over and named; when nothing is intact the start ends with the reasons, never at step 0."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from trainyard import checkpoint_format as fmt

from tests.training.rt_folder import files_under, flip, header_bytes, shards
from tests.training.rt_zygote import Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

NEWEST = "step_00000004"
READING = {"read_timeout_s": 0.1}
"""A file that is missing is looked for again, elsewhere for a minute."""


@pytest.fixture
def run_dir(saved: Path, memory_path: Path) -> Path:
    """Steps 2 and 4, both intact."""
    return Path(shutil.copytree(saved, memory_path / "run"))


def cut(path: Path, size: int) -> None:
    with path.open("r+b") as file:
        file.truncate(size)


def zero(path: Path, start: int, size: int = 4096) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(min(size, path.stat().st_size - start)))


def bit_of(path: Path, text: bytes) -> int:
    """The first bit of a place in the file, found by what stands there."""
    return 8 * path.read_bytes().index(text)


def shard(folder: Path) -> Path:
    return shards(folder)[0]


def make_folder_of(path: Path) -> None:
    path.unlink()
    path.mkdir()


def remove_files(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


DAMAGE: dict[str, Callable[[Path], None]] = {
    "manifest.json: its first byte": lambda step: flip(step / "manifest.json", 1),
    "manifest.json: a digit of a digest": lambda step: flip(
        step / "manifest.json", bit_of(step / "manifest.json", b'"crc32":"') + 72
    ),
    "manifest.json: the step": lambda step: flip(step / "manifest.json", bit_of(step / "manifest.json", b'"step":4') + 56),
    "manifest.json: a letter of a key": lambda step: flip(step / "manifest.json", bit_of(step / "manifest.json", b"reasons")),
    "manifest.json: its last byte": lambda step: flip(step / "manifest.json", 8 * (step / "manifest.json").stat().st_size - 1),
    "manifest.json: empty": lambda step: cut(step / "manifest.json", 0),
    "manifest.json: half": lambda step: cut(step / "manifest.json", 300),
    "manifest.json: gone": lambda step: (step / "manifest.json").unlink(),
    "state.json: one bit": lambda step: flip(step / "state.json", 8 * 500 + 3),
    "state.json: a bit of the RNG": lambda step: flip(step / "state.json", bit_of(step / "state.json", b'"rng"') + 800),
    "state.json: empty": lambda step: cut(step / "state.json", 0),
    "state.json: one byte short": lambda step: cut(step / "state.json", (step / "state.json").stat().st_size - 1),
    "state.json: gone": lambda step: (step / "state.json").unlink(),
    "state.json: a block of zeros": lambda step: zero(step / "state.json", 4096),
    "shard: its length": lambda step: flip(shard(step), 3),
    "shard: an offset": lambda step: flip(shard(step), bit_of(shard(step), b"data_offsets") + 8 * 16),
    "shard: the first data bit": lambda step: flip(shard(step), 8 * header_bytes(shard(step))),
    "shard: the last bit": lambda step: flip(shard(step), 8 * shard(step).stat().st_size - 1),
    "shard: empty": lambda step: cut(shard(step), 0),
    "shard: cut in its header": lambda step: cut(shard(step), 100),
    "shard: one byte short": lambda step: cut(shard(step), shard(step).stat().st_size - 1),
    "shard: gone": lambda step: shard(step).unlink(),
    "shard: a folder": lambda step: make_folder_of(shard(step)),
    "everything gone": lambda step: remove_files(step),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_the_older_step_is_restored_exactly_and_the_newer_named(
    zygote: Zygote, reference: dict[int, str], run_dir: Path, what: str
) -> None:
    newest = run_dir / "checkpoints" / NEWEST
    DAMAGE[what](newest)
    damaged = dict(files_under(newest))
    ended = zygote.run(run_dir, steps=4, policy=READING)
    assert ended.code == 0 and ended.restored == (2, reference[2]), ended.stderr
    assert ended.digests[4] == reference[4]
    if what == "everything gone":  # an empty folder of that name is nobody's checkpoint
        return
    (skipped,) = events(run_dir, "restored")[-1]["skipped"]
    assert skipped["step"] == 4 and f"skipped step 4: {skipped['reason']}" in ended.stdout
    assert what.partition(":")[0] in skipped["reason"]
    assert dict(files_under(run_dir / "checkpoints" / f"{NEWEST}.aside-e2")) == damaged, "set aside, and not a byte of it lost"


def test_the_same_folder_with_the_bits_flipped_back_restores_the_newer_step(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    """The negative control of the test above."""
    newest = run_dir / "checkpoints" / NEWEST
    for name, _ in files_under(newest):
        flip(newest / name, 1234)
        with pytest.raises(fmt.DamagedError):
            fmt.verify_folder(newest)
        flip(newest / name, 1234)
    ended = zygote.run(run_dir, steps=4)
    assert (ended.code, ended.restored) == (0, (4, reference[4])), ended.stderr
    assert events(run_dir, "restored")[-1]["skipped"] == []


@pytest.mark.parametrize("what", ["manifest.json: empty", "manifest.json: gone", "state.json: one bit", "shard: gone"])
def test_when_no_checkpoint_is_intact_the_start_fails_with_the_reasons_and_changes_nothing(
    zygote: Zygote, run_dir: Path, what: str
) -> None:
    root = run_dir / "checkpoints"
    for step in (2, 4):
        DAMAGE[what](root / f"step_{step:08d}")
    before = {name: content for name, content in files_under(root) if name != "lock.json"}
    ended = zygote.run(run_dir, steps=4, policy=READING)
    assert ended.code == 1 and "RestoreError" in ended.stderr and "restored" not in ended.stdout
    for words in ("no checkpoint is intact", "step 4: ", "step 2: ", "restore('none')"):
        assert words in ended.stderr
    assert before == {name: content for name, content in files_under(root) if name != "lock.json"}
    again = zygote.run(run_dir, steps=4, which="none")
    assert (again.code, again.restored[0]) == (0, 0), again.stderr


@pytest.mark.parametrize("garbage", [b"", b"step_00000099\n", b"../../etc\n", b"\0\xff" * 50, None])
def test_latest_is_a_hint_whatever_it_says(
    zygote: Zygote, reference: dict[int, str], run_dir: Path, garbage: bytes | None
) -> None:
    latest = run_dir / "checkpoints" / "latest"
    latest.unlink()
    if garbage is not None:
        latest.write_bytes(garbage)
    ended = zygote.run(run_dir, steps=6, policy={"rolling_steps": 2})
    assert (ended.code, ended.restored) == (0, (4, reference[4])), ended.stderr
    assert latest.read_text() == "step_00000006\n"


@pytest.mark.parametrize(
    "garbage", [b"", b"[]", b'{"format":1,"latest":"x","rolling":{},"epoch":[],"best":null}', b"\xff\xfe", None]
)
def test_tiers_are_rebuilt_from_the_manifests_whatever_their_file_says(
    zygote: Zygote, reference: dict[int, str], run_dir: Path, garbage: bytes | None
) -> None:
    tiers = run_dir / "checkpoints" / "tiers.json"
    tiers.unlink()
    if garbage is not None:
        tiers.write_bytes(garbage)
    ended = zygote.run(run_dir, steps=6, policy={"rolling_steps": 2})
    assert (ended.code, ended.restored) == (0, (4, reference[4])), ended.stderr
    assert json.loads(tiers.read_text()) == {
        "format": 1,
        "latest": 6,
        "rolling": [2, 4, 6],
        "epoch": [],
        "best": None,
        "final": [6],
    }


def test_names_that_are_not_ours_are_left_as_they_are(zygote: Zygote, reference: dict[int, str], run_dir: Path) -> None:
    root = run_dir / "checkpoints"
    for name in ("README", ".hidden", "best/model.pt", "step_5/x", "step_0005/x", "hf_export/config.json", "step_00000008.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
    (root / "link").symlink_to(root / NEWEST)
    foreign = {name: content for name, content in files_under(root) if content == name.encode()}
    ended = zygote.run(run_dir, steps=8, policy={"rolling_steps": 2, "keep_rolling": 1})
    assert (ended.code, ended.restored) == (0, (4, reference[4])), ended.stderr
    assert foreign and foreign.items() <= dict(files_under(root)).items()
    assert (root / "link").is_symlink()


def test_a_foreign_folder_in_the_way_of_a_commit_is_kept_under_another_name(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    root = run_dir / "checkpoints"
    action = ["make", str(root / "step_00000006"), "thesis.txt", "mine"]
    ended = zygote.run(run_dir, steps=7, policy={"rolling_steps": 2}, after={5: [action]}, wait_after=[6])
    assert ended.code == 0, ended.stderr
    assert (root / "step_00000006.aside-e2" / "thesis.txt").read_text() == "mine"
    assert [event["step"] for event in events(run_dir, "committed")] == [2, 4, 6, 7]
    exact = zygote.run(run_dir, steps=0, which="step:6", close=False)
    assert exact.restored == (6, reference[6])


def test_a_foreign_folder_that_was_there_before_does_not_hide_the_checkpoints(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    root = run_dir / "checkpoints"
    (root / "step_00000010").mkdir()
    (root / "step_00000010" / "thesis.txt").write_text("mine")
    ended = zygote.run(run_dir, steps=6, policy={"rolling_steps": 2})
    assert (ended.code, ended.restored) == (0, (4, reference[4])), ended.stderr
    assert "mine" in [content.decode() for name, content in files_under(root) if name.endswith("thesis.txt")]
