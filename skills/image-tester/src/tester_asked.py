"""What is asked of an image: the level, what the project declares, where it shall run, the job's command."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import trainyard_launchers as launchers
import trainyard_shell as shell
from tester_project import Declared
from trainyard_gpus import Target
from trainyard_job import RAY_ENGINES, RUNTIME

LEVELS = ("quick", "standard", "full")
MIB = 1 << 20
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
SIZE = re.compile(r"(\d{1,12})(?:\.(\d{1,3}))?([kmgt]i?)?b?", re.IGNORECASE)


PYTHONS = ("python3", "python")
"""Looked for in the image's PATH where no job says which."""


@dataclass(frozen=True)
class Entry:
    """What the job starts with: a script, or a module behind -m; and the program of its command, where that is not Python."""

    path: str = ""
    module: str = ""
    program: str = ""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """All of a call."""

    level: str
    packages: tuple[Declared, ...] = ()
    unread: tuple[str, ...] = ()
    target: Target | None = None
    efa: bool = False
    """Whether the job goes over EFA."""
    entry: Entry | None = None
    command: tuple[str, ...] = ()
    """The words of the job's run."""
    pythons: tuple[str, ...] = PYTHONS
    """The first of these that the image has tries it."""
    env: dict[str, str] = field(default_factory=dict)
    """The job's own variables: its pods have them, and so each probe."""
    environment: dict[str, str] = field(default_factory=dict)
    """All that the job's command is given."""
    secrets: tuple[str, ...] = ()
    """Variables of the job that a test is not given."""
    model: str | None = None
    driver: str | None = None
    """Of the nodes, as nvidia-smi prints it."""
    runtime: str = RUNTIME
    shm_bytes: int = 64 * MIB
    probe_s: float | None = None
    """Upper bound of each probe's time limit, the job's own aside."""
    step_s: float = 180.0
    """How long the job may take to its first step."""

    def at_least(self, level: str) -> bool:
        return LEVELS.index(self.level) >= LEVELS.index(level)


def size_bytes(text: str) -> int:
    """`4Gi`, `512m`, `1.5g`. Raises ValueError."""
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{shell.clean(text, 40)!r} is not a valid size: 4Gi, 512Mi")
    number = float(f"{found[1]}.{found[2] or 0}")
    return int(number * UNITS[(found[3] or "").lower()])


def entry_of(words: list[str] | tuple[str, ...]) -> Entry | None:
    """Script, module and program of a command; None where there is nothing to look for."""
    words = list(words)
    found = launchers.find_launcher(words)
    if found:
        launcher, length = found
        rest = words[length:]
        # torchrun stands for the engine's own launcher
        program = "" if launcher is launchers.TORCHRUN or is_python(words[0]) else words[0]
        try:
            position, options = launcher.script_position(rest)
        except launchers.LauncherError:
            return Entry(program=program) if program else None
        if "--module" in options:
            return Entry(module=rest[position], program=program)
        path = rest[position] if launcher.names_file(rest[position], options) else ""
        return Entry(path=path, program=program) if path or program else None
    module = launchers.python_module(words)
    if module:
        return Entry(module=module[1])
    if not is_python(words[0]):
        return Entry(program=words[0])
    script = next((word for word in words[1:] if not word.startswith("-")), "")
    return Entry(path=script) if script.endswith(".py") else None


def is_python(word: str) -> bool:
    return launchers.PYTHON.fullmatch(PurePosixPath(word).name) is not None


def pythons_of(words: tuple[str, ...], engine: str | None) -> tuple[str, ...]:
    """The Python that starts the job: the command's own, else the one that the engine's launcher is started with."""
    found = launchers.find_launcher(list(words))
    if is_python(words[0]) and not (found and found[0] is launchers.TORCHRUN):
        return (words[0],)
    return ("python",) if engine in RAY_ENGINES else ("python3",)


def started(words: tuple[str, ...], python: str) -> list[str]:
    """The command as an engine starts it: torchrun becomes a module of the image's Python."""
    found = launchers.find_launcher(list(words))
    if found and found[0] is launchers.TORCHRUN:
        return [python, "-m", "torch.distributed.run", *words[found[1] :]]
    return list(words)


def topology(ranks: int) -> dict[str, str]:
    """It reaches torchrun only through its environment (shared-docs/run-folder.md)."""
    return {
        "PET_NNODES": "1",
        "PET_NPROC_PER_NODE": str(ranks),
        "PET_STANDALONE": "1",
        "PET_LOCAL_ADDR": "127.0.0.1",
        "PET_MAX_RESTARTS": "0",
    }


def _ranks(request: Any) -> int:
    """Two stand for several: a script that asks for its process group has one then, as in the job."""
    ranks = request.procs_per_node
    on_a_gpu_type = request.resources is not None and request.resources.instance_type is not None
    return 2 if request.nodes > 1 or (on_a_gpu_type if ranks == "auto" else ranks > 1) else 1


def of_request(request: Any) -> dict[str, Any]:
    """Fields of `Asked` that a request brings."""
    import trainyard_request

    words = tuple(trainyard_request.words_of(request.run))
    environment = {**request.env, **trainyard_request.saving_variables(request), **topology(_ranks(request))}
    environment.update(TRAINYARD_RUN_ID=request.run_id or "0" * 16, TRAINYARD_ATTEMPT="0")
    return {
        "command": words,
        "entry": entry_of(words),
        "pythons": pythons_of(words, request.engine),
        "env": dict(request.env),
        "environment": environment,
        "secrets": tuple(request.secrets),
    }
