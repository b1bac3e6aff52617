"""Starts rt_trainer many times: one process imports torch (seconds), and forks a child for each start (milliseconds).

Every start is a process of its own, with its own environment, output files and signals, that ends by itself or by a signal.
`python -m tests.training.rt_zygote` reads one JSON request a line: {"start": ...} or {"wait": pid, "timeout_s": ...}.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.training.forked import exit_code_of, fork

ROOT = Path(__file__).parents[2]
DEADLINE_S = 90.0


# --- in the test -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ended:
    """How a start of rt_trainer ended; a negative code is the signal that ended it."""

    code: int
    stdout: str
    stderr: str

    @property
    def restored(self) -> tuple[int, str]:
        """(step, digest) after the restore."""
        match = re.search(r"^restored step=(\d+) (\w+)", self.stdout, re.MULTILINE)
        assert match, f"nothing restored:\n{self.stdout}\n{self.stderr}"
        return int(match[1]), match[2]

    @property
    def digests(self) -> dict[int, str]:
        """Step -> digest after it."""
        return {int(step): text for step, text in re.findall(r"^digest step=(\d+) (\w+)", self.stdout, re.MULTILINE)}


@dataclass(frozen=True)
class Child:
    zygote: Zygote
    pid: int
    output: Path

    def wait(self, timeout_s: float = DEADLINE_S) -> Ended:
        code = self.zygote.ask({"wait": self.pid, "timeout_s": timeout_s})["code"]
        return Ended(code, self.output.with_suffix(".out").read_text(), self.output.with_suffix(".err").read_text())


class Zygote:
    """The process that has torch imported."""

    def __init__(self, scratch: Path, env: dict[str, str] | None = None) -> None:
        self._scratch, self._starts = scratch, 0
        command = [sys.executable, "-m", "tests.training.rt_zygote"]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", **(env or {})}
        self._process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the zygote is gone"
        return dict(json.loads(answer))

    def start(
        self, run_dir: Path, *, run_id: str | None = "5f0c000000000000", env: dict[str, str] | None = None, **options: Any
    ) -> Child:
        """Start rt_trainer on `run_dir`, checkpoints in `run_dir`/checkpoints; `options` are rt_trainer's."""
        self._starts += 1
        output = self._scratch / f"start-{self._starts:04d}"
        environment = {"TRAINYARD_RUN_DIR": str(run_dir), "TRAINYARD_CHECKPOINTS": str(run_dir / "checkpoints")}
        if run_id:
            environment["TRAINYARD_RUN_ID"] = run_id
        request = {"options": options, "env": {**environment, **(env or {})}, "output": str(output)}
        return Child(self, self.ask({"start": request})["pid"], output)

    def run(self, run_dir: Path, **options: Any) -> Ended:
        return self.start(run_dir, **options).wait()

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=DEADLINE_S)


@contextlib.contextmanager
def running_zygote(env: dict[str, str] | None = None) -> Iterator[Zygote]:
    with tempfile.TemporaryDirectory() as scratch:
        zygote = Zygote(Path(scratch), env)
        try:
            yield zygote
        finally:
            zygote.close()


def events(run_dir: Path, type: str | None = None) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "events.jsonl").read_text().splitlines()]
    return [line for line in lines if type is None or line["type"] == type]


# --- in the zygote -----------------------------------------------------------------------------------------------


def _child(request: dict[str, Any]) -> int:
    from tests.training import rt_trainer

    for descriptor, suffix in ((1, ".out"), (2, ".err")):
        os.dup2(os.open(request["output"] + suffix, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), descriptor)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for name, kind in request["options"].pop("streams", {}).items():
        break_stream(name, kind)
    for name in [name for name in os.environ if name.startswith("TRAINYARD_") and name != "TRAINYARD_TEST_SESSION"]:
        del os.environ[name]
    os.environ.update(request["env"])
    if "uid" in request["options"]:
        os.setgid(request["options"]["uid"])
        os.setuid(request["options"]["uid"])
    return exit_code_of(lambda: rt_trainer.main(request["options"]))


def break_stream(name: str, kind: str) -> None:
    """What a shell does to stdout or stderr: nothing (file), `| true` (pipe), `> /dev/full` (full), `>&-` (closed)."""
    descriptor = {"stdout": 1, "stderr": 2}[name]
    if kind == "pipe":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, descriptor)
    elif kind == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), descriptor)
    elif kind == "closed":
        os.close(descriptor)
        setattr(sys, name, None)  # as the interpreter itself begins then


def wait(pid: int, timeout_s: float) -> int:
    """Exit code of a child; one that does not end in time is killed, and that is a failure of the test: 124."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return 124


def serve() -> None:
    import torch

    from tests.training import rt_trainer

    torch.set_num_threads(1)  # no thread pool: a fork copies the calling thread only
    rt_trainer.make_things({})  # what torch imports at first use
    for line in sys.stdin:
        request = json.loads(line)
        if "start" in request:
            print(json.dumps({"pid": fork(_child, request["start"])}), flush=True)
        else:
            print(json.dumps({"code": wait(request["wait"], request["timeout_s"])}), flush=True)


if __name__ == "__main__":
    serve()
