"""moto's server and docker-registry as processes that die with this one."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

READY_S = 60.0
"""moto imports all its services; on a busy machine that takes long."""
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

REGISTRY_YAML = """\
version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
  maintenance: {{uploadpurging: {{enabled: false}}}}
http: {{addr: "127.0.0.1:{port}", relativeurls: true, secret: of-a-test}}
"""


def die_with_parent() -> None:
    """In the child, before exec: the kernel kills it when the thread that started it ends (prctl(2))."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def start(command: list[str], log: Path, **variables: str) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            env={**os.environ, **variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )


def start_moto(port: int, log: Path, endpoint: str) -> subprocess.Popen[bytes]:
    """`endpoint`: where its CloudFormation makes what moto itself cannot."""
    command = [sys.executable, "-m", "tests.components.aws.moto_server", "-H", "127.0.0.1", "-p", str(port)]
    return start(command, log, TRAINYARD_AWS_ENDPOINT=endpoint)


def start_registry(port: int, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    configuration = folder / "registry.yml"
    configuration.write_text(REGISTRY_YAML.format(folder=folder / "blobs", port=port))
    return start(["docker-registry", "serve", str(configuration)], log)


def wait_until_it_answers(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises RuntimeError with the end of its log."""
    deadline = time.monotonic() + READY_S
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"{process.args!r} does not answer at {url}: {words}") from None
        time.sleep(0.05)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(timeout=10)
