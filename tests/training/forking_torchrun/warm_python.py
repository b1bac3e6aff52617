"""Pythons that have their packages imported when they begin: forked from a process that has, and otherwise as if started.

Each has its own command line and environment in /proc, its own streams and random numbers, and ends as the interpreter would.
`python warm_python.py SOCKET torch|skills` forks one for each request that comes through the socket with that descriptor, and tells of
its end.
"""

from __future__ import annotations

import atexit
import ctypes
import importlib
import io
import json
import os
import random
import runpy
import signal
import socket
import sys
import threading
import types
import warnings
from pathlib import Path
from typing import Any

ROOM = "TRAINYARD_TEST_ROOM"
"""A variable as long as what the environment of a forked Python may be longer."""
PRELOAD = "TRAINYARD_TEST_PRELOAD"
"""Names of modules to import besides torch, with blanks between them."""
LARGEST_REQUEST = 1 << 18
ARG_START, ENV_START = 45, 47
"""Fields of /proc/<pid>/stat, counted from the state; the end follows each."""
MODULES = "numpy safetensors.torch torch._dynamo torch.distributed.checkpoint torch.distributed.fsdp torch.distributed.tensor torch.utils.data"
"""What a rank imports sooner or later; each optimizer imports torch._dynamo."""

SKILL_MODULES = "click msgspec yaml kubernetes kubernetes.client.api_client kubernetes.utils.quantity kubernetes.stream.ws_client boto3 requests"


def import_all() -> None:
    """Nothing that starts a thread: a fork copies the calling one only."""
    import torch

    for name in [*MODULES.split(), *os.environ.get(PRELOAD, "").split()]:
        importlib.import_module(name)
    torch.set_num_threads(1)


def import_skills() -> None:
    """What the skills' programs import, and nothing of ours."""
    for name in SKILL_MODULES.split():
        importlib.import_module(name)
    # Their import reads KUBECONFIG.
    for name in [name for name in sys.modules if name == "kubernetes" or name.startswith("kubernetes.config")]:
        del sys.modules[name]


def prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option})")


# --- requests ----------------------------------------------------------------------------------------------------


def request_of(given: tuple[Any, ...], *, session: bool) -> tuple[dict[str, Any], list[int]] | None:
    """What to ask for, of the arguments of Popen._execute_child; None for what is no Python of this environment."""
    words, cwd, env = [os.fspath(word) for word in given[0]], given[5], given[6]
    if words[0] != sys.executable:
        return None
    to_stdin, from_stdout, from_stderr = given[10], given[13], given[15]
    streams = [end if end != -1 else usual for usual, end in enumerate((to_stdin, from_stdout, from_stderr))]
    variables = dict(os.environ if env is None else env)
    return {"words": words, "env": variables, "cwd": str(cwd or os.getcwd()), "session": session}, streams


def ask(zygote: socket.socket, request: dict[str, Any], streams: list[int]) -> dict[str, Any]:
    socket.send_fds(zygote, [json.dumps(request).encode()], streams)
    answer = zygote.recv(LARGEST_REQUEST)
    assert answer, "the process that forks is gone"
    return dict(json.loads(answer))


def receive(requests: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    message, streams, _, _ = socket.recv_fds(requests, LARGEST_REQUEST, 3)
    return (json.loads(message), streams) if message else None


def answer(requests: socket.socket, said: dict[str, Any], streams: list[int]) -> None:
    for stream in streams:
        os.close(stream)
    requests.send(json.dumps(said).encode())


def alone_with(requests: socket.socket) -> socket.socket:
    """The same socket, as the only open file besides the three streams, which lead nowhere."""
    held = os.dup(requests.detach())
    os.dup2(held, 3)
    os.closerange(4, os.sysconf("SC_OPEN_MAX"))
    for descriptor in range(3):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    os.closerange(4, 10)
    return socket.socket(fileno=3)


# --- the new Python ----------------------------------------------------------------------------------------------


def become(request: dict[str, Any], streams: list[int]) -> None:
    """Returns never: from here on the process is `request["words"]`."""
    code = 70
    try:
        if request["session"]:
            os.setsid()
        os.chdir(request["cwd"])
        for descriptor, stream in enumerate(streams):
            os.dup2(stream, descriptor)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        shown_as(request["words"], request["env"])
        os.environ.clear()
        os.environ.update(request["env"])
        words = request["words"][1:]
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
        is_unbuffered = words[0] == "-u" or bool(os.environ.get("PYTHONUNBUFFERED"))
        begin_anew(is_unbuffered)
        if words[0] == "-W":
            warnings.simplefilter(words[1])  # type: ignore[arg-type]
        code = exit_code_of(words[{"-u": 1, "-W": 2}.get(words[0], 0) :])
    finally:
        os._exit(code)


def shown_as(words: list[str], env: dict[str, str]) -> None:
    """What /proc shows as the command line and the environment."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    texts = {ARG_START: words, ENV_START: [f"{name}={value}" for name, value in env.items()]}
    for place, items in texts.items():
        begin, end = int(fields[place]), int(fields[place + 1])
        text = "".join(f"{item}\0" for item in items).encode()[: end - begin]
        ctypes.memset(begin, 0, end - begin)
        ctypes.memmove(begin, text, len(text))


def begin_anew(is_unbuffered: bool) -> None:
    """Streams, random numbers and threads as a new interpreter has them: nothing may be equal because it was inherited."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        before = getattr(sys, name)
        buffer: Any = open(descriptor, "wb", buffering=0 if is_unbuffered else -1, closefd=False)  # noqa: SIM115
        by_line = not is_unbuffered and (name == "stderr" or os.isatty(descriptor))
        options = {"line_buffering": by_line, "write_through": is_unbuffered}
        stream = io.TextIOWrapper(buffer, before.encoding, before.errors, **options)
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    random.seed()
    if torch := sys.modules.get("torch"):
        sys.modules["numpy"].random.seed(), torch.seed()
        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1))


def exit_code_of(words: list[str]) -> int:
    code: Any = 0
    try:
        run(words)
    except SystemExit as end:
        code = end.code or 0
        if not isinstance(code, int):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # whatever a script under test raises: the interpreter's answer to all of it is the same
        sys.excepthook(*sys.exc_info())
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return int(code) & 0xFF


def run(words: list[str]) -> None:
    folder = str(Path(__file__).parent)
    if words[:2] == ["-m", "torch.distributed.run"] and folder in os.environ.get("PYTHONPATH", "").split(os.pathsep):
        from forking_launcher import launch

        launch(words[1], words[2:])
    elif words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    elif words[0] == "-c":
        sys.argv, sys.path[0] = ["-c", *words[2:]], ""
        sys.modules["__main__"] = main = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), main.__dict__)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).resolve().parent)
        runpy.run_path(words[0], run_name="__main__")


# --- the process that all are forked from ------------------------------------------------------------------------


def serve(requests: socket.socket) -> None:
    """Until the caller is gone. A request is a Python to fork, or {"wait": pid}, answered with its wait status once it has ended."""
    while found := receive(requests):
        request, streams = found
        if "wait" in request:
            pid, status = os.waitpid(request["wait"], os.WNOHANG)
            said = {"pid": pid, "status": status}
        else:
            if (pid := os.fork()) == 0:
                become(request, streams)
            said = {"pid": pid}
        answer(requests, said, streams)


if __name__ == "__main__":
    sys.modules["warm_python"] = sys.modules["__main__"]
    del os.environ[ROOM]
    {"torch": import_all, "skills": import_skills}[sys.argv[2]]()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    shown_as([], {})
    serve(alone_with(socket.socket(fileno=int(sys.argv[1]))))
