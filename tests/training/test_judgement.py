"""A step that was forged, cut or mixed up gets one verdict from everybody who asks, and a restore takes the older one."""

from __future__ import annotations

import collections
import datetime
import decimal
import enum
import hashlib
import json
import os
import shutil
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trainyard import checkpoint_contents as contents
from trainyard import checkpoint_format as fmt
from trainyard import codec, restoring, rng, stored_forms
from trainyard.agreement import Agreement
from trainyard.checkpoint_judgement import judge
from trainyard.commit import apply_retention
from trainyard.disk_store import DiskStore
from trainyard.errors import MismatchError, RestoreError
from trainyard.lock import take
from trainyard.policy import SavePolicy

from tests.training import rt_trainer
from tests.training.rt_forged import FORGED, HARMLESS, linked_step, manifest, member, state

pytest_plugins = ["tests.training.rt_fixtures"]

SKILL = Path(__file__).parents[2] / "skills" / "checkpoint-manager" / "src"
NEWEST = "step_00000004"
ASKED = """
import contextlib, io, json, sys
from pathlib import Path
import trainyard_shell as shell
from checkpoint_folder import verbs
answers = {}
for root in sorted(Path(sys.argv[1]).iterdir()):
    with contextlib.redirect_stderr(io.StringIO()):
        verify = verbs.verify(str(root), None, False, False, 50)
        everything = verbs.verify(str(root), None, True, False, 50)
        latest, listed = verbs.latest(str(root), True), verbs.list_(str(root), 50)
    rows = [row for row in listed.data["checkpoints"] if row["name"] == "step_00000004"]
    counts = {name: [verify.data[name], everything.data[name]] for name in ("pass", "fail", "unknown")}
    answers[root.name] = {"counts": counts, "latest": latest.data["step"], "rows": rows, "skipped": latest.data["skipped"]}
print(json.dumps(answers))
"""


SHORT = SavePolicy(read_timeout_s=0.3)
"""For a file that is missing; how long it is waited for otherwise: test_fault_reading.py."""


@pytest.fixture(scope="module")
def cases(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is wrong -> a checkpoint folder with the steps 2 and 4, of which 4 is so."""
    place, found = tmp_path_factory.mktemp("cases"), {}
    for number, (what, forge) in enumerate({**FORGED, **HARMLESS}.items()):
        root = place / f"case-{number:03d}"
        shutil.copytree(saved / "checkpoints", root)
        forge(root / NEWEST)
        found[what] = root
    return found


@pytest.fixture(scope="module")
def asked(cases: dict[str, Path]) -> dict[str, Any]:
    """What the checkpoint-manager says about each case; one process asks about all."""
    root = next(iter(cases.values())).parent
    done = subprocess.run(
        [sys.executable, "-c", ASKED, str(root)],
        capture_output=True,
        text=True,
        timeout=240,
        env={**os.environ, "PYTHONPATH": str(SKILL)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answers = json.loads(done.stdout)
    return {what: answers[folder.name] for what, folder in cases.items()}


def things_and_digest() -> tuple[dict[str, Any], str]:
    things = rt_trainer.make_things({})
    return things, bits_of(things)


def bits_of(things: dict[str, Any]) -> str:
    """Of the tensors; the generators are used by whoever makes them."""
    text = hashlib.sha256()
    for tensor in things["model"].state_dict().values():
        text.update(bytes(tensor.detach().reshape(-1).view(torch.uint8).tolist()))
    return text.hexdigest() + json.dumps(things["scheduler"].state_dict(), default=str)


def restored(root: Path, things: dict[str, Any], which: str = "latest") -> restoring.Restored:
    return restoring.restore(DiskStore(root, SHORT), which, things, Agreement(timeout_s=5), None)


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_step_has_one_verdict_and_the_older_step_is_restored(
    cases: dict[str, Path], asked: dict[str, Any], what: str
) -> None:
    root = cases[what]
    status, answer = judge(root / NEWEST).status, asked[what]
    # Without a digest nothing is known to be wrong, and nothing proves it: no restore takes it.
    assert status == ("unknown" if what == "no digest" else "damaged"), "the one function"
    damaged = status == "damaged"
    expected = {"pass": [0, 1], "fail": [1, 1] if damaged else [0, 0], "unknown": [0, 0] if damaged else [1, 1]}
    assert answer["counts"] == expected, "verify, and verify --all"
    assert answer["latest"] == 2 and [each["step"] for each in answer["skipped"]] == [4]
    (row,) = answer["rows"]
    assert row["verified"] == "not verified", "list has read no bytes, and says so"
    things, before = things_and_digest()
    found = restored(root, things)
    assert (found.step, [each["step"] for each in found.skipped]) == (2, [4])
    assert found.skipped[0]["reason"] and bits_of(things) != before
    assert restoring.peek(DiskStore(root, SHORT), Agreement(timeout_s=5))[0] == 2


@pytest.mark.parametrize("what", FORGED)
def test_where_the_forged_step_is_the_only_one_nothing_in_the_model_changes(
    cases: dict[str, Path], asked: dict[str, Any], what: str
) -> None:
    root = cases[what]
    (root / "step_00000002").rename(root / ".away")
    try:
        things, before = things_and_digest()
        with pytest.raises(RestoreError, match="no checkpoint is intact"):
            restored(root, things)
        assert bits_of(things) == before
    finally:
        (root / ".away").rename(root / "step_00000002")


@pytest.mark.parametrize("what", HARMLESS)
def test_what_no_reader_minds_is_intact_for_all_of_them(cases: dict[str, Path], asked: dict[str, Any], what: str) -> None:
    """The negative control of the tests above."""
    root = cases[what]
    assert judge(root / NEWEST).status == "intact", judge(root / NEWEST).problems
    assert asked[what]["counts"] == {"pass": [1, 2], "fail": [0, 0], "unknown": [0, 0]}
    assert (asked[what]["latest"], asked[what]["skipped"]) == (4, [])
    assert restored(root, rt_trainer.make_things({})).step == 4
    assert restoring.peek(DiskStore(root, SHORT), Agreement(timeout_s=5))[0] == 4


# --- whose step --------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(saved: Path, memory_path: Path) -> Path:
    """Step 2 is this run's; step 4 is whole and of another run."""
    root = Path(shutil.copytree(saved / "checkpoints", memory_path / "mixed"))
    manifest(member("run_id", to="feedfeedfeedfeed"))(root / NEWEST)
    return root


def test_a_step_of_another_run_is_taken_only_by_its_number_and_then_again_after_a_crash(mixed: Path) -> None:
    things = rt_trainer.make_things({})
    found = restored(mixed, things)
    assert found.step == 2 and "a step of run 'feedfeedfeedfeed'" in found.skipped[0]["reason"]
    assert "restore('step:4')" in found.skipped[0]["reason"]
    assert restored(mixed, things, "step:4").step == 4
    lock = json.loads((mixed / "lock.json").read_text())
    (mixed / "lock.json").write_text(json.dumps(lock | {"origin": {"requested": "step:4", "step": 4}}))
    assert restored(mixed, things).step == 4, "this run began with it, so its restarts go on from it"


def test_retention_neither_counts_nor_removes_a_step_of_another_run(mixed: Path) -> None:
    assert apply_retention(mixed, newest=2, keep_rolling=1, keep_epochs=0) == ([], {})
    assert json.loads((mixed / "tiers.json").read_text())["rolling"] == [2]
    assert (mixed / NEWEST / "manifest.json").exists()


def test_without_a_lock_file_the_newest_step_says_whose_folder_it_is(mixed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who moves lock.json away, as an error advises, still finds the checkpoints."""
    monkeypatch.delenv("TRAINYARD_RUN_ID", raising=False)
    (mixed / "lock.json").unlink()
    assert take(mixed).run_id == "feedfeedfeedfeed"
    assert restored(mixed, rt_trainer.make_things({})).step == 4


def test_a_step_that_is_a_link_is_no_step_for_anybody(saved: Path, memory_path: Path) -> None:
    root = Path(shutil.copytree(saved / "checkpoints", memory_path / "linked"))
    linked_step(root / NEWEST)
    assert restored(root, rt_trainer.make_things({})).step == 2
    assert [entry.step for entry in fmt.committed(fmt.scan(root))] == [2]


# --- unreadable is not damaged -----------------------------------------------------------------------------------


def test_a_file_that_cannot_be_read_is_unknown_and_no_damage(saved: Path, memory_path: Path) -> None:
    """ENAMETOOLONG and the like cannot be had of a file that is there: a descriptor limit of zero can."""
    root = Path(shutil.copytree(saved / "checkpoints", memory_path / "unreadable"))
    limited = (
        "import resource, sys; from pathlib import Path; import checkpoint_judgement as j; "
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3)); found = j.judge(Path(sys.argv[1])); print(found.status, found.problems)"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, str(root / NEWEST)],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": str(SKILL)},
    )  # fmt: skip
    assert done.stdout.startswith("unknown") and "Too many open files" in done.stdout, done.stdout + done.stderr


# --- the parts ---------------------------------------------------------------------------------------------------


def test_every_type_that_the_runtime_saves_is_one_of_the_format() -> None:
    for dtype, name in stored_forms.DTYPE_NAMES.items():
        assert fmt.ITEM_BYTES[name] == dtype.itemsize


class Color(enum.Enum):
    RED = "r"


class Access(enum.Flag):
    READ, WRITE = 1, 2


Renamed = collections.namedtuple("Renamed", ["a", "class"], rename=True)
WRITTEN: list[Any] = [
    *(np.zeros((2, 3), kind) for kind in ("f8", "f2", "?", "u1", "i8", "c16", "U5", "S3", "M8[ns]", "m8[25s]", "longdouble")),
    np.zeros((0, 4)), np.float32(1.5), np.str_("x"), np.datetime64("2026-01-01"), np.bool_(True), np.array(7),
    collections.Counter(a=1), collections.OrderedDict(b=1, a=2), collections.defaultdict(list, a=[1]),
    collections.defaultdict(lambda: 5, a=1), collections.deque([1, 2], maxlen=3), collections.deque(),
    {(1, "a"), (2, "b")}, frozenset({1}), range(5, 1, -2), slice(None, 5), complex(float("nan"), 1), bytearray(b"x"), b"x",
    torch.bfloat16, torch.device("cuda:1"), torch.device("cpu"), torch.Size([2, 0]), datetime.datetime.now(datetime.UTC),
    datetime.date(2026, 1, 1), datetime.timedelta(days=-1, microseconds=5), decimal.Decimal("NaN"), uuid.UUID(int=5),
    Path("a/b"), 1 << 40_000, -(1 << 40_000), float("-inf"), Renamed(1, 2), Color.RED, Access.READ | Access.WRITE,
    {1: "a", (1, 2): "b", frozenset({3}): "c", None: "d", 1.5: "e", float("inf"): "f", b"k": "g", Color.RED: "h", torch.int8: "i"},
    {"$x": 1, "y": {"$tensor": "no"}}, (1, (2, [3, {"k": ()}])),
]  # fmt: skip
"""What a script may keep in its state."""


@pytest.mark.parametrize("value", WRITTEN, ids=lambda value: type(value).__name__)
def test_every_form_that_the_codec_writes_is_readable_for_the_judgement(value: Any) -> None:
    """A form that the writer has and the judgement refuses would be a save that fails."""
    encoded = json.loads(fmt.canonical(codec.encode(value, "x", lambda path, tensor: None)))
    shared = {"step": 1, "epoch": 0, "best_loss": None, "config": {}, "objects": {"x": encoded}}
    rank = {"rng": codec.encode(rng.capture(), "rng", lambda path, tensor: None)}
    held = {"format": 1, "shared": shared, "ranks": {"0": rank}}
    assert contents.state_problem(held, {"step": 1, "world_size": 1, "tensors": {}}) is None


def test_a_form_of_a_newer_writer_and_a_device_unknown_to_torch_are_found_before_anything_changes(
    saved: Path, memory_path: Path
) -> None:
    root = Path(shutil.copytree(saved / "checkpoints", memory_path / "newer"))
    things, before = things_and_digest()
    state(member("shared", "config", to={"x": {"$device": "quux"}}))(root / NEWEST)
    found = restored(root, rt_trainer.make_things({}))
    assert (found.step, [each["step"] for each in found.skipped]) == (2, [4])
    state(member("shared", "config", to={"x": {"$later": [1]}}))(root / NEWEST)
    with pytest.raises(MismatchError, match="resume with the newer one"):
        restored(root, things)
    assert bits_of(things) == before


def blocks(*places: tuple[tuple[int, ...], tuple[int, ...]]) -> list[contents.Block]:
    return [contents.Block(0, "F32", shape, offsets) for offsets, shape in places]


@pytest.mark.parametrize(
    ("places", "shape", "problem"),
    [
        ([((0,), (4,))], (4,), None),
        ([((), ())], (), None),
        ([((), ()), ((), ())], (), "once"),
        ([((0,), (0,))], (0,), None),
        ([((0, 0), (2, 4)), ((2, 0), (2, 2)), ((2, 2), (2, 2))], (4, 4), None),
        ([((0, 0), (2, 4)), ((1, 0), (2, 4))], (4, 4), "overlap"),
        ([((0, 0), (4, 2)), ((0, 1), (4, 2))], (4, 4), "overlap"),
        ([((0, 0), (2, 4))], (4, 4), "once"),
        ([((0,), (2,)), ((0,), (2,))], (4,), "overlap"),
        ([((0,), (5,))], (4,), "does not fit"),
        ([((3,), (1,)), ((0,), (3,)), ((4,), (0,))], (4,), None),
    ],
)
def test_blocks_are_the_whole_of_a_tensor_only_where_each_element_stands_once(
    places: list[Any], shape: tuple[int, ...], problem: str | None
) -> None:
    found = contents.cover_problem(blocks(*places), "F32", shape)
    assert found is None if problem is None else problem in (found or "")
