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

Exit code: 0 every rank of every node finished, and nothing else; 143 stopped by SIGTERM; 1 given up, for good (also where the run
folder lets this user do nothing); 2 wrong words; 134 this launcher could not go on (its port is taken, no process can be started, a bug
of ours): the next container can, perhaps.
How it recovers: shared-docs/decisions/0011-several-nodes.md. Who may take part: 0016-who-belongs-to-a-job.md.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
import traceback
from types import TracebackType

from trainyard.files import make_run_folder
from trainyard.launch_coordinator import GOODBYE_S, Coordinator
from trainyard.launch_hub import Hub
from trainyard.launch_key import make_key, read_key
from trainyard.launch_node import STOPPED, Node
from trainyard.launch_ranks import become_subreaper
from trainyard.launch_record import Record, say, tell_kubernetes
from trainyard.launch_settings import Settings
from trainyard.whose import reason, remedy

PORT_S = 5.0
"""For a port that is taken."""
PASSED_ON = (signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH)
BROKEN = 134
"""As SIGABRT: what went wrong here ends this container and not the job, which goes on with the next one."""


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
    try:
        enter(settings)
        if settings.node == 0:
            node.lead(coordinate(settings))
    except PermissionError as error:
        return refused(error)
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


def enter(settings: Settings) -> None:
    """Every node of several needs the run folder, where the key lies. Raises PermissionError where it lets this user do nothing."""
    if settings.nodes == 1 or settings.run_dir is None:
        return
    try:
        make_run_folder(settings.run_dir)
        read_key(settings.run_dir)
    except PermissionError:
        raise
    except OSError:
        return  # node 0 says what is wrong with it; the others wait for its key, and say so


def refused(error: PermissionError) -> int:
    """For good: the next container is the same user, and the folder the same folder."""
    why = f"the run folder: {reason(error)}; {remedy(error)}"
    say(f"giving up: {why}")
    tell_kubernetes("failed", 0, why)
    return 1


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
