"""One node of a job: its ranks, its connection to the coordinator, and the signals that it gets."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from types import FrameType

from trainyard.launch_cause import Ending
from trainyard.launch_coordinator import TELL_S, Coordinator
from trainyard.launch_hang import Looks
from trainyard.launch_key import Credentials, read_key
from trainyard.launch_ranks import CODE_NOT_FOUND, CannotStartError, Ranks
from trainyard.launch_record import say
from trainyard.launch_settings import Settings
from trainyard.launch_wire import Message, Wire, connect
from trainyard.whose import reason

STOPPED = 143
ABORT_GRACE_S = 3.0
"""Ranks of a generation that is lost wait for peers that are gone: there is nothing to save."""
RECONNECT_S = 1.0


class Node:
    """This node's side: connected to the coordinator, it does as told; on SIGTERM it lets its ranks save and leaves."""

    def __init__(self, settings: Settings, command: list[str], *, is_program: bool = False) -> None:
        self.settings = settings
        self.ranks = Ranks(command, settings.nodes, settings.node, settings.procs, settings.grace_s, is_program)
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.wire: Wire | None = None
        self.coordinator: Coordinator | None = None
        """Of node 0."""
        self.looks = Looks(settings.hang_after_s, settings.run_dir)
        self.generation = 0
        self.heard_since = self.next_try = time.monotonic()
        """When node 0 was last known to be there; when to look for it again."""
        self.is_welcome = False
        self.told = -TELL_S
        self.missing = "does not answer"
        """What keeps this node from node 0."""
        self.signals = 0
        self.stop_deadline: float | None = None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1

    def pass_on(self, number: int, frame: FrameType | None) -> None:
        """To a plain program: as process 1 of its pod it would have had the signal itself."""
        if (pid := self.ranks.pid) is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def lead(self, coordinator: Coordinator) -> None:
        """Node 0's own connection to the coordinator lies within this process."""
        self.coordinator = coordinator
        self.wire = Wire(coordinator.hub.local(), self._deliver, None)
        coordinator.serve()

    def run(self) -> int:
        """The exit code of this launcher."""
        code = None
        while code is None:
            if self.wire is None and self.stop_deadline is None and time.monotonic() >= self.next_try:
                if time.monotonic() - self.heard_since > self.settings.node_timeout_s:
                    say(f"node 0 ({self.settings.master}) {self.missing} since {self.settings.node_timeout_s:.0f} s; giving up")
                    return 1
                self._connect()
            try:
                message = self.inbox.get(timeout=0.1)
            except queue.Empty:
                message = {}
            code = self._take(message)
            code = self._look() if code is None else code
            if code is None and self.coordinator is not None and self.coordinator.done.is_set():
                assert self.coordinator.end is not None
                self.ranks.end(ABORT_GRACE_S)
                code = self.coordinator.end[0]  # told to all, and lost on the way to us
        if self.wire is not None:
            self.wire.close()
        return code

    def _deliver(self, wire: Wire, message: Message) -> None:
        self.inbox.put(message)

    def _connect(self) -> None:
        self.next_try = time.monotonic() + RECONNECT_S
        settings, key = self.settings, None
        if settings.run_dir is not None:
            try:
                key, why = read_key(settings.run_dir), "is not there yet"
            except OSError as error:
                why = f"cannot be read ({reason(error)})"
            if key is None:
                return self._wait_for(f"has no key in {settings.run_dir}, the same volume for every node: it {why}")
        credentials = Credentials(settings.run_id, settings.node, key)
        self.wire = connect(settings.master, settings.port, self._deliver, credentials)
        if self.wire is None:
            self._wait_for("does not answer")

    def _wait_for(self, missing: str) -> None:
        self.missing = missing
        if time.monotonic() - self.told > TELL_S:
            self.told = time.monotonic()
            say(f"node 0 ({self.settings.master}) {missing}; trying again")

    def _take(self, message: Message) -> int | None:
        kind = message.get("type")
        if kind == "welcome":
            self.is_welcome = True
            self.generation = message["generation"]
            if not self.ranks.alive and self.stop_deadline is None:
                self._send("ready", generation=self.generation)
        elif kind == "start" and self.stop_deadline is None:
            self._start(message)
        elif kind == "abort":
            if message["hang"] and self.ranks.alive and self.stop_deadline is None:
                self.looks.say_stacks()
            self._abort()
            self.generation = message["generation"]
            if not self.ranks.alive:
                self._send("ready", generation=self.generation)
        elif kind == "finish":
            self._abort()
            return int(message["code"])
        elif kind == "lost":
            self._lost()
        return None

    def _lost(self) -> None:
        assert self.coordinator is None, "node 0's own connection does not break"
        self.wire, self.missing = None, "does not answer, or does not know this job's key"
        if self.is_welcome:
            self.heard_since, self.is_welcome = time.monotonic(), False
        if self.stop_deadline is None and self.ranks.alive:
            say("node 0 is lost; ending the ranks here")
            self._abort()

    def _start(self, message: Message) -> None:
        self.generation = message["generation"]
        assert self.wire is not None
        # The address that the coordinator answers from, not its name: names of pods that were replaced are cached for a while.
        master = "127.0.0.1" if self.settings.node == 0 else self.wire.peer
        try:
            self.ranks.start(master, message["port"], message["attempt"])
        except CannotStartError as error:
            self._ended(CODE_NOT_FOUND, Ending(str(error)), final=True)

    def _abort(self) -> None:
        if self.ranks.alive and self.stop_deadline is None:
            self.ranks.end(ABORT_GRACE_S)

    def _look(self) -> int | None:
        """Signals and the ranks."""
        if self.signals and self.stop_deadline is None:
            self.stop_deadline = time.monotonic() + self.settings.grace_s
            self._send("leaving")
            say(f"SIGTERM; the ranks have {self.settings.grace_s:.0f} s to save")
            self.ranks.terminate()
        if self.stop_deadline is not None:
            return self._leave()
        code = self.ranks.poll()
        if code is not None:
            self._ended(code, self.ranks.ending(code) if code else Ending(""))
        elif (seen := self.looks.look(self.ranks.pid)) is not None:
            self._send("look", generation=self.generation, **seen)
        return None

    def _ended(self, code: int, how: Ending, *, final: bool = False) -> None:
        """Of ranks that are gone. `final`: another attempt would end the same way."""
        self._send("ended", generation=self.generation, code=code, why=how.why, same=how.same, final=final)
        if code != 0:
            self._send("ready", generation=self.generation)

    def _leave(self) -> int | None:
        assert self.stop_deadline is not None
        if self.ranks.alive and self.ranks.poll() is None:
            if self.signals < 2 and time.monotonic() < self.stop_deadline:
                return None
            self.ranks.end(0)
        self._send("ended", generation=self.generation, code=STOPPED, why="", same="", final=False)
        time.sleep(0.2)  # the coordinator reads it before the connection breaks
        return STOPPED

    def _send(self, type: str, **fields: object) -> None:
        if self.wire is not None:
            self.wire.send(type, **fields)
