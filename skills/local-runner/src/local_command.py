"""From the command as written to the program that is started: its launcher, the topology, the environment.

Standard library only: the supervisor uses it too.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trainyard_launchers as launchers
from local_spec import Spec
from trainyard_launchers import ACCELERATE, DEEPSPEED, PYTHON, TORCHRUN, Launcher

INSTEAD = {
    launchers.PROCS: "use --procs N, before the --",
    launchers.RESTARTS: "use --max-restarts N, before the --",
    launchers.GRACE: "use --stop-grace-s S, before the --",
    launchers.DEVICES: "use --procs N, and CUDA_VISIBLE_DEVICES in the environment",
    launchers.ALONE: "leave it out: a local run is one machine with its own rendezvous",
    launchers.TUNING: "tune by hand, and train here with what it found",
}
SWITCH = "TORCH_DISABLE_SHARE_RDZV_TCP_STORE"
OURS = ("TRAINYARD_RUN_ID", "TRAINYARD_RUN_DIR", "TRAINYARD_CHECKPOINTS", "TRAINYARD_ATTEMPT")
# What a launcher above us may have left in the environment would be taken for our topology.
LEFTOVER = re.compile(
    r"(PET_|TORCHELASTIC_|TORCH_ELASTIC_).*|((LOCAL|GROUP|ROLE)_)?(RANK|WORLD_SIZE)|ROLE_NAME|MASTER_(ADDR|PORT)|PYTHON_EXEC"
)


class CommandError(ValueError):
    """The command cannot be run here. `hint` says what to write instead."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Command:
    """A command, understood."""

    launcher: Launcher | None
    head: list[str]
    """The words that name the launcher; without one the first word."""
    rest: list[str]
    script: str | None
    """The Python file that must exist; None where there is none to look for."""


def understand(words: list[str]) -> Command:
    """Raises CommandError for topology that belongs into this program's own options."""
    found = launchers.find_launcher(words)
    if found is None:
        is_script = len(words) > 1 and PYTHON.fullmatch(os.path.basename(words[0])) and words[1].endswith(".py")
        return Command(None, words[:1], words[1:], words[1] if is_script else None)
    launcher, length = found
    rest = words[length:]
    try:
        position, options = launcher.script_position(rest)
    except launchers.LauncherError as error:
        raise _refusal(error, launcher) from error
    script = rest[position] if launcher.names_file(rest[position], options) else None
    return Command(launcher, words[:length], rest, script)


def _refusal(error: launchers.LauncherError, launcher: Launcher) -> CommandError:
    if error.decides:
        return CommandError(f"{error.option} in the command: the runner sets the topology", INSTEAD[error.decides])
    if error.option:
        hint = (
            f"it may mean {', '.join(error.meant)}" if error.meant else "the training script comes first, its options after it"
        )
        return CommandError(str(error), hint)
    return CommandError(str(error), f"-- {launcher.name} train.py")


def gpus(environ: Mapping[str, str]) -> int:
    """Accelerators a job would see, without importing torch; 0 when there are none."""
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    devices = [path for path in Path("/dev").glob("nvidia[0-9]*") if path.name[6:].isdigit()]
    if visible is None:
        return len(devices)
    return min(len(devices), len([item for item in visible.split(",") if item.strip() not in ("", "-1")]))


def processes(spec: Spec, environ: Mapping[str, str]) -> int:
    return spec.procs or max(1, gpus({**environ, **spec.env}))


def reserved(name: str) -> bool:
    """Variables that the runner sets itself."""
    return name in OURS or LEFTOVER.fullmatch(name) is not None


def arguments(spec: Spec, environ: Mapping[str, str]) -> list[str]:
    """The argument list; `python` as first word means the job's own Python, and so does a launcher named without a folder."""
    command = understand(spec.command)
    head, rest = command.head, command.rest
    python = head[0] if os.sep in head[0] else spec.python
    if command.launcher is TORCHRUN:
        module = launchers.python_module(head)
        if module is None:
            return [head[0], *rest] if os.sep in head[0] else [python, "-m", "torch.distributed.run", *rest]
        named = "torch.distributed.run" if module[1] == "trainyard.launch" else module[1]
        return [python, *head[1:-1], named, *rest]
    if command.launcher is ACCELERATE:
        return [
            _python_of(head, spec),
            str(Path(__file__).with_name("local_accelerate.py")),
            str(processes(spec, environ)),
            *rest,
        ]
    if command.launcher is DEEPSPEED:
        return [_python_of(head, spec), "-u", "-m", "deepspeed.launcher.launch", *_deepspeed(spec, environ), *rest]
    return [spec.python if head[0] in ("python", "python3") else head[0], *rest]


def _python_of(head: list[str], spec: Spec) -> str:
    """The Python that a launcher belongs to: the one named, the one beside the program, or the job's."""
    if os.sep not in head[0]:
        return spec.python
    return head[0] if PYTHON.fullmatch(os.path.basename(head[0])) else os.path.join(os.path.dirname(head[0]), "python")


def _deepspeed(spec: Spec, environ: Mapping[str, str]) -> list[str]:
    """What deepspeed's own program would tell the part of it that starts the ranks of one machine (deepspeed/launcher/runner.py).

    Without that program: no hostfile, no ssh, and no parent between the supervisor and the ranks' launcher, which a stop would end
    before the ranks have saved. A free port for each start.
    """
    visible = {**environ, **spec.env}.get("CUDA_VISIBLE_DEVICES")
    count = processes(spec, environ)
    named = [item.strip() for item in (visible or "").split(",") if item.strip()][:count]
    devices = [int(item) if item.isdigit() else item for item in named] if len(named) == count else list(range(count))
    world = base64.urlsafe_b64encode(json.dumps({"localhost": devices}).encode()).decode()
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return [f"--world_info={world}", "--master_addr=127.0.0.1", f"--master_port={port}"]


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment without another run's or launcher's variables."""
    return {name: value for name, value in environ.items() if not reserved(name)}


def job_environment(spec: Spec, environ: Mapping[str, str], *, run_dir: Path, attempt: int) -> dict[str, str]:
    """What the runner adds to `environ`; the user's own values win where they may."""
    procs = processes(spec, environ)
    added = {
        "TRAINYARD_RUN_ID": spec.run_id,
        "TRAINYARD_RUN_DIR": str(run_dir),
        "TRAINYARD_CHECKPOINTS": spec.checkpoints,
        "TRAINYARD_ATTEMPT": str(attempt),
    }
    defaults = {
        "PYTHONUNBUFFERED": "1",  # a log that ends in mid-air tells nothing
        "GLOO_SOCKET_IFNAME": "lo",  # gloo hangs where the host name resolves to a bridge or VPN
        "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // procs)),
    }
    added |= {name: value for name, value in defaults.items() if name not in environ}
    added |= _path(spec, environ)
    launcher = understand(spec.command).launcher
    if launcher in (TORCHRUN, ACCELERATE):
        added |= _topology(procs, spec.stop_grace_s)
    if launcher is None:  # it may start a torchrun of its own; ranks restarted inside that would find the addresses of the dead
        added.setdefault(SWITCH, environ.get(SWITCH, "1"))
    return added | spec.env


def _path(spec: Spec, environ: Mapping[str, str]) -> dict[str, str]:
    """With the programs of the job's Python (wandb, ninja, pip): a script calls them by their names, as in an activated environment."""
    own, folders = os.path.dirname(spec.python), environ.get("PATH", "").split(os.pathsep)
    return {} if not own or own in folders else {"PATH": os.pathsep.join([own, *filter(None, folders)])}


def _topology(procs: int, stop_grace_s: float) -> dict[str, str]:
    return {
        "PET_NNODES": "1",
        "PET_NPROC_PER_NODE": str(procs),
        "PET_STANDALONE": "1",  # c10d on localhost:0, a fresh rendezvous id for each start
        "PET_LOCAL_ADDR": "127.0.0.1",
        "PET_MAX_RESTARTS": "0",  # a restart is another attempt: decision 0014
        # torchrun must have killed its workers before the grace ends; whole seconds, 0 is allowed
        "PET_SHUTDOWN_TIMEOUT": str(int(stop_grace_s * 0.8)),
    }
