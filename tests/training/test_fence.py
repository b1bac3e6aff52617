"""Attempts that overlap, as a RayJob's do: an earlier one neither commits nor takes the folder again, however late it wakes up."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from trainyard import fence
from trainyard.fence import announce
from trainyard.lock import read_lock

from tests.training.launch_runs import RUN_ID, Launcher, environment, runner, wait_for
from tests.training.rt_zygote import Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

POLICY = {"rolling_steps": 2}
RUN = "5f0c000000000000"


def of(cluster: str, driver: str | None = None) -> dict[str, str]:
    """Variables of a process of that attempt."""
    return {"RAY_CLUSTER_NAME": cluster, **({fence.ATTEMPT: f"{cluster}/{driver}"} if driver else {})}


def become(monkeypatch: pytest.MonkeyPatch, run_id: str, cluster: str, driver: str) -> None:
    """The driver of that attempt."""
    for name, value in {"TRAINYARD_RUN_ID": run_id, **of(cluster, driver)}.items():
        monkeypatch.setenv(name, value)


def attempts(run_dir: Path) -> list[str]:
    return list(read_lock(run_dir / "checkpoints")["attempts"])


def test_an_earlier_attempt_that_wakes_up_late_does_not_commit_or_come_back(
    zygote: Zygote, memory_path: Path, reference: dict[int, str]
) -> None:
    """It was stopped in mid-training, as on a node that did not answer; the next one has trained on since then."""
    gate = memory_path / "gate"
    old = zygote.start(memory_path, steps=8, policy=POLICY, after={5: [["pause", str(gate)]]}, env=of("job-aaaaa"))
    wait_for("the pause", (memory_path / "gate.here").exists)
    os.kill(old.pid, signal.SIGSTOP)
    new = zygote.run(memory_path, steps=7, policy=POLICY, env=of("job-bbbbb"))
    assert (new.code, new.restored) == (0, (4, reference[4])), new.stderr
    gate.touch()
    os.kill(old.pid, signal.SIGCONT)
    woken = old.wait()
    assert woken.code == 1 and "another start of this run has taken" in woken.stderr
    again = zygote.run(memory_path, steps=9, policy=POLICY, env=of("job-aaaaa"))
    assert again.code == 1 and "job-aaaaa of this run was overtaken by attempt job-bbbbb" in again.stderr
    assert attempts(memory_path) == ["job-aaaaa", "job-bbbbb"]
    assert [event["step"] for event in events(memory_path, "committed")] == [2, 4, 6, 7]
    control = zygote.run(memory_path, steps=9, policy=POLICY, env=of("job-bbbbb"))
    assert (control.code, control.restored) == (0, (7, reference[7])), "the newest attempt may start again"


def test_an_attempt_that_was_announced_fences_at_once(
    zygote: Zygote, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before any rank of it has started; the earlier one is still training."""
    gate = memory_path / "gate"
    old = zygote.start(memory_path, steps=8, policy=POLICY, after={5: [["pause", str(gate)]]}, env=of("job-aaaaa", "one.1"))
    wait_for("the pause", (memory_path / "gate.here").exists)
    become(monkeypatch, RUN, "job-aaaaa", "two.1")
    announce(memory_path / "checkpoints")
    gate.touch()
    woken = old.wait()
    assert woken.code == 1 and "another start of this run has taken" in woken.stderr
    assert [event["step"] for event in events(memory_path, "committed")] == [2, 4]
    assert attempts(memory_path) == ["job-aaaaa/one.1", "job-aaaaa/two.1"]


def test_another_runs_folder_is_not_announced_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = {"format": 1, "run_id": "ffff000000000000", "incarnation": 3, "holder": None, "origin": None}
    (tmp_path / "lock.json").write_text(json.dumps(lock))
    become(monkeypatch, RUN, "job-aaaaa", "one.1")
    announce(tmp_path)
    assert json.loads((tmp_path / "lock.json").read_text()) == lock


RANK = """
import os, pathlib, time
pathlib.Path(f"started-{os.environ['RAY_CLUSTER_NAME']}").touch()
time.sleep(600)
"""


def test_the_launcher_of_an_earlier_attempt_ends_and_leaves_the_records_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its word `failed` in runner.json would end the next start of the attempt that goes on."""
    run_dir = tmp_path / "run"
    (run_dir / "checkpoints").mkdir(parents=True)
    (tmp_path / "rank.py").write_text(RANK)
    more = {"TRAINYARD_CHECKPOINTS": str(run_dir / "checkpoints"), **of("job-aaaaa", "one.1")}
    become(monkeypatch, RUN_ID, "job-aaaaa", "one.1")
    announce(run_dir / "checkpoints")
    old = Launcher(tmp_path, ["rank.py"], environment(run_dir, **more))
    try:
        wait_for("the rank", (tmp_path / "started-job-aaaaa").exists)
        before = runner(run_dir)
        become(monkeypatch, RUN_ID, "job-bbbbb", "two.1")
        announce(run_dir / "checkpoints")
        assert old.ends() == 1 and "was overtaken by attempt job-bbbbb/two.1" in old.text()
        late = Launcher(tmp_path, ["rank.py"], environment(run_dir, **more))
        assert late.ends() == 1
        assert runner(run_dir) == before and before["state"] == "running"
    finally:
        old.kill()


A, B, C = "one-aaaaa", "one-bbbbb", "one-ccccc"


@pytest.mark.parametrize(
    ("listed", "own", "after"),
    [
        ([], None, []),
        ([], A, [A]),
        ([A], A, [A]),
        ([A], B, [A, B]),
        ([A, B], C, [A, B, C]),
        ([f"{A}/x.1"], f"{A}/x.2", [f"{A}/x.1", f"{A}/x.2"]),
        ([f"{A}/x.1"], A, [f"{A}/x.1"]),
        ([A], f"{A}/x.1", [A, f"{A}/x.1"]),
        ([A], None, [A, "-"]),
        ([A, "-"], None, [A, "-"]),
        ([A, B], A, None),
        ([A, "-"], A, None),
        ([f"{A}/x.1", f"{A}/x.2"], f"{A}/x.1", None),
        ([f"{A}/x.1", B], f"{A}/y.1", None),
        ([f"{A}/x.1", f"{A}/y.1"], f"{A}/z.1", [f"{A}/x.1", f"{A}/y.1", f"{A}/z.1"]),
    ],
)
def test_the_newest_attempt_is_the_last_of_the_list(listed: list[str], own: str | None, after: list[str] | None) -> None:
    refused = fence.overtaken(listed, own) is not None
    assert refused is (after is None)
    assert after is None or fence.entered(listed, own) == after


def test_a_start_by_the_user_is_another_attempt_of_the_same_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_CLUSTER_NAME", "one")
    monkeypatch.setenv("TRAINYARD_SUBMISSION", "2")
    assert fence.own_attempt() == "one@2" and fence.overtaken(["one@1", "two"], "one@2") is None


@pytest.mark.parametrize("odd", ["a/b/c", "two words", "x" * 400, "\u00e4", ""])
def test_an_odd_name_never_makes_a_lock_that_nobody_can_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str) -> None:
    become(monkeypatch, RUN, odd, odd)
    announce(tmp_path)
    assert not odd or read_lock(tmp_path)["run_id"] == RUN


def test_the_list_stays_short_and_is_checked() -> None:
    names = [f"job-{number:05d}" for number in range(100)]
    listed: list[str] = []
    for name in names:
        listed = fence.entered(listed, name)
    assert listed == names[-fence.MAX_KEPT :] and fence.is_listed(listed)
    for wrong in ("job", [1], ["a b"], ["x" * 400], [["x"]], {"x": 1}, names):
        assert not fence.is_listed(wrong)
