"""A call that is killed with SIGKILL: the same call again goes on, and asks nothing twice."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable

import pytest
from hyperpod_between import Between
from hyperpod_program import Program, by_name, kill

from tests.components.aws import hyperpod

REPLACE, ADD, UPDATE = "BatchReplaceClusterNodes", "BatchAddClusterNodes", "UpdateCluster"


def killed_at(between: Between, operation: str, mode: str, start: Callable[[], subprocess.Popen[str]]) -> None:
    between.kept[operation] = mode
    process = start()
    assert between.arrived.wait(30), "the call did not come"
    kill(process)


@pytest.mark.parametrize("mode", ["before", "after"])
def test_a_replacement_that_was_killed_goes_on(program: Program, between: Between, mode: str) -> None:
    """`before`: AWS never got the call. `after`: it took it, and the answer never came."""
    program.aws.hyperpod_pace(launch_s=1.0)
    broken, other = program.slurm()
    words = ["replace", "trainyard", *by_name([broken]), "--yes"]
    killed_at(between, REPLACE, mode, lambda: program.start(*words))
    assert [each["phase"] for each in program.journal()] == ["asked"]

    again = program(*words)
    assert again.code == 0
    assert len(program.sent(REPLACE)) == 1, "AWS was asked for it once"
    assert again.document["changed"] == ([] if mode == "after" else [f"{broken}: replace asked for"])
    new = again.data["requests"][0]["nodes"][0]["is"]
    assert set(hyperpod.ids(program.aws)) == {other, new}
    assert program("replace", "trainyard", *by_name([broken]), "--yes").code == 3, "and that is over"


def test_a_wait_that_was_killed_is_taken_up_by_wait(program: Program, between: Between) -> None:
    program.aws.hyperpod_pace(launch_s=3.0)
    broken, other = program.slurm(continuous=True)
    process = program.start("replace", "trainyard", *by_name([broken]), "--yes")
    hyperpod.until(lambda: any(each["phase"] == "accepted" for each in program.journal()), "accepted")
    kill(process)

    logical = program.journal()[0]["nodes"][0]["logical_id"]
    again = program("replace", "trainyard", *by_name([logical], forced=False), "--yes", "--no-wait")
    assert again.code == 0
    assert again.data["asked"] == [broken], "the logical id is the new node's as well: it is not replaced"
    done = program("wait", "trainyard")
    assert done.code == 0
    assert done.data["requests"][0]["nodes"][0]["was"] == broken
    assert len(program.sent(REPLACE)) == 1
    assert [each["phase"] for each in program.journal()] == ["over"]
    assert other in hyperpod.ids(program.aws)


def test_wait_says_that_nothing_was_taken(program: Program, between: Between) -> None:
    broken, _ = program.slurm()
    killed_at(between, REPLACE, "before", lambda: program.start("replace", "trainyard", *by_name([broken]), "--yes"))
    done = program("wait", "trainyard", "--timeout", 2)
    assert done.code == 1
    assert "nothing shows that AWS took it" in done.check(f"replace.{broken}")["summary"]
    assert program("wait", "trainyard").code == 0, "it is over, and the cluster is as it was"


def test_a_call_at_work_is_left_to_itself(program: Program, between: Between) -> None:
    broken, _ = program.slurm()
    words = ["replace", "trainyard", *by_name([broken]), "--yes"]
    between.kept[REPLACE] = "before"
    process = program.start(*words)
    assert between.arrived.wait(30)
    second = program(*words)
    kill(process)
    assert second.code == 5
    assert str(process.pid) in second.error["message"]
    assert program(*words).code == 0


@pytest.mark.parametrize("mode", ["before", "after"])
def test_nodes_are_not_added_twice(program: Program, between: Between, mode: str) -> None:
    program.slurm(continuous=True)
    words = ["scale", "trainyard", "--group", "workers", "--add", 2, "--yes"]
    killed_at(between, ADD, mode, lambda: program.start(*words))
    again = program(*words)
    assert again.code == 0
    assert len(hyperpod.ids(program.aws)) == 4
    assert len(again.data["logical_ids"]) == 2
    assert program(*words).code == 0, "a call after its end is a new one"
    assert len(hyperpod.ids(program.aws)) == 6


@pytest.mark.parametrize("mode", ["before", "after"])
def test_a_group_of_the_older_kind_is_scaled_once(program: Program, between: Between, mode: str) -> None:
    program.slurm()
    words = ["scale", "trainyard", "--group", "workers", "--count", 3, "--yes"]
    killed_at(between, UPDATE, mode, lambda: program.start(*words))
    assert program(*words).code == 0
    assert len(hyperpod.ids(program.aws)) == 3
    assert len(program.sent(UPDATE)) == 1


def test_the_journal_is_small_and_readable(program: Program) -> None:
    """Forty requests at most, and none that is a day old."""
    ids = program.slurm(count=3)
    assert program("reboot", "trainyard", *by_name(ids[:1]), "--yes", "--no-wait").code == 0
    (file,) = (program.state / "trainyard" / "hyperpod").glob("*.json")
    (request,) = json.loads(file.read_text())["requests"]
    old = [{**request, "id": f"old{number}", "asked_at": time.time() - 90_000} for number in range(30)]
    young = [{**request, "id": f"young{number}", "phase": "over"} for number in range(60)]
    file.write_text(json.dumps({"version": 1, "requests": old + young}))
    assert program("reboot", "trainyard", *by_name(ids[1:2]), "--yes", "--no-wait").code == 0
    kept = [each["id"] for each in program.journal()]
    assert len(kept) == 40
    assert not any(id.startswith("old") for id in kept)
