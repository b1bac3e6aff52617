"""From the command as written to the program that is started: torchrun's options, the topology, the environment.

Standard library only: the supervisor uses it too.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_spec import Spec

# torchrun's own options (torch/distributed/run.py); argparse accepts each in short, so we must as well.
FLAGS = {"--module", "--no-python", "--run-path", "--virtual-local-rank"}
VALUES = {
    "--monitor-interval", "--start-method", "--event-log-handler", "--role", "--log-dir", "--redirects", "--tee",
    "--log-line-prefix-template", "--local-ranks-filter", "--duplicate-stdout-filters", "--duplicate-stderr-filters",
    "--logs-specs", "--numa-binding", "--signals-to-handle",
}  # fmt: skip
SHORT = {"-m": "--module", "-r": "--redirects", "-t": "--tee"}
LEAVE_OUT = "leave it out: a local run is one node with its own rendezvous"
TOPOLOGY = {
    "--nproc-per-node": "use --procs N, before the --",
    "--max-restarts": "use --max-restarts N, before the --",
    "--shutdown-timeout": "use --stop-grace-s S, before the --",
    **dict.fromkeys(
        ["--nnodes", "--node-rank", "--standalone", "--master-addr", "--master-port", "--local-addr"]
        + ["--rdzv-backend", "--rdzv-endpoint", "--rdzv-id", "--rdzv-conf"],
        LEAVE_OUT,
    ),
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
    """A command, understood. `rest` is what follows the launcher's name, or the whole command without a launcher."""

    launcher: bool
    rest: list[str]
    script: str | None
    """The Python file that must exist; None where there is none to look for."""


def understand(words: list[str]) -> Command:
    """Raises CommandError for topology that belongs into this program's own options."""
    if words and words[0] == "torchrun":
        return _launched(words[1:])
    if len(words) >= 3 and words[0] in ("python", "python3") and words[1:3] == ["-m", "trainyard.launch"]:
        return _launched(words[3:])
    is_script = len(words) > 1 and re.fullmatch(r"python[\d.]*", os.path.basename(words[0])) and words[1].endswith(".py")
    return Command(False, list(words), words[1] if is_script else None)


def _launched(rest: list[str]) -> Command:
    position, plain_script = 0, True
    while position < len(rest) and rest[position].startswith("-"):
        word = rest[position]
        option = _option(word)
        if option in TOPOLOGY:
            raise CommandError(f"{word} in the command: the runner sets the topology", TOPOLOGY[option])
        plain_script &= option not in ("--module", "--no-python")
        glued = "=" in word or (word[:2] in SHORT and len(word) > 2 and not word.startswith("--"))
        position += 1 if option in FLAGS or glued else 2
    if position >= len(rest):
        raise CommandError("torchrun without a training script", "-- torchrun train.py")
    return Command(True, list(rest), rest[position] if plain_script else None)


def _option(word: str) -> str:
    """The long name of a torchrun option, also when it was shortened as argparse allows."""
    if not word.startswith("--"):
        if word[:2] not in SHORT:
            raise CommandError(f"torchrun has no option {word}", "the training script comes first, its options after it")
        return SHORT[word[:2]]
    name = word.partition("=")[0].replace("_", "-")
    known = sorted(FLAGS | VALUES | TOPOLOGY.keys())
    matches = [name] if name in known else [option for option in known if option.startswith(name)]
    if len(matches) != 1:
        near = f"it may mean {', '.join(matches)}" if matches else "the training script comes first, its options after it"
        raise CommandError(f"torchrun has no option {word}", near)
    return matches[0]


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


def arguments(spec: Spec) -> list[str]:
    """The argument list; `python` as first word means the job's own Python."""
    command = understand(spec.command)
    if command.launcher:
        return [spec.python, "-m", "torch.distributed.run", *command.rest]
    own = command.rest[0] in ("python", "python3")
    return [spec.python if own else command.rest[0], *command.rest[1:]]


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
    if understand(spec.command).launcher:
        added |= _topology(procs, spec.stop_grace_s)
    else:  # the script may start a torchrun of its own; after a restart inside it, ranks would find the addresses of the dead
        added.setdefault(SWITCH, environ.get(SWITCH, "1"))
    return added | spec.env


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
