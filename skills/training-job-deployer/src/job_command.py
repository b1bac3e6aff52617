"""The `run:` line: split like a shell would, run without one, topology left to the engine."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

LAUNCH_MODULE = ("python", "-m", "trainyard.launch")

TOPOLOGY = {
    "--nnodes", "--nproc-per-node", "--node-rank", "--standalone", "--max-restarts", "--shutdown-timeout",
    "--master-addr", "--master-port", "--local-addr", "--rdzv-backend", "--rdzv-endpoint", "--rdzv-id", "--rdzv-conf",
}  # fmt: skip
FLAGS = {"-m", "--module", "--no-python", "--run-path", "--virtual-local-rank"}
WITH_VALUE = {
    "--monitor-interval", "--start-method", "--event-log-handler", "--role", "--log-dir", "-r", "--redirects", "-t", "--tee",
    "--log-line-prefix-template", "--local-ranks-filter", "--duplicate-stdout-filters", "--duplicate-stderr-filters",
    "--logs-specs", "--numa-binding", "--signals-to-handle",
}  # fmt: skip
SHELL_WORDS = {"&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "2>&1", "&>"}


MAX_LINE_CHARS = 100_000
"""Linux takes 128 KiB for one argument."""


class CommandError(ValueError):
    """The `run:` line cannot be used; the text says why."""


@dataclass(frozen=True)
class Command:
    """A `run:` line, understood."""

    words: tuple[str, ...]
    launcher: str | None
    """torchrun, trainyard.launch, or None: a plain command, one process."""
    script: str | None
    """What the launcher starts: a path relative to the source folder, or a module."""
    is_module: bool = False


def parse(line: str) -> Command:
    """Raises CommandError."""
    words = _split(line)
    if words[0] == "torchrun":
        return _launched("torchrun", words, words[1:])
    if words[:3] == LAUNCH_MODULE:
        return _launched("trainyard.launch", words, words[3:])
    script = next((word for word in words[1:] if word.endswith(".py")), None) if words[0].startswith("python") else None
    return Command(words, None, script)


def _split(line: str) -> tuple[str, ...]:
    if len(line) > MAX_LINE_CHARS:
        raise CommandError(
            f"has {len(line)} characters, more than {MAX_LINE_CHARS}; put them into a file that the script reads"
        )
    try:
        words = tuple(shlex.split(line.replace("\\\n", " ")))
    except ValueError as error:
        raise CommandError(f"cannot be split into words: {str(error).lower()}") from error
    if not words or not words[0]:
        raise CommandError("is empty; for example: torchrun train.py --steps 400")
    if "\0" in line:
        raise CommandError("holds a NUL character")
    shell_word = next((word for word in words if word in SHELL_WORDS), None)
    if shell_word:
        raise CommandError(f"no shell sees this line, so {shell_word!r} would be an argument; put the logic into the script")
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", words[0], re.DOTALL):
        raise CommandError(f"{words[0].split('=')[0]} belongs under `env:`")
    return words


def _launched(launcher: str, words: tuple[str, ...], rest: tuple[str, ...]) -> Command:
    """Reads torchrun's own options up to the script."""
    is_module, position = False, 0
    while position < len(rest) and rest[position].startswith("-"):
        option, equals, _ = rest[position].partition("=")
        known = option.replace("_", "-") if option.startswith("--") else option[:2]
        if known in TOPOLOGY:
            raise CommandError(f"{option} is set by the engine (`nodes`, `procs_per_node`, `monitor`); leave it out")
        if known not in FLAGS and known not in WITH_VALUE:
            raise CommandError(f"{option} is no option of {launcher}; the script's options stand after the script")
        is_module |= known in ("-m", "--module")
        glued = equals or (not option.startswith("--") and len(option) > 2)
        position += 1 if known in FLAGS or glued else 2
    if position >= len(rest):
        raise CommandError(f"names no script; for example: {' '.join(words[: len(words) - len(rest)])} train.py --steps 400")
    return Command(words, launcher, rest[position], is_module)
