"""Processes that find torch imported, for tests whose subject is not how a process comes to life: it is most of a start's work.

`forking()` makes launchers fork their ranks. `WarmPopen` and `forked_run` are subprocess's for Pythons that import torch: what they start
is forked from one process, whose child it is. FULL_STARTS=1 (`make soak` sets it) starts each as a program of its own.
"""

from __future__ import annotations

import atexit
import functools
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("forking_torchrun")
sys.path.append(str(FOLDER))

import warm_python  # noqa: E402

ONE_AT_A_TIME = threading.Lock()
"""Questions to the process that forks, whichever thread asks."""
FULL_STARTS = os.environ.get("FULL_STARTS") == "1"
POLL_S = 0.005


def forking(preload: str = "") -> dict[str, str]:
    """Into the environment of a launcher; `preload`: modules for it to import besides torch."""
    return {} if FULL_STARTS else {"PYTHONPATH": str(FOLDER), warm_python.PRELOAD: preload}


@functools.cache
def zygote() -> socket.socket:
    """Of this process, which it does not outlive."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, str(FOLDER / "warm_python.py"), str(theirs.fileno())]
    # With a long command line too: those of the forked are written over it.
    env = {**os.environ, warm_python.ROOM: "x" * 16384, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*words, "x" * 16384], env=env, pass_fds=[theirs.fileno()])
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(timeout=10)

    atexit.register(end)
    return ours


def ask(request: dict[str, Any], streams: list[int]) -> dict[str, Any]:
    with ONE_AT_A_TIME:
        return warm_python.ask(zygote(), request, streams)


class WarmPopen(subprocess.Popen[Any]):
    """Popen for `[sys.executable, [-u or -W ACTION], SCRIPT or -m MODULE or -c CODE, ...]`."""

    is_warm = False

    def _execute_child(self, *given: Any) -> None:
        request = None if FULL_STARTS else warm_python.request_of(given, session=bool(given[-2]))
        if request is None:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        self.pid = ask(*request)["pid"]
        self._child_created = self.is_warm = True
        self._close_pipe_fds(*given[10:16])  # type: ignore[attr-defined]

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if not self.is_warm:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        while True:
            said = ask({"wait": self.pid}, [])
            if said["pid"] or wait_flags == os.WNOHANG:
                return said["pid"], said["status"]
            time.sleep(POLL_S)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode


def forked_run(command: list[str], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """subprocess.run for a Python that imports torch, its output as text."""
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with WarmPopen(command, text=True, **pipes, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
