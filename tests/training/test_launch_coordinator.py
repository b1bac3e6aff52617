"""The coordinator of a job of several nodes, spoken to over its real socket by nodes without ranks."""

from __future__ import annotations

import json
import queue
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trainyard.launch_coordinator import TORN_S, Coordinator, free_port
from trainyard.launch_record import Record
from trainyard.launch_wire import Wire, connect

RUN_ID = "00c0ffee00c0ffee"


class FakeNode:
    """Speaks the protocol and has no ranks."""

    def __init__(self, port: int, node: int, run_id: str = RUN_ID) -> None:
        self.inbox: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        wire = connect("127.0.0.1", port, lambda _, message: self.inbox.put(message))
        assert wire is not None
        self.wire: Wire = wire
        wire.send("hello", run_id=run_id, node=node)
        wire.send("ready")

    def hears(self, type: str, **fields: Any) -> dict[str, Any]:
        message = self.inbox.get(timeout=10)
        assert message.items() >= {"type": type, **fields}.items()
        return message

    def hears_nothing(self) -> None:
        with pytest.raises(queue.Empty):
            self.inbox.get(timeout=0.6)

    def ends(self, code: int, generation: int = 1) -> None:
        self.wire.send("ended", generation=generation, code=code)


Start = Callable[..., tuple[Coordinator, int]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    def start(
        nodes: int, *, max_restarts: int = 3, node_timeout_s: float = 60.0, leave_timeout_s: float = 2.0
    ) -> tuple[Coordinator, int]:
        record = Record.begin(tmp_path, RUN_ID, max_restarts, nodes=nodes)
        coordinator = Coordinator(nodes, RUN_ID, record, max_restarts, node_timeout_s, leave_timeout_s)
        port = free_port()
        coordinator.serve(port)
        return coordinator, port

    yield start


def record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "runner.json").read_text()))


def events(folder: Path) -> list[str]:
    return [json.loads(line)["type"] for line in (folder / "events.jsonl").read_text().splitlines()]


def test_nobody_starts_before_all_are_there_and_all_start_at_one_port(start: Start) -> None:
    _, port = start(2)
    first = FakeNode(port, 0)
    first.hears_nothing()
    second = FakeNode(port, 1)
    assert first.hears("start", generation=1, attempt=0)["port"] == second.hears("start", generation=1)["port"]


def test_the_job_is_finished_only_when_every_node_ended_with_0(start: Start, tmp_path: Path) -> None:
    coordinator, port = start(2)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    for node in nodes:
        node.hears("start")
    nodes[0].ends(0)
    nodes[0].hears_nothing()
    nodes[1].ends(0)
    for node in nodes:
        node.hears("finish", code=0)
        node.wire.close()
    assert coordinator.done.wait(5)
    assert record(tmp_path)["state"] == "finished"
    assert events(tmp_path) == ["attempt", "attempt-ended", "run-ended"]


@pytest.mark.parametrize("how", ["ended with an error", "lost"])
def test_one_failure_ends_all_and_they_start_again_together_at_another_port(start: Start, tmp_path: Path, how: str) -> None:
    _, port = start(2)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    ports = [node.hears("start")["port"] for node in nodes]
    if how == "lost":
        nodes[1].wire.close()
    else:
        nodes[1].ends(9)
    nodes[0].hears("abort", generation=1)
    nodes[0].wire.send("ready")
    nodes[0].hears_nothing()  # not without the other
    nodes[1] = FakeNode(port, 1) if how == "lost" else nodes[1]
    nodes[1].wire.send("ready")
    again = nodes[0].hears("start", generation=2, attempt=1)
    assert again["port"] not in ports
    assert record(tmp_path)["restarts"] == 1


def test_a_late_word_about_an_earlier_generation_changes_nothing(start: Start) -> None:
    _, port = start(2)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    nodes[1].hears("start")
    nodes[1].ends(1)
    for node in nodes:
        node.wire.send("ready")
    nodes[0].hears("start", generation=1)
    nodes[0].hears("abort")
    nodes[0].hears("start", generation=2)
    nodes[1].ends(1, generation=1)
    nodes[0].hears_nothing()


def test_the_budget_of_restarts_ends_the_job_for_good_on_every_node(start: Start, tmp_path: Path) -> None:
    _, port = start(2, max_restarts=1)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    for generation in (1, 2):
        for node in nodes:
            node.hears("start", generation=generation)
        nodes[0].ends(1, generation)
        for node in nodes:
            node.hears("abort")
            node.wire.send("ready")
    for node in nodes:
        assert "max_restarts (1) is used up" in node.hears("finish", code=1)["why"]
    assert record(tmp_path)["state"] == "failed"


def test_attempts_that_fail_at_once_come_slower_and_slower(start: Start, tmp_path: Path) -> None:
    _, port = start(1)
    node = FakeNode(port, 0)
    for generation in (1, 2, 3):
        node.hears("start", generation=generation)
        node.ends(2, generation)
        node.hears("abort")
        node.wire.send("ready")
    node.hears("start", generation=4)
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["delay_s"] for line in lines if line["type"] == "restart-scheduled"] == [0.0, 1.0, 2.0]
    began = [line["time"] for line in lines if line["type"] == "attempt"]
    assert began[3] - began[2] >= 2.0


def test_a_node_that_leaves_lets_the_others_save_and_is_no_failure(start: Start, tmp_path: Path) -> None:
    _, port = start(2)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    for node in nodes:
        node.hears("start")
    nodes[1].wire.send("leaving")
    nodes[1].ends(143)
    nodes[1].wire.close()
    nodes[0].hears_nothing()  # still saving
    nodes[0].ends(1)  # torchrun's word for ranks that exited with 143
    nodes[0].hears("abort")
    nodes[0].wire.send("ready")
    FakeNode(port, 1).hears("start", generation=2)
    assert record(tmp_path)["restarts"] == 0


def test_others_that_hang_after_a_node_left_are_ended(start: Start) -> None:
    _, port = start(2)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    for node in nodes:
        node.hears("start")
    nodes[1].wire.send("leaving")
    nodes[1].ends(143)
    nodes[1].wire.close()
    nodes[0].hears("abort")  # leave_timeout_s


def test_a_node_that_is_gone_before_its_ranks_ended_is_not_waited_for_as_one_that_saves(start: Start, tmp_path: Path) -> None:
    _, port = start(2, leave_timeout_s=60.0)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    for node in nodes:
        node.hears("start")
    nodes[1].wire.send("leaving")
    nodes[1].wire.close()  # killed: a part of the agreed save is missing
    with pytest.raises(queue.Empty):
        nodes[0].inbox.get(timeout=TORN_S - 1)
    nodes[0].hears("abort")


def test_a_node_that_comes_again_before_the_others_have_saved_is_not_waited_for_as_one_of_them(
    start: Start, tmp_path: Path
) -> None:
    _, port = start(2, leave_timeout_s=60.0)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    for node in nodes:
        node.hears("start")
    nodes[1].wire.send("leaving")
    nodes[1].wire.close()
    again = FakeNode(port, 1)
    nodes[0].hears_nothing()
    nodes[0].ends(1)  # its ranks had all they needed, saved and exited with 143
    nodes[0].hears("abort")
    nodes[0].wire.send("ready")
    again.hears("abort")
    again.hears("start", generation=2)
    assert record(tmp_path)["restarts"] == 0


def test_a_node_that_never_comes_is_named(start: Start) -> None:
    _, port = start(3, node_timeout_s=0.5)
    assert FakeNode(port, 0).hears("finish", code=1)["why"] == "nodes 1, 2 did not come within 0 s"


def test_a_node_of_another_run_and_a_stranger_are_turned_away(start: Start) -> None:
    _, port = start(1)
    assert FakeNode(port, 0, run_id="another").hears("lost")
    with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert all(json.loads(line)["type"] == "beat" for line in stranger.makefile().readlines())
    assert FakeNode(port, 0).hears("start")


def test_a_node_that_comes_again_while_its_old_connection_seems_alive_counts_as_lost(start: Start) -> None:
    _, port = start(2)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    for node in nodes:
        node.hears("start")
    again = FakeNode(port, 1)
    nodes[0].hears("abort")
    again.hears("abort")


def test_a_coordinator_on_another_machine_goes_on_counting(tmp_path: Path) -> None:
    first = Record.begin(tmp_path, RUN_ID, 3, nodes=2)
    first.next_attempt()
    assert first.attempt == 0
    second = Record.begin(tmp_path, RUN_ID, 3, nodes=2)
    second.next_attempt()
    assert (second.attempt, second.restarts) == (1, 1)  # the first died in mid-run: a restart
    second.save(state="stopping")
    third = Record.begin(tmp_path, RUN_ID, 3, nodes=2)
    assert third.restarts == 1  # stopped on purpose: none
    assert Record.begin(tmp_path, "another run", 3, nodes=2).restarts == 0


def test_a_job_that_was_given_up_stays_so_in_the_same_pod_and_begins_anew_in_another(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_POD_UID", "pod-1")
    _, port = start(1, max_restarts=0)
    node = FakeNode(port, 0)
    node.hears("start")
    node.ends(1)
    node.hears("abort")
    assert node.hears("finish", code=1)
    _, port = start(1, max_restarts=0)  # the kubelet has restarted the container
    assert "max_restarts (0) is used up" in FakeNode(port, 0).hears("finish", code=1)["why"]
    monkeypatch.setenv("TRAINYARD_POD_UID", "pod-2")
    _, port = start(1, max_restarts=0)
    assert FakeNode(port, 0).hears("start", attempt=1)


def test_deaths_of_node_0_are_counted_and_end_the_job_in_the_end(start: Start, tmp_path: Path) -> None:
    for restarts in (0, 1):
        record_ = Record.begin(tmp_path, RUN_ID, 1, nodes=1)
        assert (record_.restarts, record_.given_up) == (restarts, None)
        record_.next_attempt()
    assert "max_restarts (1) is used up" in (Record.begin(tmp_path, RUN_ID, 1, nodes=1).given_up or "")


@pytest.mark.parametrize("state", ["starting", "backing-off", "stopping"])
def test_a_coordinator_that_ended_while_nothing_ran_counts_nothing(tmp_path: Path, state: str) -> None:
    first = Record.begin(tmp_path, RUN_ID, 3, nodes=2)
    first.next_attempt()
    first.save(state=state, restarts=2)
    assert Record.begin(tmp_path, RUN_ID, 3, nodes=2).restarts == 2


def test_another_start_by_the_user_has_a_fresh_budget_and_the_same_one_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAINYARD_SUBMISSION", "1")
    first = Record.begin(tmp_path, RUN_ID, 3, nodes=2)
    first.next_attempt()
    first.save(state="stopping", restarts=3)
    assert Record.begin(tmp_path, RUN_ID, 3, nodes=2).restarts == 3  # a pod was drained
    monkeypatch.setenv("TRAINYARD_SUBMISSION", "2")
    assert Record.begin(tmp_path, RUN_ID, 3, nodes=2).restarts == 0  # stop and resume


def test_whoever_comes_when_the_job_is_over_is_told_so(start: Start) -> None:
    coordinator, port = start(2)
    nodes = [FakeNode(port, 0), FakeNode(port, 1)]
    for node in nodes:
        node.hears("start")
        node.ends(0)
    nodes[1].wire.close()
    nodes[0].hears("finish", code=0)
    again = FakeNode(port, 1)
    again.hears("finish", code=0)
    for node in (nodes[0], again):
        node.wire.close()
    assert coordinator.done.wait(10)
    assert coordinator.end == (0, "finished")


def test_silence_counts_as_lost() -> None:
    """A peer that lost its network closes nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        began = time.monotonic()
        connect("127.0.0.1", server.getsockname()[1], lambda _, message: heard.put(message), silence_s=1.5)
        silent, _ = server.accept()
        assert heard.get(timeout=10) == {"type": "lost"}
        assert time.monotonic() - began > 1
        silent.close()
