"""Jobs that really run: under torchrun, under local-runner, and as two nodes of trainyard.launch. One at a time, with a deadline."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from tests.doctor_corpus.bench import REPOSITORY, Bench
from tests.training.forking import WarmPopen, forking, skill_run

BIN = Path(sys.prefix) / "bin"
DEADLINE_S = 500.0
RUNNER = REPOSITORY / "skills" / "local-runner" / "src" / "run_local.py"


def environment(**more: str) -> dict[str, str]:
    """Of a job: a user's, who has this Python on the path."""
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    path = f"{BIN}:{os.environ['PATH']}"
    return {**kept, "PATH": path, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **forking(), **more}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def working_in(folder: Path) -> list[int]:
    """Living processes whose working folder this is: those of the job that was made there."""
    found = []
    for each in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.readlink(each / "cwd") == str(folder):
                found.append(int(each.name))
    return sorted(found)


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """The launcher, and the ranks, which have sessions of their own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for pid in working_in(folder):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def started(words: Sequence[str], log: Path, cwd: Path, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as out:
        # Forked with torch imported where that is possible: an import is 5 s of processor time, and each job would have five.
        process = WarmPopen(words, cwd=cwd, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            yield process
        finally:
            end(process, cwd)
            process.wait(timeout=60)


def finish(process: subprocess.Popen[bytes], during: Callable[[subprocess.Popen[bytes]], None] | None = None) -> int:
    """Its exit code. `during` runs beside it (it kills, stops, looks)."""
    if during is not None:
        threading.Thread(target=during, args=(process,), daemon=True).start()
    return process.wait(timeout=DEADLINE_S)


def torchrun(
    bench: Bench,
    script: str | Path,
    *args: str,
    procs: int = 4,
    flags: Sequence[str] = ("--standalone",),
    wrap: Sequence[str] = (),
    env: dict[str, str] | None = None,
    during: Callable[[subprocess.Popen[bytes]], None] | None = None,
    log: str = "out.log",
) -> Path:
    """The log of a torchrun on this machine; `wrap`: words before it (unshare, timeout)."""
    path = bench.work / log
    words = [
        *wrap,
        sys.executable,
        "-m",
        "torch.distributed.run",
        *flags,
        f"--nproc-per-node={procs}",
        str(bench.work / script),
        *args,
    ]
    with started(words, path, bench.work, environment(**(env or {}))) as process:
        finish(process, during)
    return path


def ranks(bench: Bench) -> dict[int, int]:
    """pid by rank of the job's living ranks: the lowest pid of a rank is not a worker of its loader."""
    found: dict[int, int] = {}
    for pid in working_in(bench.work):
        with contextlib.suppress(OSError, ValueError, KeyError):
            variables = dict(each.split("=", 1) for each in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in each)
            if "TORCHELASTIC_RUN_ID" in variables:
                found.setdefault(int(variables["RANK"]), pid)
    return found


def when_log_has(log: Path, text: str, limit_s: float = 400.0) -> None:
    deadline = time.monotonic() + limit_s
    while text.encode() not in (log.read_bytes() if log.exists() else b""):
        if time.monotonic() > deadline:
            return
        time.sleep(0.05)


def local(bench: Bench, *job: str, procs: int = 4, options: Sequence[str] = (), env: dict[str, str] | None = None) -> Path:
    """The run folder of a run by local-runner, which has ended or is left after its deadline."""
    folder = bench.work / ".trainyard" / "runs" / "pretrain"
    told = [
        f"--env={name}={value}"
        for name, value in {**forking(), "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1", **(env or {})}.items()
    ]
    words = [*("submit", "--run-dir", str(folder), "--procs", str(procs), "--python", sys.executable), *told, *options]
    call(bench, *words, "--", *job)
    return folder


def waited(bench: Bench, folder: Path) -> dict[str, object]:
    """runner.json of the run once it has ended; a run that does not end is stopped."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        answer: dict[str, object] = json.loads((folder / "runner.json").read_text())
        if answer["state"] in ("finished", "failed", "stopped"):
            return answer
        time.sleep(0.2)
    call(bench, "stop", str(folder), "--now")
    raise TimeoutError(f"{folder} did not end in {DEADLINE_S} s")


def call(bench: Bench, *words: str) -> str:
    """What local-runner's program printed."""
    done = skill_run(
        [sys.executable, str(RUNNER), *words],
        timeout=DEADLINE_S,
        cwd=bench.work,
        env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"},
    )
    if done.returncode:
        raise RuntimeError(f"run_local.py {words[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def two_nodes(
    bench: Bench,
    script: str | Path,
    *args: str,
    launcher: str = "torchrun",
    procs: int = 2,
    env: dict[str, str] | None = None,
    envs: tuple[dict[str, str], dict[str, str]] = ({}, {}),
    during: Callable[[subprocess.Popen[bytes]], None] | None = None,
    run_dir: Path | None = None,
) -> list[bytes]:
    """The logs of both nodes of a job that runs as two pods do: each its launcher, the second ended a while after the first."""
    port, logs = free_port(), [bench.work / f"node-{node}.log" for node in (0, 1)]
    with contextlib.ExitStack() as stack:
        processes = []
        for node, log in enumerate(logs):
            own = {"PET_NNODES": "2", "PET_NODE_RANK": str(node), "PET_NPROC_PER_NODE": str(procs), "MASTER_ADDR": "127.0.0.1"}
            own |= {"MASTER_PORT": str(port), "PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": str(port)}
            if launcher == "launch":
                folder = run_dir or bench.work / "run"
                own |= {"TRAINYARD_RUN_ID": "5f0c3a1be2d94477", "TRAINYARD_RUN_DIR": str(folder), "TRAINYARD_MAX_RESTARTS": "0"}
                own |= {"TRAINYARD_CHECKPOINTS": str(folder / "checkpoints"), "TRAINYARD_STOP_GRACE_S": "10"}
                words = [sys.executable, "-m", "trainyard.launch", str(bench.work / script), *args]
            else:
                words = [sys.executable, "-m", "torch.distributed.run", str(bench.work / script), *args]
            processes.append(
                stack.enter_context(started(words, log, bench.work, environment(**own, **(env or {}), **envs[node])))
            )
        finish(processes[0], during)
        with contextlib.suppress(subprocess.TimeoutExpired):
            processes[1].wait(timeout=30)
    return [log.read_bytes() for log in logs]
