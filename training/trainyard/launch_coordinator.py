"""Who says when the ranks of all nodes start, end and start again. Lives in the launcher of node 0, in a thread of its own.

Gathering: wait until every node is connected and has no ranks left. Running: every node has been told `start` with a number
(the generation) and a port for a rendezvous that nobody has used before. A node that ends with anything but 0, or is lost, ends the
generation for all (`abort`), and the gathering begins again. `finish` ends every launcher with the code that it carries.

`ready` carries the generation whose ranks are gone, with all before it: a node that ends its ranks by itself says it, and says it
again when it hears `abort`; the second one may arrive after the next `start`, and must not count for that.
The messages: launch_wire.py. The decision behind it: shared-docs/decisions/0011-several-nodes.md.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from trainyard.death_patience import Death, cannot_pass
from trainyard.launch_cause import Progress
from trainyard.launch_hang import Hangs
from trainyard.launch_hub import Hub, Peer
from trainyard.launch_record import Record, say
from trainyard.launch_wire import Message

TICK_S = 0.2
TELL_S = 60.0
"""Between two lines about the nodes that are waited for."""
FENCE_S = 3.0
"""Between two looks at whether a later attempt has begun."""
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


@dataclass
class Member:
    """One connected node."""

    peer: Peer
    ready: bool = False


@dataclass
class Coordinator:
    hub: Hub
    record: Record
    max_restarts: int
    node_timeout_s: float
    leave_timeout_s: float
    """A generation that a node leaves is ended by its ranks, which save; at the latest after this long it is aborted."""
    hang: str = "restart"
    """What is done about one: restart or report."""
    hang_after_s: float | None = None
    """Seconds without a step that are one; None: found out (hang_rule.py)."""
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
        self.nodes = self.hub.nodes
        self.done = threading.Event()
        """Set when every node has been told the end."""
        self._gathering_since = self._told = self._started = time.monotonic()
        self._backoff_s = self._not_before = self._look_again = 0.0
        self._progress = Progress(self.record.folder)
        self._death: Death | None = None
        """Of the attempt before, where its ranks ended by themselves."""
        self._hangs = Hangs(self.record, self.hang, self.hang_after_s)

    def serve(self) -> None:
        """Run until the job is over, in a thread."""
        self.hub.start()
        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self) -> None:
        while self.end is None:
            self._next()
            self.tick()
        # The others hang up when they have read the end; a process that exits before may take the message with it. One that
        # comes only now, or again, is told too.
        deadline = time.monotonic() + GOODBYE_S
        while len(self.told) < self.nodes and time.monotonic() < deadline:
            self._next()
        self.hub.close()
        self.done.set()

    def _next(self) -> None:
        with contextlib.suppress(queue.Empty):
            self.take(*self.hub.inbox.get(timeout=TICK_S))

    # --- what happens ---

    def take(self, peer: Peer, message: Message) -> None:
        kind = message["type"]
        if kind == "hello":
            return self._hello(peer)
        node = next((node for node, member in self.members.items() if member.peer is peer), None)
        if node is None:
            return  # a connection that was replaced
        if kind == "ready":
            self._ready(node, message["generation"])
        elif kind == "leaving":
            self._leaving(node)
        elif kind == "ended" and message["generation"] == self.generation and self.running:
            self._ended(node, message)
        elif kind == "look" and message["generation"] == self.generation and self.running:
            self._hangs.take(node, message)
        elif kind == "lost":
            del self.members[node]
            if self.end is None:
                self._lost(node)
            else:
                self.told.add(node)

    def tick(self) -> None:
        now = time.monotonic()
        if self.end is not None:  # given up by a message of this very moment, with which `ready` came
            return
        if self.record.given_up:
            return self._give_up(self.record.given_up)
        if why := self._overtaken(now):
            return self._give_up(why)
        if self.running:
            if self.leave_by is not None and now > self.leave_by:
                self._abort("not every rank ended after a node had left")
            elif self.leave_by is None and (why := self._hangs.judge(self.training, self.finished)):
                self._abort(why, hang=True)
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

    def _overtaken(self, now: float) -> str | None:
        """Looked at now and then, and after each generation: ranks of an attempt that was overtaken train for nothing."""
        if now < self._look_again:
            return None
        self._look_again = now + FENCE_S
        return self.record.overtaken()

    def _hello(self, peer: Peer) -> None:
        node = peer.node
        assert node is not None
        old = self.members.get(node)
        self.members[node] = Member(peer)
        peer.welcome(self.generation)
        if self.end is not None:
            return peer.send("finish", code=self.end[0], why=self.end[1])
        if old:  # the new one is the truth: the old connection may be half open for minutes
            old.peer.close()
            self._lost(node)

    def _ready(self, node: int, generation: int) -> None:
        if generation == self.generation:
            self.members[node].ready = True

    def _leaving(self, node: int) -> None:
        self.members[node].ready = False
        if self.running and self.leave_by is None:
            self.leave_by = time.monotonic() + self.leave_timeout_s
            self.record.save(state="stopping", stop_requested=f"SIGTERM to node {node}")
            self.record.event("stop-requested", by=f"SIGTERM to node {node}")

    def _ended(self, node: int, message: Message) -> None:
        """Its ranks, by themselves. The first node that says so says why; the others' ranks fail because of it."""
        code, why = message["code"], message["why"]
        self.training.discard(node)
        if code == 0 and self.leave_by is None:
            self.finished.add(node)
            if len(self.finished) == self.nodes:
                self._attempt_ended(0, "every rank finished")
                self.record.end("finished", "every rank finished", 0)
                self._finish(0, "finished")
        elif self.leave_by is None:
            before, death = self._death, self._progress.death(why, message["same"], time.monotonic() - self._started)
            hopeless = "a restart cannot help" if message["final"] else cannot_pass(before, death)
            self._abort(f"node {node} ended with {code}" + (f": {why}" if why else ""), code, hopeless=hopeless)
            self._death = death
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
        self._progress = Progress(self.record.folder)
        self._hangs.begin()
        self.running, self.leave_by = True, None
        self.training, self.finished = set(self.members), set()
        for member in self.members.values():
            member.ready = False
        self.record.next_attempt()
        say(f"attempt {self.record.attempt} of {self.nodes} node{'s' if self.nodes > 1 else ''} starts")
        self._tell("start", generation=self.generation, port=free_port(), attempt=self.record.attempt)

    def _abort(self, why: str, code: int | None = None, *, hopeless: str | None = None, hang: bool = False) -> None:
        """End this generation everywhere; the next one is another attempt, unless the budget is used up."""
        self.running, self._gathering_since, self._told = False, time.monotonic(), time.monotonic()
        self._death, self._look_again = None, 0.0
        self._tell("abort", generation=self.generation, hang=hang)
        self._attempt_ended(code, why)
        if self.leave_by is not None:  # asked for: no failure, nothing is counted
            self.record.save(state="stopping", reason=why)
            return say(f"{why}; waiting for all nodes")
        if hopeless:
            return self._give_up(f"{why}; {hopeless}", code)
        if self.record.restarts >= self.max_restarts:
            return self._give_up(f"{why}; max_restarts ({self.max_restarts}) is used up", code)
        restarts, delay_s = self.record.restarts + 1, self._delay_s()
        self._not_before = time.monotonic() + delay_s
        self.record.save(state="backing-off", reason=why, last_failure=why, restarts=restarts)
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
        self.record.end("failed", why, code or 1)
        self._finish(1, why)

    def _finish(self, code: int, why: str) -> None:
        self.end = (code, why)
        self._tell("finish", code=code, why=why)

    def _tell(self, type: str, **fields: Any) -> None:
        for member in list(self.members.values()):
            member.peer.send(type, **fields)


def _named(nodes: list[int]) -> str:
    shown = ", ".join(map(str, nodes[:8])) + (", ..." if len(nodes) > 8 else "")
    return f"node{'s' if len(nodes) > 1 else ''} {shown}"
