"""The launcher of one node of a job: torchrun on every node, started together, ended together, started again together.

    python -m trainyard.launch train.py --steps 1000            what `torchrun train.py --steps 1000` in a job file becomes
    python -m trainyard.launch --program -- python x.py         a program that is one process, with the same restarts and records

Every pod of a job runs this. Topology comes from the environment, as Kubeflow's operators set it: PET_NNODES, PET_NODE_RANK,
PET_NPROC_PER_NODE, MASTER_ADDR and MASTER_PORT (or PET_MASTER_ADDR, PET_MASTER_PORT). Without them it is one node with one process.

    TRAINYARD_RUN_ID          whose job this is; nodes of another run are turned away
    TRAINYARD_RUN_DIR         runner.json and events.jsonl go there (node 0)
    TRAINYARD_MAX_RESTARTS    restarts before the job is given up; default 3
    TRAINYARD_STOP_GRACE_S    seconds that the ranks have to save after SIGTERM; default 60
    TRAINYARD_HANG            what is done about a hang: restart (default) or report
    TRAINYARD_HANG_AFTER_S    seconds without a step that are one; default auto
    TRAINYARD_NODE_TIMEOUT_S  seconds that the others wait for a node that is missing; default 3600
    TRAINYARD_SUBMISSION      which start by the user this is: each has its own budget, and what was given up stays so
    TRAINYARD_POD_UID         the same without it, where the kubelet restarts containers in place

Exit code: 0 every rank of every node finished, and nothing else; 143 stopped by SIGTERM; 1 given up, for good; 2 wrong words; 134 this
launcher could not go on (its port is taken, no process can be started, a bug of ours): the next container can, perhaps.
How it recovers: shared-docs/decisions/0011-several-nodes.md. Who may take part: 0016-who-belongs-to-a-job.md.
"""

from __future__ import annotations

import contextlib
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
from types import FrameType, TracebackType

from trainyard.launch_cause import Ending
from trainyard.launch_coordinator import GOODBYE_S, TELL_S, Coordinator
from trainyard.launch_hang import Looks
from trainyard.launch_hub import Hub
from trainyard.launch_key import Credentials, make_key, read_key
from trainyard.launch_ranks import CODE_NOT_FOUND, CannotStartError, Ranks, become_subreaper
from trainyard.launch_record import Record, say
from trainyard.launch_wire import Message, Wire, connect

STOPPED = 143
ABORT_GRACE_S = 3.0
"""Ranks of a generation that is lost wait for peers that are gone: there is nothing to save."""
RECONNECT_S = 1.0
PORT_S = 5.0
"""For a port that is taken."""
PASSED_ON = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
BROKEN = 134
"""As SIGABRT: what went wrong here ends this container and not the job, which goes on with the next one."""


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
    hang: str
    hang_after_s: float | None

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises ValueError, with the variable's name, where one is not a number."""
        nodes, node = _number("PET_NNODES", 1), _number("PET_NODE_RANK", 0)
        if not node < nodes:
            raise ValueError(f"PET_NODE_RANK={node} and PET_NNODES={nodes}: nodes are counted from 0")
        alone = nodes == 1
        run_dir = os.environ.get("TRAINYARD_RUN_DIR")
        return cls(
            nodes=nodes,
            node=node,
            procs=os.environ.get("PET_NPROC_PER_NODE", "1"),
            master="127.0.0.1" if alone else _text("PET_MASTER_ADDR", "MASTER_ADDR"),
            port=0 if alone else _port("PET_MASTER_PORT", "MASTER_PORT"),
            run_id=os.environ.get("TRAINYARD_RUN_ID", ""),
            run_dir=Path(run_dir) if run_dir else None,
            max_restarts=_number("TRAINYARD_MAX_RESTARTS", 3),
            grace_s=_seconds("TRAINYARD_STOP_GRACE_S", 60.0),
            node_timeout_s=_seconds("TRAINYARD_NODE_TIMEOUT_S", 3600.0),
            hang=_hang(),
            hang_after_s=_hang_after_s(),
        )


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise ValueError(f"{name}={text!r} is not a whole number (an elastic range is not supported: nodes are a fixed count)")
    return int(text)


def _seconds(name: str, default: float) -> float:
    text = os.environ.get(name, str(default))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e9:
        raise ValueError(f"{name}={text!r} is not a number of seconds")
    return seconds


def _hang() -> str:
    word = os.environ.get("TRAINYARD_HANG", "restart")
    if word not in ("restart", "report"):
        raise ValueError(f"TRAINYARD_HANG={word!r} is neither restart nor report")
    return word


def _hang_after_s() -> float | None:
    """None: auto."""
    if os.environ.get("TRAINYARD_HANG_AFTER_S", "auto") == "auto":
        return None
    seconds = _seconds("TRAINYARD_HANG_AFTER_S", 0.0)
    if seconds < 1:
        raise ValueError(f"TRAINYARD_HANG_AFTER_S={seconds:g} is not auto, and not a second or more")
    return seconds


def _text(*names: str) -> str:
    for name in names:
        if os.environ.get(name):
            return os.environ[name]
    raise ValueError(f"more than one node, and none of {', '.join(names)} is set")


def _port(*names: str) -> int:
    text = _text(*names)
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise ValueError(f"{' or '.join(names)}: {text!r} is not a port")
    return int(text)


class Node:
    """This node's side: connected to the coordinator, it does as told; on SIGTERM it lets its ranks save and leaves."""

    def __init__(self, settings: Settings, command: list[str], *, is_program: bool = False) -> None:
        self.settings = settings
        self.ranks = Ranks(command, settings.nodes, settings.node, settings.procs, settings.grace_s, is_program)
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self.wire: Wire | None = None
        self.coordinator: Coordinator | None = None
        """Of node 0."""
        self.looks = Looks(settings.hang_after_s)
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
                why = f"cannot be read ({error.strerror})"
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


def main(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if words else 2
    try:
        settings = Settings.from_environment()
        command, is_program = _command(words, settings)
    except ValueError as error:
        print(f"trainyard.launch: {error}", file=sys.stderr)
        return 2
    threading.excepthook = lambda error: end_this_container(error.exc_value)
    sys.excepthook = _main_thread_failed
    become_subreaper()
    node = Node(settings, command, is_program=is_program)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, node.on_signal)
    for number in PASSED_ON if is_program else ():
        signal.signal(number, node.pass_on)
    say(f"node {settings.node} of {settings.nodes} on {socket.gethostname()}: {' '.join(words)}")
    if settings.node == 0:
        node.lead(coordinate(settings))
    code = node.run()
    if node.coordinator is not None and code != STOPPED:
        node.coordinator.done.wait(GOODBYE_S + 1)
    return code


def _command(words: list[str], settings: Settings) -> tuple[list[str], bool]:
    """(the words, whether they are a plain program). Raises ValueError."""
    if words[0] != "--program":
        return words, False
    program = words[2:] if words[1:2] == ["--"] else words[1:]
    if not program:
        raise ValueError("--program without a program; for example: --program -- python x.py")
    if settings.nodes > 1 or settings.procs != "1":
        raise ValueError(f"--program is one process, and this job has {settings.nodes} x {settings.procs}")
    return program, True


def _main_thread_failed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    end_this_container(error)


def end_this_container(error: BaseException | None) -> None:
    """A launcher that has lost one of its threads would wait for ever; exit code 1 would be the end of the job."""
    try:
        say(f"this launcher cannot go on; it exits with {BROKEN}, and the next container can, perhaps")
        traceback.print_exception(error)
    finally:
        os._exit(BROKEN)


def coordinate(settings: Settings) -> Coordinator:
    """Node 0 also tells the others when to start and to end; alone it opens no port. Raises OSError: no key, or its port is taken."""
    record = Record.begin(settings.run_dir, settings.run_id, settings.max_restarts, nodes=settings.nodes)
    key = None
    if settings.nodes > 1 and settings.run_dir is not None:
        key = make_key(settings.run_dir)
    elif settings.nodes > 1:
        say("no TRAINYARD_RUN_DIR, so there is no key: whoever knows the run id may take part")
    hub = Hub(settings.nodes, settings.run_id, key, say)
    if settings.nodes > 1:
        _listen(hub, settings.port)
    coordinator = Coordinator(
        hub=hub,
        record=record,
        max_restarts=settings.max_restarts,
        node_timeout_s=settings.node_timeout_s,
        leave_timeout_s=settings.grace_s + 15,
        hang=settings.hang,
        hang_after_s=settings.hang_after_s,
    )
    return coordinator


def _listen(hub: Hub, port: int) -> None:
    deadline = time.monotonic() + PORT_S
    while True:
        try:
            return hub.listen(port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
