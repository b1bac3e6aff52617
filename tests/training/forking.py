"""Processes that find their packages imported, for tests whose subject is not how a process comes to life: it is most of a start's work.

`forking()` makes launchers fork their ranks. `WarmPopen` and `forked_run` are subprocess's for Pythons that import torch, `SkillPopen` and
`skill_run` for the skills' programs: what they start is forked from one process, whose child it is. FULL_STARTS=1 (`make soak` sets it)
starts each as a program of its own.
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
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

FOLDER = Path(__file__).with_name("forking_torchrun")
sys.path.append(str(FOLDER))

import warm_python  # noqa: E402

ONE_AT_A_TIME = threading.Lock()
"""Questions to the process that forks, whichever thread asks."""
FULL_STARTS = os.environ.get("FULL_STARTS") == "1"
POLL_S = 0.005
OWN = dict(os.environ)
"""Before a test changes it."""
BEFORE_IT = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC")
MINDED = ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED")


def forking(preload: str = "") -> dict[str, str]:
    """Into the environment of a launcher; `preload`: modules for it to import besides torch."""
    return {} if FULL_STARTS else {"PYTHONPATH": str(FOLDER), warm_python.PRELOAD: preload}


@functools.cache
def zygote(imported: str) -> socket.socket:
    """Of this process, which it does not outlive. `imported`: torch or skills."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    words = [sys.executable, str(FOLDER / "warm_python.py"), str(theirs.fileno()), imported]
    # With a long command line too: those of the forked are written over it.
    env = {**OWN, warm_python.ROOM: "x" * 16384, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*words, "x" * 16384], env=env, pass_fds=[theirs.fileno()])
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(timeout=10)

    atexit.register(end)
    return ours


def ask(imported: str, request: dict[str, Any], streams: list[int]) -> dict[str, Any]:
    with ONE_AT_A_TIME:
        return warm_python.ask(zygote(imported), request, streams)


class WarmPopen(subprocess.Popen[Any]):
    """Popen for `[sys.executable, [-u or -W ACTION], SCRIPT or -m MODULE or -c CODE, ...]`."""

    is_warm = False
    imported: ClassVar[str] = "torch"

    def _execute_child(self, *given: Any) -> None:
        request = None if FULL_STARTS else self.request_of(given)
        if request is None:
            super()._execute_child(*given)  # type: ignore[misc]
            return
        self.pid = ask(self.imported, *request)["pid"]
        self._child_created = self.is_warm = True
        self._close_pipe_fds(*given[10:16])  # type: ignore[attr-defined]

    @staticmethod
    def request_of(given: tuple[Any, ...]) -> tuple[dict[str, Any], list[int]] | None:
        return warm_python.request_of(given, session=bool(given[-2]))

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if not self.is_warm:
            return super()._try_wait(wait_flags)  # type: ignore[misc, no-any-return]
        while True:
            said = ask(self.imported, {"wait": self.pid}, [])
            if said["pid"] or wait_flags == os.WNOHANG:
                return said["pid"], said["status"]
            time.sleep(POLL_S)

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None:
            pid, status = self._try_wait(os.WNOHANG)
            if pid:
                self._handle_exitstatus(status)  # type: ignore[attr-defined]
        return self.returncode


class SkillPopen(WarmPopen):
    """Popen for `[sys.executable, skills/SKILL/src/PROGRAM.py, ...]`; whatever else it is given starts as a program."""

    imported = "skills"

    @staticmethod
    def request_of(given: tuple[Any, ...]) -> tuple[dict[str, Any], list[int]] | None:
        request = WarmPopen.request_of(given)
        executable, preexec_fn, _, pass_fds = given[1:5]
        if request is None or executable or preexec_fn or pass_fds:
            return None
        words, env = request[0]["words"], request[0]["env"]
        is_program = Path(words[1]).suffix == ".py" and Path(words[1]).parent.name == "src"
        return request if is_program and _python_settings(env) == _python_settings(OWN) else None


def _python_settings(env: Mapping[str, str]) -> dict[str, str]:
    """What Python reads before the first line of a program, and the forked one does not."""
    return {name: value for name, value in env.items() if name.startswith(BEFORE_IT) and name not in MINDED}


def forked_run(command: list[str], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """subprocess.run for a Python that imports torch, its output as text."""
    return _run(WarmPopen, command, timeout, options)


def skill_run(command: list[str], *, timeout: float, **options: Any) -> subprocess.CompletedProcess[str]:
    """subprocess.run for a program of a skill, its output as text."""
    return _run(SkillPopen, command, timeout, options)


def _run(
    popen: type[WarmPopen], command: list[str], timeout: float, options: dict[str, Any]
) -> subprocess.CompletedProcess[str]:
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with popen(command, text=True, **pipes, **options) as process:
        try:
            out, err = process.communicate(timeout=timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)
