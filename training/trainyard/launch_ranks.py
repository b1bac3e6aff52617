"""The ranks of one node: stock torchrun without restarts, or one plain program, started, watched, and ended with everything below it.

Workers of torchrun are sessions of their own and outlive it (measured): this process is a child subreaper, so that whatever loses its
parents becomes its child, and ends all of it.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from trainyard.launch_cause import Ending, ending, oom_kills

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
TOPOLOGY = re.compile(r"(PET_|TORCHELASTIC_|GROUP_|ROLE_).*|((LOCAL|NODE)_)?(RANK|WORLD_SIZE)|MASTER_(ADDR|PORT)")
"""Variables of the launcher above us; torchrun is told by ours and tells its ranks."""
KILLED_S = 20.0
KEPT_BYTES = 16384
"""Of the ranks' stderr: the first rank's traceback, and torchrun's report after it."""
CODE_NOT_FOUND = 127
"""As a shell has it."""


class CannotStartError(Exception):
    """The program is not there, or nothing that this machine runs."""


def become_subreaper() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """In a new child: SIGTERM when its parent dies. Not SIGKILL: torchrun, or the launcher, then ends what is below it."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


@dataclass
class Ranks:
    """At most one torchrun at a time."""

    command: list[str]
    """What follows `torchrun`; with `is_program` all of it."""
    nodes: int
    node: int
    procs: str
    grace_s: float
    is_program: bool = False
    """One process instead of torchrun and its ranks."""
    stderr: Stderr = field(init=False)
    _process: subprocess.Popen[bytes] | None = None
    _oom_before: int | None = None

    @property
    def alive(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int | None:
        """Of torchrun, or of the program."""
        return self._process.pid if self._process is not None else None

    def start(self, master: str, port: int, attempt: int) -> None:
        """One attempt: a static rendezvous at `master`:`port`, which nobody has used before.

        Raises CannotStartError, and OSError for what passes: no memory, no room for a process."""
        if self.is_program:
            return self._spawn(self.command, {**os.environ, "TRAINYARD_ATTEMPT": str(attempt)})
        environment = {name: value for name, value in os.environ.items() if not TOPOLOGY.fullmatch(name)}
        environment |= {
            "PET_NNODES": str(self.nodes),
            "PET_NODE_RANK": str(self.node),
            "PET_NPROC_PER_NODE": self.procs,
            "PET_MASTER_ADDR": master,
            "PET_MASTER_PORT": str(port),
            "PET_RDZV_BACKEND": "static",
            "PET_MAX_RESTARTS": "0",
            # torchrun must have killed its ranks before the grace ends.
            "PET_SHUTDOWN_TIMEOUT": str(int(self.grace_s * 0.8)),
            "TRAINYARD_ATTEMPT": str(attempt),
        }
        # gloo binds to the address of the host's name, which a bridge or a VPN may hold; eth0 is the pod's network.
        if self.nodes > 1 and Path("/sys/class/net/eth0").exists():
            environment.setdefault("GLOO_SOCKET_IFNAME", "eth0")
        self._spawn([sys.executable, "-m", "torch.distributed.run", *self.command], environment)

    def _spawn(self, words: list[str], environment: dict[str, str]) -> None:
        environment.setdefault("PYTHONUNBUFFERED", "1")
        self._oom_before = oom_kills()
        try:
            self._process = subprocess.Popen(
                words, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=die_with_parent
            )
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            raise CannotStartError(f"{words[0]} cannot be started: {error.strerror}") from error
        except OSError as error:
            if error.errno == errno.ENOEXEC:
                raise CannotStartError(f"{words[0]} cannot be started: {error.strerror}") from error
            raise
        assert self._process.stderr is not None
        self.stderr = Stderr(self._process.stderr)

    def ending(self, code: int) -> Ending:
        """What is known about the end of the attempt that ended with `code`."""
        return ending(code, self._oom_before, self.stderr.tail(), is_program=self.is_program)

    def poll(self) -> int | None:
        """torchrun's exit code, once, after everything below this process has ended too; None while it runs."""
        if self._process is None or self._reap() is None:
            return None
        code = self._process.returncode
        self.end(0)
        return int(code)

    def terminate(self) -> None:
        """Ask torchrun, which asks its ranks; they agree, save and exit."""
        if self._process is not None:
            self._process.terminate()

    def end(self, grace_s: float) -> None:
        """End everything below this process: SIGTERM, and SIGKILL after `grace_s`."""
        deadline = time.monotonic() + grace_s
        if grace_s > 0:
            self.terminate()
        while (left := _descendants(os.getpid())) and time.monotonic() < deadline + KILLED_S:
            if time.monotonic() >= deadline:
                for pid in left:
                    _kill(pid)
            self._reap()
            time.sleep(0.05)
        self._process = None

    def _reap(self) -> int | None:
        """Collect all that have ended, torchrun and the orphans that came to us; torchrun's exit code."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if ended is None:
                break
            if self._process is not None and ended.si_pid == self._process.pid:
                self._process.wait()
            else:
                os.waitpid(ended.si_pid, 0)
        return self._process.poll() if self._process is not None else None


class Stderr:
    """Passes the ranks' stderr on and keeps its end. A reader that is gone costs the lines and not the ranks."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._kept = pipe, bytearray()
        self._thread = threading.Thread(target=self._pass_on, daemon=True)
        self._thread.start()

    def _pass_on(self) -> None:
        while part := os.read(self._pipe.fileno(), 65536):
            self._kept += part
            del self._kept[:-KEPT_BYTES]
            with contextlib.suppress(OSError):
                view = memoryview(part)
                while view:
                    view = view[os.write(2, view) :]
        self._pipe.close()

    def tail(self) -> bytes:
        """Of ranks that have ended: all that held the pipe are gone."""
        self._thread.join(timeout=5)
        return bytes(self._kept)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # ended meanwhile
        os.kill(pid, signal.SIGKILL)


def _descendants(root: int) -> list[int]:
    """Living processes below `root`."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] not in "ZX":
            children.setdefault(int(fields[1]), []).append(int(folder.name))
    found, todo = [], [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found
