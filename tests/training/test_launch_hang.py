"""Hangs of a job of two nodes: real launchers that look at real ranks, and the coordinator that judges both together."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from trainyard.hang_evidence import Evidence
from trainyard.launch_coordinator import free_port
from trainyard.launch_hang import Looks, seen_of
from trainyard.launch_wire import MAX_LINE_BYTES, encode, parse

from tests.training.launch_runs import Launcher, environment, events, of_node, runner, wait_for

RANK = """
import os, pathlib, sys, time
rank, attempt = os.environ["RANK"], int(os.environ["TRAINYARD_ATTEMPT"])
pathlib.Path(f"rank-{rank}-{attempt}").write_text(str(os.getpid()))
if attempt or rank == os.environ.get("EARLY"): sys.exit(0)
"""
PRINTS = RANK + "\nwhile not pathlib.Path('go').exists(): print('word', flush=True); time.sleep(0.2)\n"
SLEEPS = RANK + "\nwhile not pathlib.Path('go').exists(): time.sleep(0.2)\n"
Start = Callable[..., list[Launcher]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    launchers: list[Launcher] = []

    def start(name: str, script: str, **more: str) -> list[Launcher]:
        """Two nodes in a folder of their own."""
        folder, port = tmp_path / name, free_port()
        (folder / "run").mkdir(parents=True)
        (folder / "rank.py").write_text(script)
        variables = [of_node(node, 2, port) | {"TRAINYARD_HANG_AFTER_S": "4"} | more for node in (0, 1)]
        started = [Launcher(folder, ["rank.py"], environment(folder / "run", **each)) for each in variables]
        launchers.extend(started)
        return started

    yield start
    for launcher in launchers:
        launcher.kill()


def pid(folder: Path, rank: int) -> int:
    path = folder / f"rank-{rank}-0"
    return int(wait_for(f"rank {rank}", lambda: path.exists() and path.read_text()))


def of_type(folder: Path, type: str) -> list[dict[str, object]]:
    there = (folder / "run" / "events.jsonl").exists()
    return [event for event in events(folder / "run") if event["type"] == type] if there else []


def test_a_hang_anywhere_starts_all_nodes_again_with_the_reason_and_the_stacks(start: Start, tmp_path: Path) -> None:
    jobs = {
        "stopped": (start("stopped", PRINTS), "hang: rank 1 (node 1, pid {}) has been stopped for"),
        "gone": (start("gone", SLEEPS, EARLY="1"), "hang: a rank (node 1) is gone; no output for"),
        "silent": (start("silent", SLEEPS), "hang: no output for"),
    }
    os.kill(pid(tmp_path / "stopped", 1), signal.SIGSTOP)
    for name, (nodes, reason) in jobs.items():
        folder = tmp_path / name
        assert [node.ends() for node in nodes] == [0, 0], nodes[0].text()
        (hang,) = of_type(folder, "hang")
        told = str(hang["reason"]).replace(f"rank 1 (node 1, pid {pid(folder, 1)}) is gone", "a rank (node 1) is gone")
        assert told.startswith(reason.format(pid(folder, 1))) and hang["action"] == "restart"
        assert [event["reason"] for event in of_type(folder, "attempt-ended")] == [hang["reason"], "every rank finished"]
        assert (runner(folder / "run")["restarts"], runner(folder / "run")["state"]) == (1, "finished")
        assert f"=== rank 0, pid {pid(folder, 0)} ===" in nodes[0].text()
    assert f"thread {pid(tmp_path / 'stopped', 1)} 'python' state T" in jobs["stopped"][0][1].text()


def test_a_job_that_is_stopped_on_every_node_is_left_alone_and_a_report_ends_nothing(start: Start, tmp_path: Path) -> None:
    paused, told = start("paused", PRINTS), start("told", SLEEPS, TRAINYARD_HANG="report")
    pids = [pid(tmp_path / "paused", rank) for rank in (0, 1)]
    for each in pids:
        os.kill(each, signal.SIGSTOP)
    wait_for("the pause", lambda: of_type(tmp_path / "paused", "paused"))
    wait_for("the hang that is only reported", lambda: of_type(tmp_path / "told", "hang"))
    assert runner(tmp_path / "paused" / "run")["reason"].startswith("paused by somebody: rank 0 (node 0, pid ")
    assert runner(tmp_path / "told" / "run")["reason"].endswith("only reported, as monitor.hang says")
    for each in pids:
        os.kill(each, signal.SIGCONT)
    wait_for("the end of the pause", lambda: of_type(tmp_path / "paused", "goes-on"))
    for name, nodes in (("paused", paused), ("told", told)):
        (tmp_path / name / "go").touch()
        assert [node.ends() for node in nodes] == [0, 0]
        assert len(of_type(tmp_path / name, "attempt")) == 1


@pytest.mark.parametrize(
    ("name", "value"), [("HANG", "ignore"), ("HANG_AFTER_S", "soon"), ("HANG_AFTER_S", "0"), ("HANG_AFTER_S", "nan")]
)
def test_a_setting_that_means_nothing_is_refused(start: Start, name: str, value: str) -> None:
    first, _ = start("odd", PRINTS, **{f"TRAINYARD_{name}": value})
    assert first.ends() == 2 and f"TRAINYARD_{name}" in first.text()


def test_what_a_node_sees_fits_into_a_message_and_comes_back_as_it_was() -> None:
    found = Looks(None).look(os.getpid())
    assert found is not None
    assert seen_of(parse(encode("look", generation=1, **found).strip())) == seen_of(found)
    ranks = {"ranks": " ".join(f"{rank}:4194304:lw" for rank in range(200)), "output": 1, "busy": "b" * 80, "sign": "s" * 80}
    assert len(encode("look", generation=1, **ranks)) < MAX_LINE_BYTES
    for odd in ("0", "0:1", "0:1:x", "0:1:l 7", "a:1:l", "-1:2:l", "0:1:lw:"):
        with pytest.raises(ValueError):
            seen_of({**ranks, "ranks": odd})


def test_evidence_of_a_launcher_that_has_ended_is_no_rank_at_all() -> None:
    looked = Evidence(2**22 + 1).look(1.0)
    assert looked == {"ranks": [], "output": 0, "busy": "", "sign": ""}
