"""Who says when the ranks of all nodes start, end and start again. Lives in the launcher of node 0, in a thread of its own.

Gathering: wait until every node is connected and has no ranks left. Running: every node has been told `start` with a number
(the generation) and a port for a rendezvous that nobody has used before. A node that ends with anything but 0, or is lost, ends the
generation for all (`abort`), and the gathering begins again. `finish` ends every launcher with the code that it carries.

Node -> coordinator: hello (run_id, node), ready, leaving (SIGTERM came), ended (generation, code). Coordinator -> node: start,
abort, finish. The decision behind it: shared-docs/decisions/0011-several-nodes.md.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from trainyard.launch_record import Record
from trainyard.launch_wire import Message, Wire

TICK_S = 0.2
TELL_S = 60.0
"""Between two lines about the nodes that are waited for."""
GOODBYE_S = 5.0
TORN_S = 10.0
"""For the other ranks once a node that leaves is gone before its ranks ended: the save that they agreed on lacks its part, and
rank 0 would wait for that. A deletion by force does it, two seconds after its SIGTERM."""
GOOD_ATTEMPT_S = 60.0
"""An attempt that lived this long made progress: the next failure is answered at once again."""
LONGEST_BACKOFF_S = 60.0


def free_port() -> int:
    with socket.create_server(("", 0)) as server:
        return int(server.getsockname()[1])


def listen(port: int, backlog: int) -> socket.socket:
    """On all addresses of this host, IPv6 too where there is any: clusters of either kind exist."""
    if socket.has_dualstack_ipv6():
        return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    return socket.create_server(("", port), backlog=backlog)


def say(text: str) -> None:
    print(f"trainyard: {text}", flush=True)


@dataclass
class Member:
    """One connected node."""

    wire: Wire
    ready: bool = False


@dataclass
class Coordinator:
    nodes: int
    run_id: str
    record: Record
    max_restarts: int
    node_timeout_s: float
    leave_timeout_s: float
    """A generation that a node leaves is ended by its ranks, which save; at the latest after this long it is aborted."""
    members: dict[int, Member] = field(default_factory=dict)
    generation: int = 0
    running: bool = False
    leave_by: float | None = None
    """Since a node said that it leaves: when the ranks of this generation must have ended (time.monotonic())."""
    training: set[int] = field(default_factory=set)
    """Nodes whose ranks of this generation have not ended; one that is lost and comes again has none in it."""
    finished: set[int] = field(default_factory=set)
    """Nodes whose ranks of this generation ended with 0, connected or not."""
    end: tuple[int, str] | None = None
    """Exit code and reason, once the job is over."""
    told: set[int] = field(default_factory=set)
    """Nodes that have read the end and hung up."""

    def __post_init__(self) -> None:
        self.inbox: queue.SimpleQueue[tuple[Wire, Message]] = queue.SimpleQueue()
        self.done = threading.Event()
        """Set when every node has been told the end."""
        self._gathering_since = self._told = self._started = time.monotonic()
        self._backoff_s = self._not_before = 0.0

    def serve(self, port: int) -> None:
        """Listen and run until the job is over. Raises OSError where the port is taken."""
        server = listen(port, backlog=self.nodes + 8)
        threading.Thread(target=self._accept, args=(server,), daemon=True).start()
        threading.Thread(target=self._loop, daemon=True).start()

    def _accept(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # the peer gave up, or too many files are open for the moment
                time.sleep(TICK_S)
                continue
            try:
                Wire(connection, lambda wire, message: self.inbox.put((wire, message)))
            except OSError:
                connection.close()  # gone before it said anything

    def _loop(self) -> None:
        while self.end is None:
            self._next()
            self.tick()
        # The others hang up when they have read the end; a process that exits before may take the message with it. One that
        # comes only now, or again, is told too.
        deadline = time.monotonic() + GOODBYE_S
        while len(self.told) < self.nodes and time.monotonic() < deadline:
            self._next()
        self.done.set()

    def _next(self) -> None:
        with contextlib.suppress(queue.Empty):
            self.take(*self.inbox.get(timeout=TICK_S))

    # --- what happens ---

    def take(self, wire: Wire, message: Message) -> None:
        kind, node = message.get("type"), self._node_of(wire)
        if kind == "hello":
            self._hello(wire, message)
        elif node is None:
            if kind != "lost":
                wire.close()
        elif kind == "ready":
            self.members[node].ready = True
        elif kind == "leaving":
            self._leaving(node)
        elif kind == "ended" and message.get("generation") == self.generation and self.running:
            self._ended(node, int(message["code"]))
        elif kind == "lost":
            del self.members[node]
            if self.end is None:
                self._lost(node)
            else:
                self.told.add(node)

    def tick(self) -> None:
        now = time.monotonic()
        if self.record.given_up:
            return self._give_up(self.record.given_up)
        if self.running:
            if self.leave_by is not None and now > self.leave_by:
                self._abort("not every rank ended after a node had left")
            return
        missing = [node for node in range(self.nodes) if node not in self.members or not self.members[node].ready]
        if not missing and now >= self._not_before:
            self._start()
        elif not missing:
            return
        elif now - self._gathering_since > self.node_timeout_s:
            self._give_up(f"{_named(missing)} did not come within {self.node_timeout_s:.0f} s")
        elif now - self._told > TELL_S:
            self._told = now
            say(f"waiting for {_named(missing)} ({now - self._gathering_since:.0f} s)")

    def _hello(self, wire: Wire, message: Message) -> None:
        node = message.get("node")
        if message.get("run_id") != self.run_id or not isinstance(node, int) or not 0 <= node < self.nodes:
            say(f"a connection from {wire.peer} is not of this run; closed")
            return wire.close()
        old = self.members.get(node)
        self.members[node] = Member(wire)
        if self.end is not None:
            return wire.send("finish", code=self.end[0], why=self.end[1])
        if old:  # the new one is the truth: the old connection may be half open for minutes
            old.wire.close()
            self._lost(node)

    def _leaving(self, node: int) -> None:
        self.members[node].ready = False
        if self.running and self.leave_by is None:
            self.leave_by = time.monotonic() + self.leave_timeout_s
            self.record.save(state="stopping", stop_requested=f"SIGTERM to node {node}")
            self.record.event("stop-requested", by=f"SIGTERM to node {node}")

    def _ended(self, node: int, code: int) -> None:
        self.training.discard(node)
        if code == 0 and self.leave_by is None:
            self.finished.add(node)
            if len(self.finished) == self.nodes:
                self._attempt_ended(0, "every rank finished")
                self.record.save(state="finished", reason="every rank finished", exit_code=0, ended=time.time())
                self.record.event("run-ended", state="finished", exit_code=0, reason="every rank finished")
                self._finish(0, "finished")
        elif self.leave_by is None:
            self._abort(f"node {node} ended with {code}", code)
        elif not self.training:
            self._abort("stopped: the ranks of every node have ended", 143)

    def _lost(self, node: int) -> None:
        if not self.running or node in self.finished:
            return
        torn = node in self.training
        self.training.discard(node)
        if self.leave_by is None or not self.training:
            self._abort(f"node {node} is lost")
        elif torn:  # the others are still saving, perhaps in vain
            self.leave_by = min(self.leave_by, time.monotonic() + TORN_S)

    # --- what is decided ---

    def _start(self) -> None:
        self.generation += 1
        self._started = time.monotonic()
        self.running, self.leave_by = True, None
        self.training, self.finished = set(self.members), set()
        for member in self.members.values():
            member.ready = False
        self.record.next_attempt()
        say(f"attempt {self.record.attempt} of {self.nodes} node{'s' if self.nodes > 1 else ''} starts")
        self._tell("start", generation=self.generation, port=free_port(), attempt=self.record.attempt)

    def _abort(self, why: str, code: int | None = None) -> None:
        """End this generation everywhere; the next one is another attempt, unless the budget is used up."""
        self.running, self._gathering_since, self._told = False, time.monotonic(), time.monotonic()
        self._tell("abort", generation=self.generation)
        self._attempt_ended(code, why)
        if self.leave_by is not None:  # asked for: no failure, nothing is counted
            self.record.save(state="stopping", reason=why)
            return say(f"{why}; waiting for all nodes")
        if self.record.restarts >= self.max_restarts:
            return self._give_up(f"{why}; max_restarts ({self.max_restarts}) is used up", code)
        restarts, delay_s = self.record.restarts + 1, self._delay_s()
        self._not_before = time.monotonic() + delay_s
        self.record.save(state="backing-off", reason=why, restarts=restarts)
        self.record.event("restart-scheduled", attempt=self.record.attempt + 1, delay_s=delay_s, restarts=restarts)
        say(f"{why}; restart {restarts} of at most {self.max_restarts}" + (f" in {delay_s:.0f} s" if delay_s else ""))

    def _delay_s(self) -> float:
        """At once after an attempt that got somewhere; longer and longer where each one fails soon, as a wrong option makes it."""
        if time.monotonic() - self._started >= GOOD_ATTEMPT_S:
            self._backoff_s = 0.0
        delay_s = self._backoff_s
        self._backoff_s = min(2 * delay_s or 1.0, LONGEST_BACKOFF_S)
        return delay_s

    def _attempt_ended(self, code: int | None, why: str) -> None:
        self.record.event("attempt-ended", attempt=self.record.attempt, exit_code=code, reason=why)

    def _give_up(self, why: str, code: int | None = None) -> None:
        say(f"giving up: {why}")
        self.record.save(state="failed", reason=why, exit_code=code or 1, ended=time.time())
        self.record.event("run-ended", state="failed", exit_code=code or 1, reason=why)
        self._finish(1, why)

    def _finish(self, code: int, why: str) -> None:
        self.end = (code, why)
        self._tell("finish", code=code, why=why)

    def _tell(self, type: str, **fields: Any) -> None:
        for member in list(self.members.values()):
            member.wire.send(type, **fields)

    def _node_of(self, wire: Wire) -> int | None:
        return next((node for node, member in self.members.items() if member.wire is wire), None)


def _named(nodes: list[int]) -> str:
    shown = ", ".join(map(str, nodes[:8])) + (", ..." if len(nodes) > 8 else "")
    return f"node{'s' if len(nodes) > 1 else ''} {shown}"
