"""The launchers that a command may begin with on one machine, and the options that are the platform's. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

PROCS, RESTARTS, GRACE, DEVICES, ALONE, TUNING = "processes", "restarts", "grace", "devices", "one machine", "tuning"
"""What an option of a launcher decides that is decided elsewhere."""
SHELL_BUILTINS = frozenset(
    ["cd", "source", ".", "export", "set", "unset", "alias", "eval", "exec", "ulimit", "umask", "if", "for", "while"]
)
"""First words that only a shell understands; no shell sees a command."""


class LauncherError(ValueError):
    """The options before the script cannot be used."""

    def __init__(self, message: str, *, option: str = "", decides: str | None = None, meant: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.option = option
        self.decides = decides
        """What the option decides, if that is the platform's."""
        self.meant = meant
        """Options that a shortened one may mean."""


@dataclass(frozen=True)
class Launcher:
    """One launcher. Option names are written with hyphens; underscores mean the same."""

    name: str
    package: str
    """What the job's Python must have."""
    flags: frozenset[str]
    topology: Mapping[str, str]
    """Options that are refused, and what each decides."""
    values: frozenset[str] | None = None
    """Options with a value; None: every other option is believed to have one."""
    short: Mapping[str, str] = field(default_factory=dict)

    def option(self, word: str) -> str:
        """The long name of an option, also when it was shortened as argparse allows. Raises LauncherError."""
        given = word.partition("=")[0]
        if not word.startswith("--"):
            if word[:2] not in self.short:
                raise LauncherError(f"{self.name} has no option {given}", option=given)
            return self.short[word[:2]]
        name = given.replace("_", "-")
        known = sorted(self.flags | self.topology.keys() | (self.values or set()))
        matches = [name] if name in known else [option for option in known if option.startswith(name)]
        if len(matches) == 1:
            return matches[0]
        if self.values is None and not matches:
            return name
        raise LauncherError(f"{self.name} has no option {given}", option=given, meant=tuple(matches))

    def script_position(self, rest: list[str]) -> tuple[int, set[str]]:
        """(where the script stands in `rest`, the options before it). Raises LauncherError for those that are the platform's."""
        position, options = 0, set()
        while position < len(rest) and rest[position].startswith("-"):
            word = rest[position]
            option = self.option(word)
            if option in self.topology:
                given = word.partition("=")[0]
                raise LauncherError(f"{given} is the platform's to set", option=given, decides=self.topology[option])
            options.add(option)
            glued = "=" in word or (len(word) > 2 and not word.startswith("--"))
            position += 1 if option in self.flags or glued else 2
        if position >= len(rest):
            raise LauncherError(f"{self.name} without a training script")
        return position, options

    def names_file(self, script: str, options: set[str]) -> bool:
        """Whether `script` is a file of the project, for certain: among options that are not all known it may be a value."""
        return not options & {"--module", "--no-python"} and (self.values is not None or script.endswith(".py"))


TORCHRUN = Launcher(
    name="torchrun",
    package="torch",
    # torch/distributed/run.py, and --use-env of torch.distributed.launch
    flags=frozenset({"--module", "--no-python", "--run-path", "--virtual-local-rank", "--use-env"}),
    values=frozenset(
        {
            "--monitor-interval", "--start-method", "--event-log-handler", "--role", "--log-dir", "--redirects", "--tee",
            "--log-line-prefix-template", "--local-ranks-filter", "--duplicate-stdout-filters",
            "--duplicate-stderr-filters", "--logs-specs", "--numa-binding", "--signals-to-handle",
        }
    ),
    short={"-m": "--module", "-r": "--redirects", "-t": "--tee"},
    topology={
        "--nproc-per-node": PROCS,
        "--max-restarts": RESTARTS,
        "--shutdown-timeout": GRACE,
        **dict.fromkeys(
            ["--nnodes", "--node-rank", "--standalone", "--master-addr", "--master-port", "--local-addr"]
            + ["--rdzv-backend", "--rdzv-endpoint", "--rdzv-id", "--rdzv-conf"],
            ALONE,
        ),
    },
)  # fmt: skip
ACCELERATE = Launcher(
    name="accelerate launch",
    package="accelerate",
    # accelerate/commands/launch.py: it has a hundred options with a value, and more with each release
    flags=frozenset(
        {
            "--quiet", "--cpu", "--enable-cpu-affinity", "--dynamo-use-fullgraph", "--dynamo-use-dynamic",
            "--dynamo-use-regional-compilation", "--use-deepspeed", "--use-fsdp", "--use-parallelism-config",
            "--use-megatron-lm", "--module", "--no-python", "--fp8-use-autocast-during-eval", "--debug",
        }
    ),
    short={"-m": "--module", "-q": "--quiet", "-t": "--tee"},
    topology={
        "--num-processes": PROCS,
        "--multi-gpu": PROCS,
        "--max-restarts": RESTARTS,
        **dict.fromkeys(
            ["--num-machines", "--machine-rank", "--same-network", "--main-process-ip", "--main-process-port"]
            + ["--rdzv-backend", "--rdzv-conf", "--mpirun-hostfile", "--deepspeed-hostfile", "--deepspeed-inclusion-filter"]
            + ["--deepspeed-exclusion-filter", "--deepspeed-multinode-launcher"]
            + ["--tpu", "--tpu-cluster", "--no-tpu-cluster", "--tpu-use-sudo", "--tpu-name", "--tpu-zone", "--vm"],
            ALONE,
        ),
    },
)  # fmt: skip
DEEPSPEED = Launcher(
    name="deepspeed",
    package="deepspeed",
    # deepspeed/launcher/runner.py
    flags=frozenset({"--module", "--no-python", "--no-local-rank", "--bind-cores-to-rank", "--quiet"}),
    values=frozenset({"--enable-each-rank-log", "--bind-core-list", "--log-level"}),
    short={"-q": "--quiet", "-H": "--hostfile", "-i": "--include", "-e": "--exclude"},
    topology={
        "--num-gpus": PROCS,
        "--num-accelerators": PROCS,
        "--include": DEVICES,
        "--exclude": DEVICES,
        **dict.fromkeys(
            ["--hostfile", "--num-nodes", "--master-port", "--master-addr", "--node-rank", "--launcher", "--launcher-args"]
            + ["--no-ssh", "--no-ssh-check", "--force-multi", "--ssh-port", "--venv-script", "--save-pid"],
            ALONE,
        ),
        "--autotuning": TUNING,
    },
)  # fmt: skip
MODULES = {
    "torch.distributed.run": TORCHRUN,
    "torch.distributed.launch": TORCHRUN,
    "trainyard.launch": TORCHRUN,  # on one machine it is torchrun
    "accelerate.commands.launch": ACCELERATE,
    "deepspeed.launcher.runner": DEEPSPEED,
}
PYTHON = re.compile(r"python[\d.]*")
PYTHON_FLAGS, PYTHON_VALUES = re.compile(r"-[bBdEIOPqsSuvx]+"), ("-X", "-W")


def python_module(words: list[str]) -> tuple[int, str] | None:
    """(position after it, module) of `python [options] -m MODULE`; None for anything else."""
    if not words or not PYTHON.fullmatch(os.path.basename(words[0])):
        return None
    position = 1
    while position < len(words):
        if words[position] == "-m" and position + 1 < len(words):
            return position + 2, words[position + 1]
        if words[position] in PYTHON_VALUES:
            position += 2
        elif PYTHON_FLAGS.fullmatch(words[position]) or words[position].startswith(PYTHON_VALUES):
            position += 1
        else:
            return None
    return None


def find_launcher(words: list[str]) -> tuple[Launcher, int] | None:
    """(the launcher that a command begins with, how many words name it); None for any other command."""
    name = os.path.basename(words[0]) if words else ""
    if name == "torchrun":
        return TORCHRUN, 1
    if name == "accelerate" and words[1:2] == ["launch"]:
        return ACCELERATE, 2
    if name == "accelerate-launch":
        return ACCELERATE, 1
    if name == "deepspeed":
        return DEEPSPEED, 1
    module = python_module(words)
    if module and module[1] in MODULES:
        return MODULES[module[1]], module[0]
    return None
