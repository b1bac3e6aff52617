"""A read error is not damage: the newest checkpoint is restored once it can be read, and stays where it is when it cannot."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from trainyard.checkpoint_bytes import DamagedError, MissingError
from trainyard.patience import Patience

from tests.training.rt_folder import files_under
from tests.training.rt_zygote import Ended, Zygote, events, running_zygote
from tests.training.test_fault_peers import run_two

pytest_plugins = ["tests.training.rt_fixtures"]

SOURCE = Path(__file__).with_name("rt_failing_reads.c")
NEWEST = "step_00000004"
SHARD = f"{NEWEST}/shard-00001"
READING = {"rolling_steps": 100, "read_timeout_s": 30.0}
AT_ONCE = {"rolling_steps": 100, "read_timeout_s": 0.2}


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    """Starts whose reads fail where their environment says so."""
    library = tmp_path_factory.mktemp("failing") / "failing.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"], check=True, timeout=120)
    with running_zygote({"LD_PRELOAD": str(library)}) as zygote:
        yield zygote


@pytest.fixture
def run_dir(saved: Path, memory_path: Path) -> Path:
    """Steps 2 and 4, both intact."""
    return Path(shutil.copytree(saved, memory_path / "run"))


def start(zygote: Zygote, run_dir: Path, call: str, path: str, number: int, times: int, **options: object) -> Ended:
    env = {"FAIL_CALL": call, "FAIL_PATH": path, "FAIL_ERRNO": str(number), "FAIL_TIMES": str(times)}
    return zygote.start(run_dir, env=env, **options).wait()


PASSING = [
    ("read", f"{NEWEST}/manifest.json", errno.EIO),
    ("open", f"{NEWEST}/manifest.json", errno.ESTALE),
    ("open", f"{NEWEST}/manifest.json", errno.ENOENT),
    ("open", f"{NEWEST}/state.json", errno.EMFILE),
    ("read", f"{NEWEST}/state.json", errno.ETIMEDOUT),
    ("open", SHARD, errno.ENFILE),
    ("open", SHARD, errno.EACCES),
    ("read", SHARD, errno.ENOMEM),
    ("read", SHARD, errno.EIO),
    ("open", SHARD, errno.ENOENT),
    ("read", "/checkpoints/lock.json", errno.EIO),
]


@pytest.mark.parametrize(("call", "path", "number"), PASSING, ids=lambda value: str(value).replace("/", "_"))
def test_an_error_that_passes_costs_a_moment_and_no_checkpoint(
    failing: Zygote, reference: dict[int, str], run_dir: Path, call: str, path: str, number: int
) -> None:
    """Four reads fail, two of them in scans. ENOENT: what another node has made is not seen yet, as on NFS."""
    ended = start(failing, run_dir, call, path, number, 4, steps=4, policy=READING)
    assert (ended.code, ended.restored) == (0, (4, reference[4])), ended.stderr
    assert events(run_dir, "restored")[-1]["skipped"] == [] and not events(run_dir, "set-aside")
    assert ended.stderr.count("trying again for up to 30 s") in (1, 2), "the fault was there, and was reported once"


@pytest.mark.parametrize(
    ("call", "path", "number"),
    [PASSING[0], PASSING[3], PASSING[8]],
    ids=lambda value: str(value).replace("/", "_"),
)
def test_an_error_that_stays_ends_the_start_with_the_file_and_the_error_and_changes_nothing(
    failing: Zygote, run_dir: Path, call: str, path: str, number: int
) -> None:
    before = {name: data for name, data in files_under(run_dir / "checkpoints") if not name.startswith("lock")}
    ended = start(failing, run_dir, call, path, number, 10**6, steps=4, policy=AT_ONCE)
    assert ended.code == 1 and "RestoreError: " in ended.stderr and "Traceback" not in ended.stderr
    assert f"({errno.errorcode[number]})" in ended.stderr and path.rpartition("/")[2] in ended.stderr
    assert before == {name: data for name, data in files_under(run_dir / "checkpoints") if not name.startswith("lock")}


@pytest.mark.parametrize("which", ["best", "step:4", "epoch:1"])
def test_an_explicit_choice_that_cannot_be_read_is_not_called_missing_and_no_other_is_taken(
    failing: Zygote, zygote: Zygote, memory_path: Path, which: str
) -> None:
    options = {"epoch_steps": 2, "val_losses": {2: 2.0, 4: 1.0}}
    assert zygote.run(memory_path, steps=4, **options).code == 0
    ended = start(
        failing, memory_path, "read", f"{NEWEST}/manifest.json", errno.EIO, 10**6, steps=4, which=which, policy=AT_ONCE
    )
    assert ended.code == 1 and "(EIO)" in ended.stderr and "no intact checkpoint" not in ended.stderr
    again = start(failing, memory_path, "read", f"{NEWEST}/manifest.json", errno.EIO, 2, steps=4, which=which, policy=READING)
    assert (again.code, again.restored[0]) == (0, 4), again.stderr


def test_a_lock_that_cannot_be_read_is_not_no_lock(failing: Zygote, run_dir: Path) -> None:
    lock = (run_dir / "checkpoints" / "lock.json").read_bytes()
    ended = start(failing, run_dir, "read", "/checkpoints/lock.json", errno.EIO, 3, steps=4, run_id="ffff000000000000")
    assert ended.code == 1 and "holds the checkpoints of run 5f0c000000000000" in ended.stderr, ended.stderr
    stays = start(failing, run_dir, "read", "/checkpoints/lock.json", errno.EIO, 10**6, steps=4, policy=AT_ONCE)
    assert stays.code == 1 and f"{run_dir}/checkpoints/lock.json: Input/output error (EIO)" in stays.stderr, stays.stderr
    assert (run_dir / "checkpoints" / "lock.json").read_bytes() == lock


def test_a_node_that_sees_the_others_files_late_saves_and_stops_with_them(
    failing: Zygote, reference: dict[int, str], memory_path: Path
) -> None:
    """As on NFS: rank 0 has a stale handle of a part, and rank 1 never sees what rank 0 has committed."""
    envs = [
        {"FAIL_CALL": call, "FAIL_PATH": path, "FAIL_ERRNO": str(number), "FAIL_TIMES": times}
        for call, path, number, times in [
            ("open", "part-00001", errno.ESTALE, "3"),
            ("open", "step_0000000", errno.ENOENT, "1000000"),
        ]
    ]
    stop = {"after": {3: [["signal", "SIGTERM"]]}}
    ended = run_two(failing, memory_path, {}, stop, envs=envs, steps=100, policy={"rolling_steps": 2}, wait_after=[2])
    assert [one.code for one in ended] == [143, 143], [one.stderr for one in ended]
    assert not events(memory_path, "save-failed") and "was not saved" not in ended[1].stderr
    last = events(memory_path, "committed")[-1]["step"]
    again = run_two(failing, memory_path, {}, {}, steps=8, policy={"rolling_steps": 100})
    assert [(one.code, one.restored) for one in again] == [(0, (last, reference[last]))] * 2, [one.stderr for one in again]


# --- the clock ---------------------------------------------------------------------------------------------------


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def patience(self, timeout_s: float) -> Patience:
        return Patience(timeout_s, lambda: self.now, self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_name_that_an_nfs_client_sees_after_a_minute_is_found_and_one_that_never_comes_is_damage(tmp_path: Path) -> None:
    clock, path = Clock(), tmp_path / "state.json"

    def read() -> bytes:
        if clock.now > 55 and not path.exists():
            path.write_bytes(b"made by another node")
        return path.read_bytes()

    assert clock.patience(60).read(read, path) == b"made by another node"
    with pytest.raises(MissingError, match=r"never: No such file or directory \(ENOENT\)"):
        clock.patience(60).read((tmp_path / "never").read_bytes, tmp_path / "never")
    assert 110 < clock.now <= 120


def test_what_differs_is_not_read_again() -> None:
    clock = Clock()

    def differs() -> None:
        raise DamagedError("its crc32 differs")

    with pytest.raises(DamagedError, match="differs"):
        clock.patience(60).read(differs, Path())
    assert clock.now == 0
