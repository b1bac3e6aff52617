"""This process among others: who it is, whose child it is, and its place in the job."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
import signal
import socket
import sys
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from trainyard import fresh_store
from trainyard.flight import dump_when_asked
from trainyard.speaking import guard
from trainyard.stacks import print_when_asked

PR_SET_PDEATHSIG = 1
GLOO_THREAD = "pt_gloo_runloop"


def boot_id() -> str:
    """Id of this boot of the machine; "" where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot (field 22 of /proc/<pid>/stat, see proc(5)); None when there is none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def process_started() -> float:
    """Wall time at which this process began, from its start in ticks since boot; where the kernel does not say: now."""
    ticks = start_time(os.getpid())
    if ticks is None or not boot_id():
        return time.time()
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))


def identity() -> dict[str, Any]:
    """What names this process for good: a reused pid has another start time, a rebooted host another boot id."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "boot_id": boot_id(), "pid": pid, "start_time": start_time(pid)}


def is_alive(who: dict[str, Any]) -> bool | None:
    """True or False for a process of this host; None for one of another host, about which nothing is known here."""
    if who.get("host") != socket.gethostname():
        return None
    return who.get("boot_id") == boot_id() and start_time(who["pid"]) == who["start_time"]


def die_with_parent() -> None:
    """SIGKILL this process when its launcher dies (prctl(2) PR_SET_PDEATHSIG).

    torchrun starts every worker in a session of its own, so a killed launcher leaves them training. The launcher may
    already be gone when this runs: then the parent is no longer a process of this run, and there is nothing to live for.
    """
    run_id = os.environ.get("TRAINYARD_RUN_ID")
    if not sys.platform.startswith("linux") or not run_id:
        return
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return  # a child of the supervisor itself, which ends what is left of a run when it starts again
    try:
        parents = Path(f"/proc/{os.getppid()}/environ").read_bytes().split(b"\0")
    except OSError:
        return  # another user's process: not ours to judge
    if f"TRAINYARD_RUN_ID={run_id}".encode() not in parents:
        sys.exit("trainyard: the launcher of this worker is gone; leaving")


@functools.cache
def leave_after_gloo() -> None:
    """Make this process wait at its exit until gloo has let go of its last tensors.

    A thread of gloo drops the tensors of a collective only after the collective has returned. Where the interpreter is ending
    by then, torch aborts the process (SIGABRT, pytorch/pytorch issue 190489): a rank that has finished counts as failed. Seen
    in 3 of 24 runs of four ranks on two busy cores; destroying the process group does not help while FSDP still holds it.
    """
    atexit.register(_wait_for_gloo)


def _wait_for_gloo(bound_s: float = 10.0) -> None:
    deadline, quiet = time.monotonic() + bound_s, 0
    while quiet < 3 and time.monotonic() < deadline:
        time.sleep(0.01)  # also hands the interpreter to a thread that waits for it
        quiet = 0 if _gloo_works() else quiet + 1


def _gloo_works() -> bool:
    """Whether one of gloo's threads is at work, and not asleep until there is some (proc(5), /proc/<pid>/task)."""
    for thread in Path("/proc/self/task").glob("*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            name, _, rest = thread.read_text().partition("(")[2].rpartition(")")
            if name == GLOO_THREAD and rest.split()[0] != "S":
                return True
    return False


@dataclass(frozen=True)
class World:
    """This process's place in the job."""

    rank: int
    world_size: int
    local_rank: int
    device: torch.device


def init_distributed(*, timeout_s: float = 300.0, process_group: bool | None = None) -> World:
    """Join the job that torchrun's environment describes: NCCL where there are GPUs, gloo otherwise.

    `process_group` None starts one only where there is more than one process; True also for a single one (FSDP2 wants it).
    """
    guard()
    die_with_parent()
    print_when_asked()
    dump_when_asked()
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    leave_after_gloo()
    if (process_group or (process_group is None and size > 1)) and not dist.is_initialized():
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        timeout = timedelta(seconds=timeout_s)
        if "MASTER_ADDR" in os.environ:
            store, _, _ = next(rendezvous("env://", timeout=timeout))
            if fresh_store.is_kept_over_restarts():
                store = fresh_store.of_this_start(store, rank, size, timeout_s)
            dist.init_process_group(backend, timeout=timeout, store=store, rank=rank, world_size=size)
        else:  # started by hand, alone: a store in this process
            dist.init_process_group(
                backend, timeout=timeout, store=torch._C._distributed_c10d.HashStore(), rank=0, world_size=1
            )
    return World(rank, size, local_rank, device)
