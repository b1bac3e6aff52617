"""What a stranger can do to a running job: nothing, but lose the connection that it came by."""

from __future__ import annotations

import contextlib
import json
import queue
import resource
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from trainyard.launch_coordinator import free_port
from trainyard.launch_hub import MAX_STRANGERS
from trainyard.launch_key import Credentials
from trainyard.launch_wire import MAX_LINE_BYTES, ProtocolError, connect, encode, parse

from tests.training.launch_runs import Launcher, environment, of_node, runner, wait_for
from tests.training.test_launch_coordinator import RUN_ID, FakeNode, Job

FOREIGN = Credentials(RUN_ID, 1, b"f" * 64)


def line(**fields: Any) -> bytes:
    return json.dumps(fields).encode() + b"\n"


def hello(**changes: Any) -> bytes:
    """Right in form, by somebody who knows the run id and not the key."""
    proof = FOREIGN.proof("node", "0" * 32, "1" * 32)
    return line(**({"type": "hello", "node": 1, "nonce": "1" * 32, "proof": proof} | changes))


HOSTILE = {
    "deep": b"[" * 60_000 + b"\n",
    "deep within a line": b"[" * (MAX_LINE_BYTES - 1) + b"\n",
    "a deep type": b'{"type": ' + b"[" * 1000 + b"]" * 1000 + b"}\n",
    "no end": b"x" * 1_000_000,
    "HTTP": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "TLS": bytes.fromhex("16030100f5010000f10303") + bytes(range(200)) + b"\n",
    "not UTF-8": b'{"type": "\xff\xfe"}\n',
    "another encoding": '{"type": "beat"}\n'.encode("utf-16"),
    "nothing": b"\n",
    "not an object": b"[1, 2]\n",
    "no type": line(node=1),
    "an infinite node": hello().replace(b'"node": 1', b'"node": 1e999'),
    "a node of 3000 digits": hello().replace(b'"node": 1', b'"node": ' + b"9" * 3000),
    "a node that is text": hello(node="1"),
    "a node that is a bool": hello(node=True),
    "a node that is a list": hello(node=[1]),
    "a node that is not there": hello(node=7),
    "node 0": hello(node=0),
    "a proof that is a number": hello(proof=0),
    "a proof with half a character": hello().replace(b'"proof": "', b'"proof": "\\ud800'),
    "another key": hello(),
    "one field too many": hello(more=1),
    "ready without a hello": line(type="ready", generation=1),
    "ended without a hello": line(type="ended", generation=1, code=1, why="", same="", final=True),
}


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    job = Job(tmp_path, 2, hello_s=1.0)
    yield job
    job.close()


@pytest.fixture
def nodes(job: Job) -> list[FakeNode]:
    nodes = [job.node(0), job.node(1)]
    for node in nodes:
        node.hears("start", generation=1)
    return nodes


def finish(job: Job, nodes: list[FakeNode], folder: Path) -> None:
    """Nothing has happened to the job."""
    for node in nodes:
        node.ends(0)
    for node in nodes:
        node.hears("finish", code=0)
        node.wire.close()
    assert job.coordinator.done.wait(10)
    assert runner(folder)["restarts"] == 0


def is_closed(sock: socket.socket) -> bool:
    sock.settimeout(10)
    with contextlib.suppress(ConnectionResetError):
        while sock.recv(65536):
            pass
    return True


def test_no_input_of_a_stranger_costs_more_than_its_own_connection(job: Job, nodes: list[FakeNode], tmp_path: Path) -> None:
    for name, packet in HOSTILE.items():
        with socket.create_connection(("127.0.0.1", job.port), timeout=10) as stranger:
            with contextlib.suppress(OSError):  # closed before all of it was sent
                stranger.sendall(packet)
            assert is_closed(stranger), name
    with socket.create_connection(("127.0.0.1", job.port), timeout=10) as rude:
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closes with a reset
    finish(job, nodes, tmp_path)


def test_what_was_heard_on_the_network_opens_nothing_again(job: Job, nodes: list[FakeNode], tmp_path: Path) -> None:
    credentials, nonce = Credentials(RUN_ID, 1, job.key), "1" * 32
    with socket.create_connection(("127.0.0.1", job.port), timeout=10) as first:
        challenge = json.loads(first.makefile().readline())["nonce"]
    heard = line(type="hello", node=1, nonce=nonce, proof=credentials.proof("node", challenge, nonce))
    with socket.create_connection(("127.0.0.1", job.port), timeout=10) as again:
        again.sendall(heard)
        assert is_closed(again)
    finish(job, nodes, tmp_path)


def test_who_says_nothing_or_little_is_closed_in_time(job: Job, nodes: list[FakeNode], tmp_path: Path) -> None:
    strangers = [socket.create_connection(("127.0.0.1", job.port), timeout=10) for _ in range(2)]
    for _ in range(3):
        with contextlib.suppress(OSError):
            strangers[1].sendall(b"{")
        time.sleep(0.2)
    for stranger in strangers:
        assert is_closed(stranger)
        stranger.close()
    finish(job, nodes, tmp_path)


def test_a_thousand_connections_at_once_keep_no_node_out_and_use_up_nothing(job: Job, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    threads, flood = threading.active_count(), []
    try:
        for _ in range(1000):
            flood.append(socket.socket())
            flood[-1].setblocking(False)
            flood[-1].connect_ex(("127.0.0.1", job.port))
        nodes = [job.node(0), job.node(1)]
        for node in nodes:
            node.hears("start", generation=1)
        assert threading.active_count() <= threads + len(nodes)
        finish(job, nodes, tmp_path)
    finally:
        for each in flood:
            each.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert MAX_STRANGERS < 1000


@pytest.mark.parametrize(
    "said", [line(type="ended", generation="1", code=1, why="", same="", final=False), HOSTILE["deep"], hello()]
)
def test_a_node_that_talks_nonsense_is_lost_and_the_coordinator_goes_on(job: Job, nodes: list[FakeNode], said: bytes) -> None:
    nodes[1].wire._socket.sendall(said)
    nodes[0].hears("abort", generation=1)
    nodes[1].hears("lost")
    nodes[1] = job.node(1)
    nodes[0].is_ready(1)
    nodes[0].hears("start", generation=2)


def test_a_second_connection_of_a_node_takes_the_place_of_the_first_only_with_a_proof(job: Job, nodes: list[FakeNode]) -> None:
    heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    connect("127.0.0.1", job.port, lambda _, message: heard.put(message), FOREIGN)
    assert heard.get(timeout=10)["type"] == "lost"
    nodes[0].hears_nothing()
    job.node(1)
    nodes[0].hears("abort", generation=1)


# --- a node that reaches somebody else: the address of node 0 may be another pod's by now ------------------------------


def challenge() -> bytes:
    return line(type="challenge", nonce="0" * 32)


IMPOSTORS: dict[str, bytes] = {
    "an end": line(type="finish", code=1, why="given up"),
    "an end after a challenge": challenge() + line(type="finish", code=0, why="finished"),
    "a welcome without a proof": challenge() + line(type="welcome", generation=0, proof="0" * 64),
    "two challenges": challenge() + challenge(),
    "deep": HOSTILE["deep"],
    "no end": HOSTILE["no end"],
}


@pytest.mark.parametrize("said", IMPOSTORS.values(), ids=IMPOSTORS)
def test_a_node_believes_nobody_who_does_not_know_the_key(said: bytes) -> None:
    heard: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect("127.0.0.1", server.getsockname()[1], lambda _, message: heard.put(message), FOREIGN)
        impostor, _ = server.accept()
        with impostor:
            with contextlib.suppress(OSError):  # closed before all of it was sent
                impostor.sendall(said)
            assert heard.get(timeout=10) == {"type": "lost"}
    assert heard.empty()


# --- words ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("why", ["\x00" * 10_000, "\U0001f600" * 10_000, "\ud800" * 10_000, '"' * 10_000])
def test_a_reason_of_any_text_fits_into_a_line(why: str) -> None:
    told = encode("ended", generation=1, code=1, why=why, same="", final=False)
    assert len(told) <= MAX_LINE_BYTES
    assert len(parse(told[:-1])["why"]) == 500


@pytest.mark.parametrize("said", [b'{"type": "ready", "generation": 2147483648}', b'{"type": "ready"}', b'{"type": "lost"}'])
def test_what_is_not_of_the_protocol_is_not_read(said: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(said)


# --- the real thing ------------------------------------------------------------------------------------------------


def test_packets_to_the_port_of_a_running_job_of_two_nodes_do_not_end_it(tmp_path: Path) -> None:
    (tmp_path / "rank.py").write_text(
        "import os, pathlib, time\n"
        "pathlib.Path('rank-' + os.environ['RANK']).touch()\n"
        "while not pathlib.Path('go').exists(): time.sleep(0.05)\n"
    )
    port = free_port()
    variables = [environment(tmp_path / "run", **of_node(node, 2, port)) for node in (0, 1)]
    launchers = [Launcher(tmp_path, ["rank.py"], each) for each in variables]
    try:
        wait_for("both ranks", lambda: (tmp_path / "rank-0").exists() and (tmp_path / "rank-1").exists())
        for packet in [HOSTILE["deep"]] * 4 + [HOSTILE["TLS"], hello()]:
            with socket.create_connection(("127.0.0.1", port), timeout=10) as stranger:
                with contextlib.suppress(OSError):
                    stranger.sendall(packet)
                assert is_closed(stranger)
        (tmp_path / "go").touch()
        assert [launcher.ends() for launcher in launchers] == [0, 0], launchers[0].text()
        assert runner(tmp_path / "run")["restarts"] == 0
        assert launchers[0].text().count("is closed") == 1, "a flood of strangers is no flood of lines"
    finally:
        for launcher in launchers:
            launcher.kill()
