"""The coordinator of a job of several nodes, spoken to over its real sockets by nodes without ranks."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from trainyard.launch_coordinator import TORN_S, Coordinator, free_port
from trainyard.launch_hub import Hub
from trainyard.launch_key import Credentials, make_key
from trainyard.launch_record import Record, say
from trainyard.launch_wire import HELLO_S, SILENCE_S, Wire, connect, encode

RUN_ID = "00c0ffee00c0ffee"


class Job:
    """A coordinator that listens."""

    def __init__(
        self,
        folder: Path,
        nodes: int,
        max_restarts: int = 3,
        node_timeout_s: float = 60.0,
        leave_timeout_s: float = 2.0,
        hello_s: float = HELLO_S,
    ) -> None:
        self.port, self.key = free_port(), make_key(folder)
        hub = Hub(nodes, RUN_ID, self.key, say, hello_s)
        record = Record.begin(folder, RUN_ID, max_restarts, nodes=nodes)
        self.coordinator = Coordinator(hub, record, max_restarts, node_timeout_s, leave_timeout_s)
        hub.listen(self.port)
        self._local = hub.local()
        self.coordinator.serve()

    def close(self) -> None:
        """Ends the coordinator's thread, as the end of the job would."""
        self.coordinator.told.update(range(self.coordinator.nodes))
        self.coordinator.end = self.coordinator.end or (143, "the test is over")
        assert self.coordinator.done.wait(10)
        self._local.close()

    def node(self, number: int, silence_s: float = SILENCE_S) -> FakeNode:
        """Node 0 lives in the coordinator's process, and so comes once."""
        heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()

        def deliver(_: Wire, message: dict[str, Any]) -> None:
            heard.put(message)

        if number == 0:
            return FakeNode(Wire(self._local, deliver, None), heard)
        wire = connect("127.0.0.1", self.port, deliver, Credentials(RUN_ID, number, self.key), silence_s)
        assert wire is not None
        return FakeNode(wire, heard)


class FakeNode:
    """Speaks the protocol and has no ranks."""

    def __init__(self, wire: Wire, inbox: queue.SimpleQueue[dict[str, Any]]) -> None:
        self.wire, self.inbox = wire, inbox
        first = inbox.get(timeout=10)
        if first["type"] == "welcome":
            self.is_ready(first["generation"])
        else:
            inbox.put(first)

    def is_ready(self, generation: int) -> None:
        self.wire.send("ready", generation=generation)

    def hears(self, type: str, **fields: Any) -> dict[str, Any]:
        message = self.inbox.get(timeout=10)
        assert message.items() >= {"type": type, **fields}.items()
        return message

    def hears_nothing(self, timeout_s: float = 0.6) -> None:
        with pytest.raises(queue.Empty):
            self.inbox.get(timeout=timeout_s)

    def ends(self, code: int, generation: int = 1, why: str = "", *, same: str = "", final: bool = False) -> None:
        self.wire.send("ended", generation=generation, code=code, why=why, same=same, final=final)


Start = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    jobs = []

    def start(nodes: int, *, max_restarts: int = 3, node_timeout_s: float = 60.0, leave_timeout_s: float = 2.0) -> Job:
        jobs.append(Job(tmp_path, nodes, max_restarts, node_timeout_s, leave_timeout_s))
        return jobs[-1]

    yield start
    for job in jobs:
        job.close()


def record(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "runner.json").read_text()))


def events(folder: Path) -> list[str]:
    return [json.loads(line)["type"] for line in (folder / "events.jsonl").read_text().splitlines()]


def test_nobody_starts_before_all_are_there_and_all_start_at_one_port(start: Start) -> None:
    job = start(2)
    first = job.node(0)
    first.hears_nothing()
    second = job.node(1)
    assert first.hears("start", generation=1, attempt=0)["port"] == second.hears("start", generation=1)["port"]


def test_the_job_is_finished_only_when_every_node_ended_with_0(start: Start, tmp_path: Path) -> None:
    job = start(2)
    nodes = [job.node(0), job.node(1)]
    for node in nodes:
        node.hears("start")
    nodes[0].ends(0)
    nodes[0].hears_nothing()
    nodes[1].ends(0)
    for node in nodes:
        node.hears("finish", code=0)
        node.wire.close()
    assert job.coordinator.done.wait(5)
    assert record(tmp_path)["state"] == "finished"
    assert events(tmp_path) == ["attempt", "attempt-ended", "run-ended"]


@pytest.mark.parametrize("how", ["ended with an error", "lost"])
def test_one_failure_ends_all_and_they_start_again_together_at_another_port(start: Start, tmp_path: Path, how: str) -> None:
    job = start(2)
    nodes = [job.node(0), job.node(1)]
    ports = [node.hears("start")["port"] for node in nodes]
    if how == "lost":
        nodes[1].wire.close()
    else:
        nodes[1].ends(9)
    nodes[0].hears("abort", generation=1)
    nodes[0].is_ready(1)
    nodes[0].hears_nothing()  # not without the other
    nodes[1] = job.node(1) if how == "lost" else nodes[1]
    nodes[1].is_ready(1)
    again = nodes[0].hears("start", generation=2, attempt=1)
    assert again["port"] not in ports
    assert record(tmp_path)["restarts"] == 1


def test_a_late_word_about_an_earlier_generation_changes_nothing(start: Start) -> None:
    job = start(2)
    nodes = [job.node(0), job.node(1)]
    nodes[1].hears("start")
    nodes[1].ends(1)
    for node in nodes:
        node.is_ready(1)
    nodes[0].hears("start", generation=1)
    nodes[0].hears("abort")
    nodes[0].hears("start", generation=2)
    nodes[1].ends(1, generation=1)
    nodes[0].hears_nothing()


def test_the_budget_of_restarts_ends_the_job_for_good_on_every_node(start: Start, tmp_path: Path) -> None:
    job = start(2, max_restarts=1)
    nodes = [job.node(0), job.node(1)]
    for generation in (1, 2):
        for node in nodes:
            node.hears("start", generation=generation)
        nodes[0].ends(1, generation)
        for node in nodes:
            node.hears("abort")
            node.is_ready(generation)
    for node in nodes:
        assert "max_restarts (1) is used up" in node.hears("finish", code=1)["why"]
    assert record(tmp_path)["state"] == "failed"


def test_attempts_that_fail_at_once_come_slower_and_slower(start: Start, tmp_path: Path) -> None:
    job = start(1)
    node = job.node(0)
    for generation in (1, 2, 3):
        node.hears("start", generation=generation)
        node.ends(2, generation)
        node.hears("abort")
        node.is_ready(generation)
    node.hears("start", generation=4)
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["delay_s"] for line in lines if line["type"] == "restart-scheduled"] == [0.0, 1.0, 2.0]
    began = [line["time"] for line in lines if line["type"] == "attempt"]
    assert began[3] - began[2] >= 2.0


def test_a_node_that_leaves_lets_the_others_save_and_is_no_failure(start: Start, tmp_path: Path) -> None:
    job = start(2)
    nodes = [job.node(0), job.node(1)]
    for node in nodes:
        node.hears("start")
    nodes[1].wire.send("leaving")
    nodes[1].ends(143)
    nodes[1].wire.close()
    nodes[0].hears_nothing()  # still saving
    nodes[0].ends(1)  # torchrun's word for ranks that exited with 143
    nodes[0].hears("abort")
    nodes[0].is_ready(1)
    job.node(1).hears("start", generation=2)
    assert record(tmp_path)["restarts"] == 0


def test_others_that_hang_after_a_node_left_are_ended(start: Start) -> None:
    job = start(2)
    nodes = [job.node(0), job.node(1)]
    for node in nodes:
        node.hears("start")
    nodes[1].wire.send("leaving")
    nodes[1].ends(143)
    nodes[1].wire.close()
    nodes[0].hears("abort")  # leave_timeout_s


def test_a_node_that_is_gone_before_its_ranks_ended_is_not_waited_for_as_one_that_saves(start: Start, tmp_path: Path) -> None:
    job = start(2, leave_timeout_s=60.0)
    nodes = [job.node(0), job.node(1)]
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
    job = start(2, leave_timeout_s=60.0)
    nodes = [job.node(0), job.node(1)]
    for node in nodes:
        node.hears("start")
    nodes[1].wire.send("leaving")
    nodes[1].wire.close()
    again = job.node(1)
    nodes[0].hears_nothing()
    nodes[0].ends(1)  # its ranks had all they needed, saved and exited with 143
    nodes[0].hears("abort")
    nodes[0].is_ready(1)
    again.hears("abort")
    again.hears("start", generation=2)
    assert record(tmp_path)["restarts"] == 0


def test_a_node_that_never_comes_is_named(start: Start) -> None:
    job = start(3, node_timeout_s=0.5)
    assert job.node(0).hears("finish", code=1)["why"] == "nodes 1, 2 did not come within 0 s"


def test_a_node_that_comes_again_while_its_old_connection_seems_alive_counts_as_lost(start: Start) -> None:
    job = start(2)
    nodes = [job.node(0), job.node(1)]
    for node in nodes:
        node.hears("start")
    again = job.node(1)
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
    node = start(1, max_restarts=0).node(0)
    node.hears("start")
    node.ends(1)
    node.hears("abort")
    assert node.hears("finish", code=1)
    again = start(1, max_restarts=0).node(0)  # the kubelet has restarted the container
    assert "max_restarts (0) is used up" in again.hears("finish", code=1)["why"]
    monkeypatch.setenv("TRAINYARD_POD_UID", "pod-2")
    assert start(1, max_restarts=0).node(0).hears("start", attempt=1)


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
    job = start(2)
    nodes = [job.node(0), job.node(1)]
    for node in nodes:
        node.hears("start")
        node.ends(0)
    nodes[1].wire.close()
    nodes[0].hears("finish", code=0)
    again = job.node(1)
    again.hears("finish", code=0)
    for node in (nodes[0], again):
        node.wire.close()
    assert job.coordinator.done.wait(10)
    assert job.coordinator.end == (0, "finished")


OWN_WIRE = """
import queue, socket, sys, threading, time
from trainyard.launch_wire import Wire

pairs = [socket.socketpair() for _ in range(16)]  # which of two threads looks first after a stop is chance
said = queue.SimpleQueue()
wires = [Wire(theirs, lambda _, message: said.put(message["type"]), None, silence_s=1.5) for _, theirs in pairs]

def beat():
    looked = time.monotonic()
    while True:
        if time.monotonic() - looked > 1:
            time.sleep(0.5)  # the coordinator's thread may be the last to wake up
        looked = time.monotonic()
        for ours, _ in pairs:
            ours.sendall(b'{"type": "beat"}\\n')
        time.sleep(0.1)

if sys.argv[1] == "beats":
    threading.Thread(target=beat, daemon=True).start()
print("up", flush=True)
try:
    print(said.get(timeout=float(sys.argv[2])), flush=True)
except queue.Empty:
    print("there", flush=True)
"""


@pytest.mark.parametrize(("mood", "wait_s", "said"), [("beats", 5.0, "there"), ("silent", 10.0, "lost")])
def test_a_process_that_was_stopped_does_not_lose_its_own_connection(mood: str, wait_s: float, said: str) -> None:
    """Both ends lie in it: while it is stopped neither says anything. One that is silent by itself is lost all the same."""
    words = [sys.executable, "-c", OWN_WIRE, mood, str(wait_s)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "up\n"
    if mood == "beats":
        time.sleep(0.5)
        process.send_signal(signal.SIGSTOP)
        time.sleep(3.5)
        process.send_signal(signal.SIGCONT)
    assert process.communicate(timeout=60)[0] == f"{said}\n"


def test_silence_counts_as_lost() -> None:
    """A peer that lost its network closes nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        began = time.monotonic()
        port, credentials = server.getsockname()[1], Credentials(RUN_ID, 1, None)
        connect("127.0.0.1", port, lambda _, message: heard.put(message), credentials, silence_s=1.5)
        silent, _ = server.accept()
        assert heard.get(timeout=10) == {"type": "lost"}
        assert time.monotonic() - began > 1
        silent.close()


def test_nodes_hear_from_node_0_while_its_volume_hangs(start: Start, tmp_path: Path) -> None:
    """A file server that is away for a minute must end no training: here a pipe that nobody reads takes the place of events.jsonl."""
    job = start(2)
    nodes = [job.node(0), job.node(1, silence_s=1.5)]
    for node in nodes:
        node.hears("start")
    (tmp_path / "events.jsonl").unlink()
    os.mkfifo(tmp_path / "events.jsonl")
    nodes[0].wire.send("leaving")  # written down, before anything else is done
    with pytest.raises(queue.Empty):
        nodes[1].inbox.get(timeout=3)
    with (tmp_path / "events.jsonl").open("rb"):
        (tmp_path / "events.jsonl").unlink()
        nodes[1].hears("abort")


def test_a_node_counts_as_ready_only_for_the_generation_that_it_has_cleaned_up(start: Start) -> None:
    """A node whose ranks fail says so at once, and again when it is told to end them: the second word comes late."""
    job = start(2)
    nodes = [job.node(0), job.node(1)]
    for node in nodes:
        node.hears("start", generation=1)
    nodes[1].ends(1)
    for node in nodes:
        node.hears("abort", generation=1)
        node.is_ready(1)
    for node in nodes:
        node.hears("start", generation=2)
    nodes[1].is_ready(1)  # its answer to the abort, with ranks of generation 2 by now
    nodes[0].ends(1, 2)
    for node in nodes:
        node.hears("abort", generation=2)
    nodes[0].is_ready(2)
    nodes[0].hears_nothing(timeout_s=2.0)  # the second restart waits for a second; then node 1 is still ending its ranks
    nodes[1].is_ready(2)
    nodes[0].hears("start", generation=3)


def test_a_failure_that_cannot_pass_is_not_tried_again(start: Start, tmp_path: Path) -> None:
    node = start(1).node(0)
    node.hears("start")
    node.ends(127, why="nosuch cannot be started: No such file or directory", final=True)
    node.hears("abort")
    assert "a restart cannot help" in node.hears("finish", code=1)["why"]
    assert record(tmp_path)["restarts"] == 0


def test_a_job_that_is_given_up_starts_nothing_though_every_node_is_ready_at_that_very_moment(
    start: Start, tmp_path: Path
) -> None:
    node = start(1, max_restarts=0).node(0)
    node.hears("start")
    last = encode("ended", generation=1, code=1, why="", same="", final=False)
    node.wire._socket.sendall(last + encode("ready", generation=1))  # one packet, as a quick node's words arrive
    node.hears("abort")
    node.hears("finish", code=1)
    node.hears_nothing()
    assert record(tmp_path)["state"] == "failed"


SAME = {
    "the same words": (("a1", "a1"), True),
    "other words": (("a1", "b2"), False),
    "no words": (("nothing", "nothing"), False),
    "a kill, or a peer that is gone": (("", ""), False),
}


@pytest.mark.parametrize(("same", "is_over"), SAME.values(), ids=SAME)
def test_the_same_end_twice_before_any_step_ends_the_job(start: Start, same: tuple[str, str], is_over: bool) -> None:
    """What stays the same is found out by the node: test_launch_cause.py."""
    node = start(1).node(0)
    for generation, each in enumerate(same, start=1):
        node.hears("start", generation=generation)
        node.ends(1, generation, "rank 0 exited with 1: it says so", same=each)
        node.hears("abort")
        node.is_ready(generation)
    if is_over:
        told = node.hears("finish", code=1)["why"]
        assert "node 0 ended with 1: rank 0 exited with 1: it says so; twice in the same way before the first step" in told
    else:
        node.hears("start", generation=3)


@pytest.mark.parametrize("losses", [("nan", "nan"), (2.5, 2.5)])
def test_a_loss_that_is_nan_at_the_same_step_twice_ends_the_job_and_a_good_step_never_does(
    start: Start, tmp_path: Path, losses: tuple[object, object]
) -> None:
    node = start(1).node(0)
    for generation, loss in enumerate(losses, start=1):
        node.hears("start", generation=generation)
        with (tmp_path / "steps.jsonl").open("a") as steps:
            steps.write(json.dumps({"step": 12, "time": time.time(), "loss": loss}) + "\n")
        node.ends(1, generation, same="nothing")
        node.hears("abort")
        node.is_ready(generation)
    if losses[0] == "nan":
        assert "with NaN or Inf at step 12 both times" in node.hears("finish", code=1)["why"]
    else:
        node.hears("start", generation=3)
