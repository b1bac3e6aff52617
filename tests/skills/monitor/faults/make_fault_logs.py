"""Makes logs/*.log: each the log of a small torchrun that really failed in that way. `python make_fault_logs.py [NAME ...]`

The guilty rank is the last one of three. Paths of this machine are made neutral; nothing else is changed.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
FAULTS = [
    "killed",
    "segfault",
    "abort",
    "bus-error",
    "assertion",
    "script-error",
    "left",
    "exit-3",
    "missing",
    "stopped",
    "other-shape",
    "other-collective",
    "memory",
    "host-memory-error",
    "disk-full",
    "read-only",
    "checkpoint-mismatch",
    "checkpoint-damaged",
    "refused",
    "name",
    "loader-killed",
    "loader-bus",
    "loader-left",
    "loader-error",
    "bad-option",
    "module-missing",
    "file-missing",
    "nan",
    "handled",
    "healthy",
]
LAUNCHER = ("port-in-use", "rendezvous-timeout", "rendezvous-name", "rendezvous-refused", "no-script")
RANKS, DEADLINE_S, MAX_BYTES = 3, 1500, 19_000


def run(words: list[str], deadline_s: float = DEADLINE_S) -> str:
    command = [sys.executable, "-m", "torch.distributed.run", *words]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment, start_new_session=True
    ) as process:
        try:
            said, _ = process.communicate(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            said, _ = process.communicate()
    return said.decode(errors="replace")


def of_job(fault: str) -> str:
    return run(["--standalone", "--nproc-per-node", str(RANKS), str(HERE / "faulty_job.py"), fault, str(RANKS - 1)])


def of_launcher(fault: str) -> str:
    job = [str(HERE / "faulty_job.py"), "healthy", "2"]
    if fault == "port-in-use":
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            return run(["--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port", port, *job])
    if fault == "no-script":
        return run(["--standalone", "--nproc-per-node", "2", "/work/nobody/train.py"])
    host = "worker-0.nobody.invalid" if fault == "rendezvous-name" else "127.0.0.1"
    words = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"{host}:29987"]
    if fault == "rendezvous-refused":
        words = ["--nnodes", "2", "--node-rank", "1", "--master-addr", "127.0.0.1", "--master-port", "29988"]
    conf = ["--rdzv-conf", "join_timeout=5,timeout=5,read_timeout=5"]
    return run([*words, *conf, *job])


def neutral(text: str) -> str:
    text = text.replace(f"{HERE}/faulty_job.py", "/app/train.py").replace(str(HERE), "/app")
    text = re.sub(r"/\S+?/lib/python3[.\d]*/(site-packages/)?", lambda found: f"/usr/lib/python3/{found[1] or ''}", text)
    text = re.sub(r"/\S+?/bin/python3?[.\d]*", "/usr/bin/python", text)
    host = re.escape(socket.gethostname())
    return re.sub(host, "node-a", text)


def main() -> None:
    names = sys.argv[1:] or [*FAULTS, *LAUNCHER]
    for name in names:
        text = neutral(of_launcher(name) if name in LAUNCHER else of_job(name))
        half = MAX_BYTES // 2
        if len(text) > MAX_BYTES:
            text = f"{text[:half]}\n[... {len(text) - 2 * half} bytes left out ...]\n{text[-half:]}"
        (HERE / "logs" / f"{name}.log").write_text(text)
        print(name, len(text), flush=True)


if __name__ == "__main__":
    main()
