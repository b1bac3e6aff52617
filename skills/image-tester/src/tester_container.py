"""The way of running here: one unprivileged container of the local Docker, which is gone afterwards whatever happens."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import tester_owner
import trainyard_docker
import trainyard_shell as shell
from tester_inspect import State, state_of
from trainyard_docker import Docker

MAX_OUTPUT_BYTES = 8 << 20
MAX_ERROR_BYTES = 64 << 10
IMAGES_FAULT = re.compile(r'exec: "|exec format error|unable to find (?:user|group)|no matching entries|not a directory')
"""In a daemon's refusal: what only another image cures."""
REAPER = Path(__file__).with_name("tester_reaper.py")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the container may use."""

    memory_bytes: int
    pids: int
    shm_bytes: int
    timeout_s: float
    network: bool = False
    gpus: str | None = None
    read_only: bool = True


@dataclass
class Ran:
    """A container that has ended."""

    output: bytes = b""
    error: str = ""
    """stderr: the daemon's refusal, or text of the image."""
    why: str = ""
    """timeout, flooded: it was ended for that; empty: it ended by itself."""
    state: State = field(default_factory=State)


def words(image: str, python: str, limits: Limits, labels: dict[str, str]) -> list[str]:
    """The words of `docker create`. Nothing of this machine is mounted, and `localhost` resolves: torchrun waits ten minutes otherwise."""
    memory = str(limits.memory_bytes)
    found = ["create", "--interactive", "--pull=never", f"--entrypoint={python}", "--hostname=localhost", "--no-healthcheck"]
    found += ["--cap-drop=ALL", "--security-opt=no-new-privileges", "--log-driver=none", "--ulimit=core=0"]
    found += [f"--memory={memory}", f"--memory-swap={memory}", f"--pids-limit={limits.pids}", f"--shm-size={limits.shm_bytes}"]
    # exec: compiled kernels are loaded from there
    found += [f"--tmpfs=/tmp:rw,exec,nosuid,nodev,mode=1777,size={limits.memory_bytes // 2}"]
    found += [] if limits.network else ["--network=none"]
    found += ["--read-only"] if limits.read_only else []
    found += [f"--gpus={limits.gpus}"] if limits.gpus else []
    for name, value in labels.items():
        found.append(f"--label={name}={value}")
    return [*found, image, "-I", "-S", "-u", "-"]


def run(docker: Docker, image: str, python: str, text: str, limits: Limits) -> Ran:
    """Runs `text` with the image's `python`. Raises SkillError: unreachable, timeout, usage (what the daemon refuses)."""
    token = secrets.token_hex(16)
    reaper = _reaper(docker, token)
    try:
        made = trainyard_docker.run(docker.program, *words(image, python, limits, tester_owner.labels(token)), timeout_s=60)
        if made.code:
            raise _refused(made)
        container = made.out.strip().splitlines()[-1]
        ran = _attached(docker, container, text.encode("ascii"), limits.timeout_s)
        ran.state = state_of(docker, container)
        if fault := fault_of_the_host(ran):
            raise fault
    finally:
        # On any way out but a kill; after that the reaper finds its pipe at its end.
        remove(docker, tester_owner.of_token(docker, token))
        _dismiss(reaper)
    return ran


def fault_of_the_host(ran: Ran) -> shell.SkillError | None:
    """What the daemon could not give the container; None where it began, or where what it lacks is the image's."""
    said = ran.error or ran.state.error
    if ran.output or "Error response from daemon" not in said or IMAGES_FAULT.search(said):
        return None
    if "capabilities: [[gpu]]" in said:
        hint = "install NVIDIA's container toolkit (`docker run --gpus all` shows whether it works); or test without --gpus"
        return shell.SkillError("usage", f"this Docker has no GPU for a container: {said}", hint=hint)
    message = f"Docker could not start the container, which says nothing about the image: {said}"
    return shell.SkillError(
        "unreachable", message, hint="`docker info`, `docker system df`; then the same call", retryable=True
    )


def remove(docker: Docker, containers: list[str]) -> None:
    """With the anonymous volumes that the image declares. Raises SkillError unreachable where one stays."""
    if not containers:
        return
    done = trainyard_docker.run(docker.program, "rm", "--force", "--volumes", *containers, timeout_s=60)
    if done.code and "No such container" not in done.err:
        message = f"a container of the test cannot be removed: {shell.clean(done.err.strip()[-300:])}"
        raise shell.SkillError("unreachable", message, hint="test_image.py clean", retryable=True)


def _refused(made: trainyard_docker.Done) -> shell.SkillError:
    said = shell.clean(made.err.strip()[-600:])
    if "Cannot connect to the Docker daemon" in said or "permission denied" in said.lower():
        return trainyard_docker.no_daemon(made)
    if "no space left" in said.lower():
        return shell.SkillError("unreachable", f"Docker's disk is full: {said}", hint="docker system df; docker system prune")
    return shell.SkillError(
        "usage", f"Docker refuses the container: {said}", hint="--memory, --pids, --shm or --gpus; `docker info`"
    )


def _reaper(docker: Docker, token: str) -> subprocess.Popen[bytes]:
    """A process of its own session that removes the container when this one is gone."""
    command = [sys.executable, "-I", str(REAPER), docker.program, f"{tester_owner.TOKEN}={token}"]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )


def _dismiss(reaper: subprocess.Popen[bytes]) -> None:
    assert reaper.stdin
    try:
        reaper.stdin.write(b"done")
        reaper.stdin.close()
        reaper.wait(timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        pass  # it ends by itself within its deadline


def _attached(docker: Docker, container: str, text: bytes, timeout_s: float) -> Ran:
    """Starts it, sends the text, reads until its end, the deadline or too much."""
    command = [docker.program, "start", "--attach", "--interactive", container]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdin and process.stdout and process.stderr
    os.set_blocking(process.stdin.fileno(), False)
    try:
        ran = _exchange(process, text, time.monotonic() + timeout_s)
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdout, process.stderr):
            stream.close()
        _close(process.stdin)
    return ran


def _exchange(process: subprocess.Popen[bytes], text: bytes, deadline: float) -> Ran:
    assert process.stdin and process.stdout and process.stderr
    ran, error = Ran(), b""
    reading: list[IO[bytes]] = [process.stdout, process.stderr]
    while reading:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            ran.why = "timeout"
            break
        ready, free, _ = select.select(reading, [process.stdin] if text else [], [], min(left_s, 1.0))
        if free:
            text = _send(process.stdin, text)
        for stream in ready:
            data = os.read(stream.fileno(), 65536)
            if not data:
                reading.remove(stream)
            elif stream is process.stdout:
                ran.output += data
            else:
                error = (error + data)[-MAX_ERROR_BYTES:]
        if len(ran.output) > MAX_OUTPUT_BYTES:
            ran.why = "flooded"
            break
    ran.error = shell.clean(error.decode("utf-8", "replace").strip()[-4000:], 4000)
    return ran


def _send(stdin: IO[bytes], text: bytes) -> bytes:
    """What is left to send; at the end, and where nobody reads, the pipe is closed."""
    try:
        text = text[os.write(stdin.fileno(), text) :]
    except BlockingIOError:
        return text
    except OSError:
        text = b""
    if not text:
        _close(stdin)
    return text


def _close(stream: IO[bytes]) -> None:
    with contextlib.suppress(OSError):
        stream.close()
