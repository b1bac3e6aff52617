"""The launcher of one node of a job: torchrun on every node, started together, ended together, started again together.

    python -m trainyard.launch train.py --steps 1000            what `torchrun train.py --steps 1000` in a job file becomes

Every pod of a job runs this. Topology comes from the environment, as Kubeflow's operators set it: PET_NNODES, PET_NODE_RANK,
PET_NPROC_PER_NODE, MASTER_ADDR and MASTER_PORT (or PET_MASTER_ADDR, PET_MASTER_PORT). Without them it is one node with one process.

    TRAINYARD_RUN_ID          whose job this is; nodes of another run are turned away
    TRAINYARD_RUN_DIR         runner.json and events.jsonl go there (node 0)
    TRAINYARD_MAX_RESTARTS    restarts before the job is given up; default 3
    TRAINYARD_STOP_GRACE_S    seconds that the ranks have to save after SIGTERM; default 60
    TRAINYARD_NODE_TIMEOUT_S  seconds that the others wait for a node that is missing; default 3600
    TRAINYARD_SUBMISSION      which start by the user this is: each has its own budget, and what was given up stays so
    TRAINYARD_POD_UID         the same without it, where the kubelet restarts containers in place

Exit code: 0 every rank of every node finished, and nothing else; 143 stopped by SIGTERM; 1 given up, for good; 2 wrong words.
How it recovers: shared-docs/decisions/0011-several-nodes.md.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from trainyard.launch_coordinator import GOODBYE_S, Coordinator, free_port, say
from trainyard.launch_ranks import Ranks, become_subreaper
from trainyard.launch_record import Record
from trainyard.launch_wire import Message, Wire, connect

STOPPED = 143
ABORT_GRACE_S = 3.0
"""Ranks of a generation that is lost wait for peers that are gone: there is nothing to save."""
RECONNECT_S = 1.0
BROKEN = 134
"""As SIGABRT: a bug of ours ends this container and not the job, which goes on with the next one."""


@dataclass(frozen=True)
class Settings:
    nodes: int
    node: int
    procs: str
    master: str
    port: int
    run_id: str
    run_dir: Path | None
    max_restarts: int
    grace_s: float
    node_timeout_s: float

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises ValueError, with the variable's name, where one is no number."""
        nodes = _number("PET_NNODES", 1)
        alone = nodes == 1
        run_dir = os.environ.get("TRAINYARD_RUN_DIR")
        return cls(
            nodes=nodes,
            node=_number("PET_NODE_RANK", 0),
            procs=os.environ.get("PET_NPROC_PER_NODE", "1"),
            master="127.0.0.1" if alone else _text("PET_MASTER_ADDR", "MASTER_ADDR"),
            port=free_port() if alone else int(_text("PET_MASTER_PORT", "MASTER_PORT")),
            run_id=os.environ.get("TRAINYARD_RUN_ID", ""),
            run_dir=Path(run_dir) if run_dir else None,
            max_restarts=_number("TRAINYARD_MAX_RESTARTS", 3),
            grace_s=_seconds("TRAINYARD_STOP_GRACE_S", 60.0),
            node_timeout_s=_seconds("TRAINYARD_NODE_TIMEOUT_S", 3600.0),
        )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not text.isdigit():
        raise ValueError(f"{name}={text!r} is no whole number (an elastic range is not supported: nodes are a fixed count)")
    return int(text)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise ValueError(f"{name}={text!r} is no number of seconds")
    return seconds


def _text(*names: str) -> str:
    for name in names:
        if os.environ.get(name):
            return os.environ[name]
    raise ValueError(f"more than one node, and none of {', '.join(names)} is set")


class Node:
    """This node's side: connected to the coordinator, it does as told; on SIGTERM it lets its ranks save and leaves."""

    def __init__(self, settings: Settings, command: list[str]) -> None:
        self.settings = settings
        self.ranks = Ranks(command, settings.nodes, settings.node, settings.procs, settings.grace_s)
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.wire: Wire | None = None
        self.coordinator: Coordinator | None = None
        """Of node 0."""
        self.generation = 0
        self.heard_since = self.next_try = time.monotonic()
        """When node 0 was last known to be there; when to look for it again."""
        self.signals = 0
        self.stop_deadline: float | None = None

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        self.signals += 1

    def run(self) -> int:
        """The exit code of this launcher."""
        while True:
            if self.wire is None and self.stop_deadline is None and time.monotonic() >= self.next_try:
                if time.monotonic() - self.heard_since > self.settings.node_timeout_s:
                    say(f"node 0 ({self.settings.master}) is not there since {self.settings.node_timeout_s:.0f} s; giving up")
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
            if code is not None:
                return code

    def _connect(self) -> None:
        self.wire = connect(self.settings.master, self.settings.port, lambda _, message: self.inbox.put(message))
        self.next_try = time.monotonic() + RECONNECT_S
        if self.wire is None:
            return
        self.wire.send("hello", run_id=self.settings.run_id, node=self.settings.node)
        self.wire.send("ready")

    def _take(self, message: Message) -> int | None:
        kind = message.get("type")
        if kind in ("start", "abort"):
            self.heard_since = time.monotonic()
        if kind == "start" and self.stop_deadline is None:
            self._start(message)
        elif kind == "abort":
            self._abort()
            self._send("ready")
        elif kind == "finish":
            self._abort()
            return int(message["code"])
        elif kind == "lost":
            self.wire = None
            if self.ranks.alive:
                self.heard_since = time.monotonic()
            if self.stop_deadline is None and self.ranks.alive:
                say("node 0 is lost; ending the ranks here")
                self._abort()
        return None

    def _start(self, message: Message) -> None:
        self.generation = int(message["generation"])
        assert self.wire is not None
        # The address that the coordinator answers from, not its name: names of pods that were replaced are cached for a while.
        master = "127.0.0.1" if self.settings.node == 0 else self.wire.peer
        self.ranks.start(master, int(message["port"]), int(message["attempt"]))

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
            self._send("ended", generation=self.generation, code=code)
            if code != 0:
                self._send("ready")
        return None

    def _leave(self) -> int | None:
        assert self.stop_deadline is not None
        if self.ranks.alive and self.ranks.poll() is None:
            if self.signals < 2 and time.monotonic() < self.stop_deadline:
                return None
            self.ranks.end(0)
        self._send("ended", generation=self.generation, code=STOPPED)
        time.sleep(0.2)  # the coordinator reads it before the connection breaks
        return STOPPED

    def _send(self, type: str, **fields: object) -> None:
        if self.wire is not None:
            self.wire.send(type, **fields)


def main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if words else 2
    try:
        settings = Settings.from_environment()
    except ValueError as error:
        print(f"trainyard.launch: {error}", file=sys.stderr)
        return 2
    threading.excepthook = end_this_container
    become_subreaper()
    node = Node(settings, words)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, node.on_signal)
    say(f"node {settings.node} of {settings.nodes} on {socket.gethostname()}: {' '.join(words)}")
    node.coordinator = coordinate(settings) if settings.node == 0 else None
    code = node.run()
    if node.coordinator is not None and code != STOPPED:
        node.coordinator.done.wait(GOODBYE_S + 1)
    return code


def end_this_container(error: threading.ExceptHookArgs) -> None:
    """A launcher whose coordinator or connection thread has died would wait for ever."""
    traceback.print_exception(error.exc_value)
    os._exit(BROKEN)


def coordinate(settings: Settings) -> Coordinator:
    """Node 0 also tells the others when to start and to end."""
    coordinator = Coordinator(
        nodes=settings.nodes,
        run_id=settings.run_id,
        record=Record.begin(settings.run_dir, settings.run_id, settings.max_restarts, nodes=settings.nodes),
        max_restarts=settings.max_restarts,
        node_timeout_s=settings.node_timeout_s,
        leave_timeout_s=settings.grace_s + 15,
    )
    coordinator.serve(settings.port)
    return coordinator


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
