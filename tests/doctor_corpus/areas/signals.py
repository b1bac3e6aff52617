"""Ranks that the kernel or somebody ends: out of memory, SIGKILL, segmentation fault, bus error."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.doctor_corpus.bench import Bench
from tests.doctor_corpus.kube import Fleet
from tests.doctor_corpus.launching import end, local, torchrun, two_nodes, waited, working_in
from tests.doctor_corpus.truth import case

AGAIN = ("RESTART_ELSEWHERE",)
MEMORY = Path("/sys/fs/cgroup/memory")
"""Version 1; the same limit is memory.max in version 2."""


@contextmanager
def memory_limit(mebibytes: int) -> Iterator[Path]:
    """A memory cgroup; what is in its cgroup.procs shares the limit."""
    two = (Path("/sys/fs/cgroup") / "cgroup.controllers").exists()
    group = (Path("/sys/fs/cgroup") if two else MEMORY) / f"kubepods-burstable-pod{os.getpid()}"
    group.mkdir()
    (group / ("memory.max" if two else "memory.limit_in_bytes")).write_text(str(mebibytes << 20))
    try:
        yield group
    finally:
        for pid in (group / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.5)
        group.rmdir()


def kernel_lines(group: Path) -> list[str]:
    """What the kernel said about this cgroup, without the table of its processes."""
    lines = subprocess.run(["dmesg"], capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
    name = re.escape(group.name)
    last = max((i for i, line in enumerate(lines) if re.search(name, line)), default=-1)
    first = max((i for i, line in enumerate(lines[: last + 1]) if "invoked oom-killer" in line), default=last)
    return [line for line in lines[first : last + 3] if re.search(r"oom|Memory cgroup|Killed process|memory: usage", line)]


def confine(bench: Bench, group: Path) -> None:
    """All processes of the job, until its ranks train."""
    deadline = time.monotonic() + 400
    while time.monotonic() < deadline:
        begun = b"step " in (bench.work / "out.log").read_bytes()
        for pid in working_in(bench.work):
            with suppress(OSError):
                (group / "cgroup.procs").write_text(str(pid))
        if begun:
            return
        time.sleep(0.2)


GROW = 'if step > 14 and rank == 2: kept = globals().setdefault("cache", []); kept.append(torch.ones(32_000_000))'


@case(
    "out-of-memory-one-rank-kernel-log",
    cause="host-oom",
    rank=2,
    restart="RESTART",
    also_restart=("STOP", *AGAIN),
    proof="(?i)killed process|out of memory",
)
def oom(bench: Bench) -> None:
    """Rank 2's cache grows to the cgroup's limit, and the kernel kills it; kernel.log has the pid that torchrun names."""
    bench.script("plain", step=GROW)
    with memory_limit(1400) as group:
        log = torchrun(bench, "train.py", during=lambda _: confine(bench, group)).read_bytes()
        bench.write("kernel.log", "\n".join(kernel_lines(group)) + "\n")
    bench.pods([log], procs=4)


@case(
    "out-of-memory-container",
    cause="host-oom",
    rank="any",
    also_rank=("all", 0, 1, 2, 3),
    restart="RESTART",
    also_restart=("STOP", *AGAIN),
    proof="OOMKilled",
)
def oom_container(bench: Bench) -> None:
    """The same, and all of the container is killed with it, as kubelets with cgroup v2 do; the log ends in the middle."""
    bench.script("plain", step=GROW)
    with memory_limit(1400) as group:

        def confined(process: subprocess.Popen[bytes]) -> None:
            confine(bench, group)
            while process.poll() is None and not kernel_lines(group):
                time.sleep(0.3)
            end(process, bench.work)

        log = torchrun(bench, "train.py", during=confined).read_bytes()
    log = re.split(rb"(?m)^.*(?:Traceback|closing signal)", log)[0]
    fleet = Fleet(bench, nodes=1, procs=4, job="pretrain")
    fleet.logs[0] = bench.in_container(log, "pretrain-master-0").decode(errors="replace").splitlines()
    fleet.ended(0, 137, "OOMKilled", after=400)
    fleet.write()


@case("killed-without-proof", cause="killed", rank=2, restart="RESTART", also_restart=AGAIN, proof="SIGKILL")
def killed(bench: Bench) -> None:
    """Somebody kills rank 2; nothing tells who."""
    bench.script("plain", step="if step == 18 and rank == 2: os.kill(os.getpid(), 9)")
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case("killed-second-pod", cause="killed", rank=3, restart="RESTART", also_restart=AGAIN, proof="SIGKILL")
def killed_pod(bench: Bench) -> None:
    """The same for rank 3 in the second of two pods under our launcher."""
    bench.script("ranked", loop="if step == 14 and self.rank == 3: os.kill(os.getpid(), 9)")
    bench.pods(two_nodes(bench, "train.py", launcher="launch"))


@case(
    "segfault-with-faulthandler",
    cause="segfault",
    rank=1,
    restart="RESTART",
    also_restart=(*AGAIN, "STOP"),
    proof="Segmentation fault|SIGSEGV",
)
def segfault(bench: Bench) -> None:
    """A C extension of rank 1 reads address 0; faulthandler prints the stack."""
    bench.script(
        "ranked",
        imports="import ctypes\nimport faulthandler\nfaulthandler.enable()",
        loop="if step == 11 and self.rank == 1: ctypes.string_at(0)",
    )
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case("segfault-silent", cause="segfault", rank=3, restart="RESTART", also_restart=(*AGAIN, "STOP"), proof="SIGSEGV")
def segfault_silent(bench: Bench) -> None:
    """Rank 3 dies of SIGSEGV without a word; a run of local-runner without restarts."""
    bench.script("plain", imports="import ctypes", step="if step == 9 and rank == 3: ctypes.string_at(0)")
    folder = local(bench, "torchrun", "train.py", options=("--max-restarts", "0"))
    waited(bench, folder)
    bench.keep_run(folder, bare=True)


@case(
    "bus-error-truncated-file",
    cause="bus-error",
    rank=2,
    restart="RESTART",
    also_restart=("STOP", *AGAIN),
    proof="SIGBUS|Bus error",
)
def bus_error(bench: Bench) -> None:
    """A mapped token file is truncated under rank 2."""
    setup = 'global tokens\nif RANK == 2:\n    open("tokens.bin", "wb").write(bytes(1 << 20))\n    tokens = numpy.memmap("tokens.bin", dtype="uint16", mode="r")'
    bench.script(
        "caught",
        imports="import numpy",
        setup=setup,
        step='if iteration == 20 and RANK == 2:\n    os.truncate("tokens.bin", 0)\n    tokens[400000:].sum()',
    )
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case(
    "rank-exit-code-without-word",
    cause="script-error",
    also=("unknown",),
    rank=1,
    restart="RESTART",
    also_restart=("STOP",),
    proof="exitcode  : 7",
)
def exit_code(bench: Bench) -> None:
    """Rank 1 leaves with 7 and says nothing."""
    bench.script("plain", step="if step == 22 and rank == 1: os._exit(7)")
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case("killed-after-megabytes", cause="killed", rank=1, restart="RESTART", also_restart=AGAIN, proof="SIGKILL")
def long_log(bench: Bench) -> None:
    """Megabytes of lines of all ranks before rank 1 is killed."""
    talk = 'for shard in range(300): print(f"rank {RANK} iteration {iteration} shard {shard:04d} loaded 65536 tokens, no error, retries 0, cache hit ratio 0.{shard % 97:02d}, queue depth {shard % 7}")'
    bench.script("caught", step=f"{talk}\nif iteration == 38 and RANK == 1: os.kill(os.getpid(), 9)")
    bench.write("train.log", torchrun(bench, "train.py").read_bytes())


@case("kill-in-third-attempt", cause="killed", rank=0, restart="RESTART", also_restart=AGAIN, proof="SIGKILL")
def three_attempts(bench: Bench) -> None:
    """A run of local-runner in which a rank is killed at another step in each attempt; the last one was rank 0."""
    kill = 'attempt = int(os.environ["TRAINYARD_ATTEMPT"])\nif step == 8 + 5 * attempt and rank == (2, 0)[attempt]: os.kill(os.getpid(), 9)'
    bench.script("plain", step=kill)
    folder = local(bench, "torchrun", "train.py", options=("--max-restarts", "1", "--backoff-s", "0"))
    waited(bench, folder)
    bench.keep_run(folder)
