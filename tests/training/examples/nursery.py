"""Starts the examples many times: one process imports torch and the libraries (ten seconds), and forks one for each start.

Every rank is a process of its own, with its own environment, random numbers, output and signals, that ends by itself or by a
signal; it runs the script as `python script.py` would. `python -m tests.training.examples.nursery` reads one JSON request a line:
{"start": {"script", "words", "folder", "env", "output"}} -> {"pid"} and {"poll": pid} -> {"code"}, null while it lives.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import random
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.training.forked import exit_code_of, fork

ROOT = Path(__file__).resolve().parents[3]
EXAMPLES = ROOT / "training" / "examples"
LIBRARIES = {
    "plain_loop": (),
    "dcp_user": (),
    "accelerate_loop": ("accelerate",),
    "huggingface_trainer": ("transformers", "accelerate"),
    "lightning_trainer": ("lightning",),
}
"""What each example needs besides torch."""


def missing_libraries(example: str) -> list[str]:
    return [name for name in LIBRARIES[example] if importlib.util.find_spec(name) is None]


# --- in the test -------------------------------------------------------------------------------------------------


class Nursery:
    """The process that has everything imported."""

    def __init__(self) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("TRAINYARD_R", "TRAINYARD_C"))}
        environment |= {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "HF_HUB_OFFLINE": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.training.examples.nursery"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def start(self, script: Path, words: list[str], folder: Path, env: dict[str, str], output: Path) -> int:
        """The pid of the new process."""
        request = {"script": str(script), "words": words, "folder": str(folder), "env": env, "output": str(output)}
        return int(self._ask({"start": request})["pid"])

    def poll(self, pid: int) -> int | None:
        """The exit code, negative for the signal that ended it; None while it lives."""
        code = self._ask({"poll": pid})["code"]
        return None if code is None else int(code)

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery is gone"
        return dict(json.loads(answer))

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=60)


@contextlib.contextmanager
def running_nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    try:
        yield nursery
    finally:
        nursery.close()


# --- in the nursery ----------------------------------------------------------------------------------------------


def _run(request: dict[str, Any]) -> int:
    import numpy as np
    import torch

    output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["folder"])
    os.environ.update(request["env"])
    # As different in every start as in a process of its own: nothing may be equal because it was inherited.
    random.seed(), np.random.seed(), torch.seed()
    sys.argv = [request["script"], *request["words"]]
    sys.path.insert(0, str(Path(request["script"]).parent))
    return exit_code_of(lambda: runpy.run_path(request["script"], run_name="__main__"))


def serve() -> None:
    import torch

    torch.set_num_threads(1)  # no thread pool: a fork copies the calling thread only
    sys.path.insert(0, str(EXAMPLES))
    for name in LIBRARIES:
        if not missing_libraries(name):
            importlib.import_module(name)
    ended: dict[int, int] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            answer = {"pid": fork(_run, request["start"])}
        else:
            pid = request["poll"]
            if pid not in ended:
                done, status = os.waitpid(pid, os.WNOHANG)
                if done:
                    ended[pid] = os.waitstatus_to_exitcode(status)
            answer = {"code": ended.get(pid)}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
