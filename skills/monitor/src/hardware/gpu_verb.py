"""`gpu`: use, memory, temperature, ECC and throttling of the GPUs of a job, from the best source there is."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import trainyard_shell as shell
from hardware.dcgm_series import Whose, look_at_dcgm
from hardware.gpu_checks import gpu_checks
from hardware.gpu_facts import Seen
from hardware.net_sources import STDIN, recorded
from hardware.prometheus_asking import at_address
from hardware.smi_asking import on_this_machine, watched
from hardware.smi_output import read_smi
from log_reading.source import refuse_compressed
from run_folder.folder import open_run_folder
from trainyard_files import Unusable, open_regular

if TYPE_CHECKING:
    from typing import BinaryIO

MAX_TEXT = 16 << 20
HERE = ("here", "all")
"""This machine; every GPU that a Prometheus knows."""


@dataclass(frozen=True)
class Asked:
    """The options of the verb."""

    prometheus: str | None
    watch_s: float
    interval_s: float
    expected: int | None
    limit: int


def check_gpu_utilization(run: str, asked: Asked) -> shell.Result:
    """RUN: one of HERE, a run folder of this machine, or what nvidia-smi printed (a file, or - for stdin)."""
    if run == STDIN or Path(run).is_file():
        return gpu_result(_printed(run, asked.expected), asked.limit)
    expected, backend = asked.expected, None
    if run == "all" and not asked.prometheus:
        raise shell.SkillError("usage", "`all` needs --prometheus", hint="gpu here; gpu all --prometheus http://HOST:9090")
    if run not in HERE:
        world, backend = recorded(open_run_folder(run))
        expected = expected or (world if backend and "nccl" in backend else None)
    if backend is not None and "nccl" not in backend and not asked.prometheus:
        check = shell.Check("gpu.data", "skipped", f"the job's backend is {shell.clean(backend, 40)}: it trains without GPUs")
        return shell.Result({"source": None, "expected": None, "total": 0, "gpus": []}, [check])
    if asked.prometheus:
        nodes = frozenset[str]() if run == "all" else frozenset((socket.gethostname(),))
        return gpu_result(look_at_dcgm(at_address(asked.prometheus), Whose(nodes=nodes, expected=expected)), asked.limit)
    return gpu_result(_here(asked, expected), asked.limit)


def gpu_result(seen: Seen, limit: int) -> shell.Result:
    """The document: GPUs that are idle or broken first."""
    order = sorted(seen.gpus, key=lambda gpu: (not gpu.broken, -(gpu.idle_s or 0)))
    data = {
        "source": seen.source,
        "expected": seen.expected,
        "total": len(seen.gpus),
        "gpus": [gpu.data() for gpu in order[:limit]],
    }
    return shell.Result(data, gpu_checks(seen), truncated=len(seen.gpus) > limit)


def _here(asked: Asked, expected: int | None) -> Seen:
    here = socket.gethostname()
    seen = watched({here: on_this_machine}, watch_s=asked.watch_s, interval_s=asked.interval_s, expected=expected)
    return replace(
        seen, hint="nvidia-smi on the machine that runs the job; --prometheus URL; -n NAMESPACE for a job on a cluster"
    )


def _printed(text: str, expected: int | None) -> Seen:
    """One moment that somebody else has asked for. Raises SkillError usage, permission."""
    if text == STDIN:
        return _read(sys.stdin.buffer, "stdin", expected)
    path = Path(text)
    refuse_compressed(path)
    try:
        with open_regular(path) as file:
            return _read(file, path.name, expected)
    except Unusable as error:
        raise shell.SkillError("usage", str(error), hint=f"ls -l {text}") from error
    except OSError as error:
        raise shell.SkillError("permission", f"{text} cannot be read: {error.strerror}", hint=f"ls -l {text}") from error


def _read(file: BinaryIO, name: str, expected: int | None) -> Seen:
    gpus, lost, others = read_smi(file.read(MAX_TEXT).decode("utf-8", "replace"), name)
    busy = [replace(gpu, idle_s=None if gpu.use_percent is None else 0.0) for gpu in gpus]
    problems = (
        [] if gpus or lost else others or [f"{name}: no table of nvidia-smi --query-gpu=... --format=csv (with its header)"]
    )
    return Seen(busy, "nvidia-smi's output", problems, lost, expected)
