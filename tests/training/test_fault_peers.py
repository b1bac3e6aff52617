"""Two ranks, one of which fails: the other learns it within a bound, nobody commits half a state, and nobody calls it finished."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import trainyard

from tests.training.rt_zygote import Child, Ended, Zygote, events

pytest_plugins = ["tests.training.rt_fixtures"]

POLICY = {"rolling_steps": 2}
BOUND_S = 40.0
SECOND_SHARD = "shard-00002-model-00001-of-00001.safetensors"


def start_two(
    zygote: Zygote, run_dir: Path, *own: dict[str, Any], envs: Sequence[dict[str, str]] = ({}, {}), **options: Any
) -> list[Child]:
    """Two ranks with the same options, and each with its own options and variables."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    ranks = [{**env, **envs[rank], "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    return [zygote.start(run_dir, env=ranks[rank], **{**options, **own[rank]}) for rank in range(2)]


def run_two(zygote: Zygote, run_dir: Path, *own: dict[str, Any], **options: Any) -> list[Ended]:
    return [child.wait(BOUND_S) for child in start_two(zygote, run_dir, *own, **options)]


def committed(run_dir: Path) -> list[int]:
    return [event["step"] for event in events(run_dir, "committed")]


@pytest.fixture
def run_dir(memory_path: Path) -> Path:
    return memory_path / "run"


def test_two_ranks_save_together_and_each_gets_its_state_back(zygote: Zygote, reference: dict[int, str], run_dir: Path) -> None:
    """The negative control of this file: the same start without a fault."""
    first = run_two(zygote, run_dir, {}, {}, steps=4, policy=POLICY, wait_after=[2])
    assert [ended.code for ended in first] == [0, 0], [ended.stderr for ended in first]
    second = run_two(zygote, run_dir, {}, {}, steps=6, policy=POLICY)
    assert [(ended.code, ended.restored) for ended in second] == [(0, (4, reference[4]))] * 2
    assert [ended.digests[6] for ended in second] == [reference[6]] * 2
    assert committed(run_dir) == [2, 4, 6]


def test_when_a_rank_dies_the_other_ends_by_itself_and_saves_nothing_more(zygote: Zygote, run_dir: Path) -> None:
    dies = {"after": {3: [["exit", 9]]}}
    survivor, dead = run_two(zygote, run_dir, {}, dies, steps=100, policy=POLICY, wait_after=[2], paced=False, paced_to=2)
    assert dead.code == 9
    assert survivor.code == 1 and "PeerLostError: rank 0: another rank is gone or does not answer" in survivor.stderr
    assert committed(run_dir) == [2] and not events(run_dir, "closed")


def test_a_rank_that_lives_and_does_not_answer_is_given_up_after_the_deadline(zygote: Zygote, run_dir: Path) -> None:
    policy = {**POLICY, "peer_timeout_s": 3.0}
    stopped = {"after": {3: [["signal", "SIGSTOP"]]}}
    first, second = start_two(zygote, run_dir, {}, stopped, steps=100, policy=policy, wait_after=[2], paced=False, paced_to=2)
    survivor = first.wait(BOUND_S)
    os.kill(second.pid, signal.SIGKILL)
    assert second.wait(BOUND_S).code == -9
    assert survivor.code == 1 and "another rank is gone or does not answer" in survivor.stderr
    assert committed(run_dir) == [2]


def test_sigterm_to_one_rank_makes_all_save_the_same_step_and_exit_143(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    ended = run_two(zygote, run_dir, {}, {"after": {3: [["signal", "SIGTERM"]]}}, steps=100, policy=POLICY, wait_after=[2])
    assert [one.code for one in ended] == [143, 143], [one.stderr for one in ended]
    last = committed(run_dir)[-1]
    resumed = run_two(zygote, run_dir, {}, {}, steps=8, policy=POLICY)
    assert [(one.code, one.restored) for one in resumed] == [(0, (last, reference[last]))] * 2
    assert [one.digests[8] for one in resumed] == [reference[8]] * 2


def test_a_rank_that_cannot_write_fails_the_save_for_all_and_the_next_one_works(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    in_the_way = str(run_dir / "checkpoints" / "step_00000002.e1.tmp" / SECOND_SHARD)
    blocked = {"after": {1: [["make", in_the_way, "x", "x"]]}}
    ended = run_two(zygote, run_dir, {}, blocked, steps=4, policy=POLICY, wait_after=[2])
    assert [one.code for one in ended] == [0, 0], [one.stderr for one in ended]
    (failed,) = events(run_dir, "save-failed")
    assert failed["step"] == 2 and failed["error"].startswith("rank 1: IsADirectoryError")
    assert committed(run_dir) == [4] and not list((run_dir / "checkpoints").glob("*.tmp"))
    assert run_two(zygote, run_dir, {}, {}, steps=4)[0].restored == (4, reference[4])


def test_a_part_that_never_comes_fails_the_save_after_its_deadline_and_the_run_at_its_end(
    zygote: Zygote, run_dir: Path
) -> None:
    """Rank 1's disk does not answer: its shard is a FIFO that nobody reads."""
    policy = {**POLICY, "part_timeout_s": 1.0}
    stuck = {"after": {1: [["mkfifo", str(run_dir / "checkpoints" / "step_00000002.e1.tmp" / SECOND_SHARD)]]}}
    first, second = run_two(zygote, run_dir, {}, stuck, steps=4, policy=policy, paced=False)
    assert (first.code, second.code) == (1, 1), (first.stderr, second.stderr)
    failed = events(run_dir, "save-failed")
    assert [event["step"] for event in failed] == [2, 4] and "no part from rank 1 after 1 s" in failed[0]["error"]
    assert "SaveError: step 4 was not saved: no part from rank 1 after 1 s" in first.stderr
    assert "the writer of step 2 is still writing after 1 s" in second.stderr
    assert committed(run_dir) == []


def test_a_snapshot_is_not_copied_over_one_that_a_slow_disk_still_takes(
    zygote: Zygote, reference: dict[int, str], run_dir: Path
) -> None:
    """A best step cannot be put off, and the buffer is not free."""
    policy = {**POLICY, "part_timeout_s": 1.0}
    blocked = str(run_dir / "checkpoints" / "step_00000004.e1.tmp" / SECOND_SHARD.replace("00002", "00001"))
    ended = zygote.run(
        run_dir,
        steps=8,
        policy=policy,
        paced=False,
        paced_to=3,
        wait_after=[2],
        after={3: [["mkfifo", blocked]]},
        val_losses={5: 1.0},
    )
    assert (
        ended.code == 1 and "SaveError: step 5 was not saved: the writer of step 4 is still writing after 1 s" in ended.stderr
    )
    assert zygote.run(run_dir, steps=4).restored == (2, reference[2])


def test_a_rank_that_trains_by_itself_among_others_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As Lightning does on two nodes with num_nodes left at 1: both ranks saved into one folder, in turn."""
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "job")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(trainyard.ConfigError, match="torchrun started 2 ranks, and no process group is there yet"):
        trainyard.Checkpointer(tmp_path / "checkpoints")
    assert not (tmp_path / "checkpoints").exists()
    monkeypatch.setenv("WORLD_SIZE", "1")
    trainyard.Checkpointer(tmp_path / "checkpoints").close()


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        ({"val_losses": {3: 1.0}}, {}, "at step 3: rank 0 gave a val_loss, and rank 1 gave none"),
        ({}, {"val_losses": {3: 1.0}}, "at step 3: rank 1 gave a val_loss, and rank 0 gave none"),
        ({}, {"epoch_steps": 3}, "at step 3: rank 1 gave end_of_epoch=True, and rank 0 did not"),
        ({}, {"steps": 3}, "at step 4: rank 1 called close(), and rank 0 called step(4)"),
        ({}, {"steps": 3, "val_losses": {3: 1.0}}, "at step 3: rank 1 gave a val_loss, and rank 0 gave none"),
        ({"again": [2]}, {}, "one rank called step(2), and another one step(3) at the same time"),
    ],
    ids=["val_loss on 0", "val_loss on 1", "end_of_epoch", "close", "val_loss at the end", "step"],
)
def test_ranks_that_make_different_calls_are_told_so_at_once(
    zygote: Zygote, run_dir: Path, first: dict[str, Any], second: dict[str, Any], words: str
) -> None:
    """With the peers' own deadline, of five minutes, none of the two would have ended by then."""
    ended = run_two(zygote, run_dir, first, second, steps=6, policy={"rolling_steps": 100})
    assert words in "".join(one.stderr for one in ended) and "DisagreementError" in "".join(one.stderr for one in ended)
    assert all(one.code == 1 for one in ended), [one.stderr for one in ended]
    assert committed(run_dir) == []


def test_a_val_loss_on_every_rank_is_rank_0s(zygote: Zygote, run_dir: Path) -> None:
    """The negative control; both told an evaluation of their own."""
    ended = run_two(zygote, run_dir, {"val_losses": {3: 1.0}}, {"val_losses": {3: 2.0}}, steps=4, policy={"rolling_steps": 100})
    assert [one.code for one in ended] == [0, 0], [one.stderr for one in ended]
    assert "best=1.0" in run_two(zygote, run_dir, {}, {}, steps=4)[1].stdout


# --- state that is another one on each rank ----------------------------------------------------------------------


def test_ranks_that_hold_other_tensors_are_refused_at_the_first_step_on_all(zygote: Zygote, run_dir: Path) -> None:
    """Only one rank's tensor would be kept, and every rank would write what another one thinks is its own."""
    ended = run_two(zygote, run_dir, {"ballast": 3}, {"ballast": 4}, steps=4, policy=POLICY)
    assert [one.code for one in ended] == [1, 1]
    assert all("ConfigError: rank 1 holds other tensors than rank 0" in one.stderr for one in ended), ended
    assert not committed(run_dir)


def test_ranks_whose_weights_went_apart_are_told_by_the_first_name(zygote: Zygote, run_dir: Path) -> None:
    """Two ranks that train without DDP on other samples: one copy is kept for both."""
    first, _ = run_two(zygote, run_dir, {}, {"samples": 29}, steps=2, policy=POLICY)
    words = "note: rank 1 has other values than rank 0 in model.hidden.bias: one copy is saved, and all ranks go on from it"
    assert words in first.stdout, first.stderr
    first, _ = run_two(zygote, run_dir, {}, {}, steps=4, policy=POLICY)
    assert first.code == 0 and "note:" not in first.stdout


def test_an_optimizer_that_keeps_parts_of_sharded_parameters_is_refused_and_one_that_keeps_wholes_is_not(
    zygote: Zygote, run_dir: Path
) -> None:
    """The parts have the same name and shape on both ranks, and other values."""
    parts = run_two(zygote, run_dir, {}, {}, local_parts="parts")
    assert [one.code for one in parts] == [1, 1]
    assert all("ConfigError: rank 1 holds other tensors than rank 0" in one.stderr for one in parts), parts
    assert not committed(run_dir)
    whole = run_two(zygote, run_dir, {}, {}, local_parts="whole")
    assert [(one.code, "again 1 True" in one.stdout) for one in whole] == [(0, True)] * 2, whole
