"""The verbs on a checkpoint folder that only pods can see: from a running pod and from a helper pod, on a node whose pods are real."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_calls import called, command, environment
from made_checkpoints import FORMAT, tree, write_step
from pod_places import RUN_DIR, Place, claim_on_real_node, write_run

from tests.components.cluster.running import Cluster

TEST_LIMIT_S = 15.0
MARK = "trainyard-pod: "


@pytest.fixture(scope="module")
def place(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One claim and one running pod for the whole module; each test that changes something makes its own folder."""
    with claim_on_real_node(cluster, tmp_path_factory.mktemp("volume")) as made:
        write_run(made)
        made.start_pod()
        yield made


@pytest.mark.parametrize(("way", "algorithm"), [("by_pod", "xxh3_128"), ("by_helper", "crc32")])
def test_the_newest_step_is_damaged_and_the_next_one_is_the_answer(place: Place, way: str, algorithm: str) -> None:
    """The trainer's image has xxhash; plain Python has not, and says so."""
    answer = getattr(place, way)("latest", RUN_DIR)
    assert answer.code == 0 and answer.data["step"] == 250 and answer.data["algorithm"] == algorithm
    assert answer.data["path"] == f"{RUN_DIR}/checkpoints/step_00000250"
    assert [each["step"] for each in answer.data["skipped"]] == [300]
    assert place.helpers() == []


def test_list_and_verify_from_a_running_pod_choose_the_jobs_container(place: Place) -> None:
    listed = place.by_pod("list", RUN_DIR, "--limit", 2)
    assert listed.code == 0 and listed.data["total"] == 5 and listed.document["truncated"]
    assert listed.data["place"] == {"pod": "tiny-master-0", "container": "pytorch"}
    assert listed.document["next"][0] == (
        f"pod_checkpoints.py latest {RUN_DIR} --pod tiny-master-0 --container pytorch -n {place.namespace}"
    )
    assert place.by_pod("verify", f"{RUN_DIR}/checkpoints", "--step", 250).code == 0
    everything = place.by_pod("verify", RUN_DIR, "--all")
    assert everything.code == 1 and (everything.data["pass"], everything.data["fail"]) == (4, 1)
    assert "reading step_00000300" in everything.stderr


def test_prune_shows_a_plan_and_keeps_to_the_lock(place: Place) -> None:
    keep = ("--keep-rolling", 1, "--keep-epochs", 1)
    before = tree(place.run)
    assert place.by_pod("prune", RUN_DIR, *keep, "--yes").code == 5, "a pod that may live holds the lock"
    plan = place.by_pod("prune", RUN_DIR, *keep, "--holder-gone")
    assert plan.code == 6 and [each["name"][-3:] for each in plan.data["remove"]] == ["200", "150", "100"]
    assert tree(place.run) == before


def test_prune_by_a_helper_refuses_to_call_the_holder_gone_while_a_pod_uses_the_claim(place: Place) -> None:
    answer = place.by_helper("prune", RUN_DIR, "--holder-gone", "--yes")
    assert answer.code == 5 and "tiny-master-0" in answer.document["error"]["message"]


def test_prune_with_yes_removes_what_the_plan_says(place: Place) -> None:
    other = place.folder / "other"
    for step in (1, 2, 3):
        write_step(other, step)
    answer = place.by_helper("prune", "/trainyard/other", "--keep-rolling", 1, "--yes")
    assert answer.code == 0 and "removed step_00000001" in answer.document["changed"], answer.document
    assert not (other / "step_00000001").exists() and (other / "step_00000003").exists()


def test_rollback_sets_newer_steps_aside_on_the_volume(place: Place) -> None:
    other = place.folder / "back"
    for step in (1, 2, 3):
        write_step(other, step)
    asked = place.by_helper("rollback", "/trainyard/back", 1)
    assert (asked.code, asked.data["set_aside"]) == (6, ["step_00000003", "step_00000002"]), asked.document
    assert place.by_helper("rollback", "/trainyard/back", 1, "--yes").code == 0
    assert sorted(path.name.partition(".")[0] for path in other.glob("*.aside-e0")) == ["step_00000002", "step_00000003"]
    refused = place.by_helper("rollback", RUN_DIR, 100, "--holder-gone", "--yes")
    assert refused.code == 5 and "tiny-master-0" in refused.document["error"]["message"]


def test_a_step_is_copied_and_verified_here_and_the_same_call_changes_nothing(place: Place, tmp_path: Path) -> None:
    out = tmp_path / "copies"
    assert place.by_pod("copy", RUN_DIR, "latest", out, "--dry-run").data["step"] == 250 and not out.exists()
    copied = place.by_pod("copy", RUN_DIR, "latest", out)
    assert copied.code == 0 and copied.data["step"] == 250 and copied.data["algorithm"] == "xxh3_128"
    assert tree(out / "step_00000250") == tree(place.checkpoints / "step_00000250")
    again = place.by_pod("copy", RUN_DIR, 250, out)
    assert again.code == 0 and again.document["changed"] == []
    assert [path.name for path in out.iterdir()] == ["step_00000250"]
    (out / "step_00000250" / "state.json").write_text("{}")
    assert place.by_pod("copy", RUN_DIR, 250, out).code == 5


def test_a_step_of_another_run_is_not_called_copied_and_nothing_is_sent(place: Place, tmp_path: Path) -> None:
    other = write_step(tmp_path / "copies", 250, sealed_with={"run_id": "fedcba9876543210"})
    before = tree(tmp_path)
    for step in ("latest", 250):
        for words in ((), ("--dry-run",)):
            refused = place.by_pod("copy", RUN_DIR, step, other.parent, *words)
            assert refused.code == 5 and "fedcba9876543210" in refused.document["error"]["message"], step
    assert tree(tmp_path) == before


def test_a_damaged_step_is_not_kept_as_a_copy(place: Place, tmp_path: Path) -> None:
    answer = place.by_pod("copy", RUN_DIR, 300, tmp_path / "copies")
    assert answer.code == 1 and answer.data["path"] is None
    assert not (tmp_path / "copies").exists() or not list((tmp_path / "copies").iterdir())
    assert place.by_pod("copy", RUN_DIR, 7, tmp_path).code == 3


def test_three_hundred_checkpoints_are_listed_without_reading_their_bytes(place: Place) -> None:
    """Each shard claims 64 GiB and is a hole: reading them all, 38 TB, would take hours."""
    many = place.folder / "many"
    first = write_step(many, 1)
    manifest = json.loads((first / "manifest.json").read_bytes())
    for name in manifest["files"]:
        manifest["files"][name]["size"] = 64 << 30
    for step in range(1, 301):
        folder = many / FORMAT.step_name(step)
        folder.mkdir(exist_ok=True)
        for name in manifest["files"]:
            with (folder / name).open("wb") as file:
                file.truncate(64 << 30)
        (folder / "manifest.json").write_bytes(FORMAT.seal({**manifest, "step": step}))
    started = time.monotonic()
    answer = place.by_pod("list", "/trainyard/many", "--limit", 300)
    assert answer.code == 0 and answer.data["committed"] == 300 and len(answer.data["checkpoints"]) == 300
    assert sum(row["size_bytes"] for row in answer.data["checkpoints"]) == 300 * 3 * (64 << 30)
    assert time.monotonic() - started < TEST_LIMIT_S


def test_the_small_files_of_a_run_are_fetched_for_the_monitor(place: Place, tmp_path: Path) -> None:
    (place.run / "steps.jsonl").write_text('{"step": 1, "time": 1790000000.0, "incarnation": 1, "loss": 2.5}\n')
    (place.run / "events.jsonl").write_text("")
    (place.run / "run.json").write_text('{"written by": "the job"}')
    (place.run / "runner.json").symlink_to("/etc/passwd")
    fetched = place.by_pod("fetch", RUN_DIR, tmp_path / "run")
    assert fetched.code == 0 and (tmp_path / "run" / "steps.jsonl").read_bytes() == (place.run / "steps.jsonl").read_bytes()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["events.jsonl", "steps.jsonl"]
    assert "runner.json" in fetched.data["missing"], "a link may lead out of the folder"
    assert place.by_pod("fetch", RUN_DIR, tmp_path / "run").document["changed"] == []
    with (place.run / "steps.jsonl").open("a") as file:
        file.write('{"step": 2, "time": 1790000001.0, "incarnation": 1, "loss": 2.4}\n')
    assert place.by_pod("fetch", RUN_DIR, tmp_path / "run").document["changed"] == [f"wrote {tmp_path}/run/steps.jsonl"]
    assert place.by_pod("fetch", RUN_DIR, tmp_path / "run", "--files", "nothing.json").code == 3
    assert place.by_pod("fetch", RUN_DIR, tmp_path / "run", "--files", "../x").code == 2
    assert place.by_pod("fetch", RUN_DIR, tmp_path / "run", "--files", "run.json").code == 2


LIES: dict[str, tuple[dict[str, Any], int]] = {
    "a name that leads out": ({"files": [{"name": "../../evil", "size": 3}], "name": "step_00000250"}, 8),
    "a folder that leads out": ({"files": [{"name": "manifest.json", "size": 0}], "name": "../step_00000250"}, 8),
    "a size that is none": ({"files": [{"name": "manifest.json", "size": -1}], "name": "step_00000250"}, 8),
    "less than announced": ({"files": [{"name": "manifest.json", "size": 10**6}], "name": "step_00000250"}, 8),
    "more than the disk holds": ({"files": [{"name": "manifest.json", "size": 1 << 60}], "name": "step_00000250"}, 2),
    "a dry run that nobody asked for": (
        {"files": [{"name": "manifest.json", "size": 0}], "name": "step_00000250", "dry_run": True},
        8,
    ),
    "no list": ({"files": "all"}, 8),
    "an error code of its own": ({"error": {"code": "fine", "message": "\x1b[31mred"}}, 70),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_container_answers_is_data(place: Place, tmp_path: Path, lie: str) -> None:
    """The container's python3 is a script that answers what it likes."""
    document, code = LIES[lie]
    liar = place.folder / "liar"
    liar.write_text(f"#!/bin/sh\nhead -c $3 > /dev/null\necho hello\necho '{MARK}{json.dumps(document)}'\nprintf xyz\n")
    liar.chmod(0o755)
    answer = place.by_pod("copy", RUN_DIR, "latest", tmp_path / "out", "--python", "/trainyard/liar")
    assert answer.code == code, answer.document
    assert "\x1b" not in json.dumps(answer.document, ensure_ascii=False)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [] and not (tmp_path.parent / "evil").exists()


def test_a_container_without_python_and_a_pod_that_is_not_there_are_named(place: Place) -> None:
    assert place.by_pod("list", RUN_DIR, "--python", "no-such-python").code == 2
    assert place.by_pod("list", RUN_DIR, "--container", "absent").code == 3
    assert place.by_pod("list", "relative/path").code == 2
    assert place.by_pod("list", "/trainyard/absent").code == 3
    absent = called("pod_checkpoints.py", place.cluster, place.namespace, "list", RUN_DIR, "--pod", "absent")
    assert absent.code == 3 and "--claim" in absent.document["error"]["hint"]
    assert called("pod_checkpoints.py", place.cluster, place.namespace, "list", RUN_DIR).code == 2


def test_without_the_right_to_exec_the_rule_is_printed(place: Place) -> None:
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    answer = place.by_pod("list", RUN_DIR, user=place.cluster.user("looker", place.namespace, rules=rules))
    assert answer.code == 4 and '"pods/exec"' in answer.document["error"]["hint"]


def test_nothing_is_left_in_the_container(place: Place) -> None:
    """No file of ours, no process of ours."""
    words = ("exec", "tiny-master-0", "--container", "pytorch", "--namespace", place.namespace, "--")
    assert "trainyard" not in place.cluster.kubectl(*words, "ls", "/tmp")
    assert "checkpoint_pods.inside" not in processes(place)


def test_a_killed_caller_leaves_no_process_in_the_jobs_container(place: Place) -> None:
    """It reads a hole of 1 TiB, which takes minutes, on a container that has better things to do."""
    slow = write_step(place.folder / "slow", 1)
    manifest = json.loads((slow / "manifest.json").read_bytes())
    for name in manifest["files"]:
        manifest["files"][name]["size"] = 1 << 40
        with (slow / name).open("wb") as file:
            file.truncate(1 << 40)
    (slow / "manifest.json").write_bytes(FORMAT.seal(manifest))
    words = command("pod_checkpoints.py", place.namespace, ("verify", "/trainyard/slow", "--pod", "tiny-master-0"))
    caller = subprocess.Popen(words, env=environment(place.cluster), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: "checkpoint_pods.inside" in processes(place))
    caller.kill()
    caller.wait()
    wait_until(lambda: "checkpoint_pods.inside" not in processes(place))


def processes(place: Place) -> str:
    """The command lines in the job's container."""
    words = ("exec", "tiny-master-0", "--container", "pytorch", "--namespace", place.namespace, "--")
    return place.cluster.kubectl(*words, "sh", "-c", "cat /proc/[1-9]*/cmdline 2>/dev/null | tr '\\0' ' '; true")


def wait_until(ready: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not ready():
        assert time.monotonic() < deadline, "waited in vain"
