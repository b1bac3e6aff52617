"""A real launcher whose ranks are forked: torch is imported once (3 s), and not by the launcher and each of its ranks.

`python forking_launcher.py torch.distributed.run WORDS...` runs that module as `python -m` would. What it starts with
`python [-u] SCRIPT` or `python [-u] -m MODULE` is forked (warm_python.py), and is to everybody what it would be: a child of the
launcher, in a session of its own, with its own streams, and with its command line and environment in /proc.
"""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import warm_python

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36


def launch(module: str, words: list[str]) -> None:
    """In a process that has imported what the ranks need, and has one thread."""
    launcher, (ours, theirs) = os.getpid(), socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        ours.close()
        serve(theirs, launcher)
    theirs.close()
    warm_python.prctl(PR_SET_CHILD_SUBREAPER, 1)
    let_ranks_be_forked(ours)
    sys.argv, sys.path[0] = [module, *words], os.getcwd()
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def let_ranks_be_forked(zygote: socket.socket) -> None:
    from torch.distributed.elastic.multiprocessing.subprocess_handler import subprocess_handler

    class Forked(subprocess.Popen[bytes]):
        def _execute_child(self, *given: Any) -> None:
            if (request := warm_python.request_of(given, session=True)) is None:
                super()._execute_child(*given)  # type: ignore[misc]
                return
            self.pid = warm_python.ask(zygote, *request)["pid"]
            self._child_created = True
            self._close_pipe_fds(*given[10:16])  # type: ignore[attr-defined]

    subprocess_handler.Popen = Forked


def serve(requests: socket.socket, launcher: int) -> None:
    """Returns never: forks until the launcher is gone. It is no process of the run, and holds nothing of it open."""
    warm_python.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    warm_python.shown_as([], {})
    requests = warm_python.alone_with(requests)
    while os.getppid() == launcher and (found := warm_python.receive(requests)):
        request, streams = found
        warm_python.answer(requests, {"pid": grandchild(request, streams, launcher)}, streams)
    os._exit(0)


def grandchild(request: dict[str, Any], streams: list[int], launcher: int) -> int:
    """Forked by a child that ends at once: the kernel makes it a child of the launcher, the nearest that takes orphans."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        between = os.getpid()
        if (pid := os.fork()) == 0:
            warm_python.shown_as(request["words"], request["env"])  # at once: whoever looks for the run's processes finds it
            while os.getppid() == between:
                time.sleep(0.0005)
            if os.getppid() != launcher:
                os._exit(1)  # which was killed meanwhile
            warm_python.become(request, streams)
        os.write(writer, str(pid).encode())
        os._exit(0)
    os.waitpid(child, 0)
    pid = int(os.read(reader, 64))
    os.close(reader)
    os.close(writer)
    return pid


if __name__ == "__main__":
    del os.environ[warm_python.ROOM]
    warm_python.import_all()
    launch(sys.argv[1], sys.argv[2:])
