"""The `run:` line: split like a shell would, run without one, topology left to the engine."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

import trainyard_launchers as launchers
from trainyard_launchers import Launcher

ONE_MACHINE = (launchers.ACCELERATE, launchers.DEEPSPEED)
"""Launchers of target local alone."""
SHELL_WORDS = {"&&", "||", "|", ";", "&", ">", ">>", "<", "2>", "2>&1", "&>"}
SHELLS = {"bash", "sh", "dash", "zsh", "ksh"}
EXPANDED = re.compile(r"\$(\w+|\{[^}]*\}?|\([^)]*\)?|[@*#?$!-])|`[^`]*`?")
"""What a shell replaces by something else, outside single quotes."""
HOME = re.compile(r"~([A-Za-z_][\w.-]*)?(?=/|\s|$)")


MAX_LINE_CHARS = 100_000
"""Linux takes 128 KiB for one argument."""


class CommandError(ValueError):
    """The `run:` line cannot be used; the text says why."""


@dataclass(frozen=True)
class Command:
    """A `run:` line, understood."""

    words: tuple[str, ...]
    launcher: Launcher | None
    """None: a plain command, one process."""
    script: str | None
    """What the launcher starts: a path relative to the source folder, or a module."""
    is_module: bool = False
    rest: tuple[str, ...] = ()
    """What follows the words that name the launcher."""


def parse(line: str) -> Command:
    """Raises CommandError."""
    words = _split(line)
    found = launchers.find_launcher(list(words))
    if found:
        return _launched(found[0], words, words[found[1] :])
    if module := launchers.python_module(list(words)):
        return Command(words, None, module[1], is_module=True)
    script = next((word for word in words[1:] if word.endswith(".py")), None) if words[0].startswith("python") else None
    return Command(words, None, script)


def _split(line: str) -> tuple[str, ...]:
    if len(line) > MAX_LINE_CHARS:
        raise CommandError(
            f"has {len(line)} characters, more than {MAX_LINE_CHARS}; put them into a file that the script reads"
        )
    line = line.replace("\\\n", " ")
    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise CommandError(f"cannot be split into words: {str(error).lower()}") from error
    if not words or not words[0]:
        raise CommandError("is empty; for example: torchrun train.py --steps 400")
    if "\0" in line:
        raise CommandError("holds a NUL character")
    if words[0] in launchers.SHELL_BUILTINS:
        raise CommandError(f"{words[0]!r} is a word of the shell, and no shell sees this line; the job starts in `source:`")
    shell_word = next((word for word in words if word in SHELL_WORDS), None)
    if shell_word:
        raise CommandError(f"no shell sees this line, so {shell_word!r} would be an argument; put the logic into the script")
    expanded = None if words[0].rpartition("/")[2] in SHELLS else _expanded(line)
    if expanded:
        raise CommandError(
            f"this line runs without a shell: {expanded} is not expanded: write its value, or read the variable in the script; "
            "'single quotes' keep it as it stands"
        )
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*=.*", words[0], re.DOTALL):
        raise CommandError(f"{words[0].split('=')[0]} belongs under `env:`")
    return words


def _expanded(line: str) -> str | None:
    """The first part of `line` that a shell would replace: $NAME, ${NAME}, $(...), `...`, ~ at the start of a word."""
    quote, position = "", 0
    while position < len(line):
        char = line[position]
        if char == "\\" and quote != "'":
            position += 2
            continue
        starts_word = position == 0 or line[position - 1].isspace()
        if quote != "'" and (found := EXPANDED.match(line, position)):
            return found[0]
        if not quote and starts_word and (found := HOME.match(line, position)):
            return found[0]
        if char in "'\"" and quote in ("", char):
            quote = "" if quote else char
        position += 1
    return None


def _launched(launcher: Launcher, words: tuple[str, ...], rest: tuple[str, ...]) -> Command:
    """Reads the launcher's own options up to the script."""
    try:
        position, options = launcher.script_position(list(rest))
    except launchers.LauncherError as error:
        raise CommandError(_refusal(error, launcher, words[: len(words) - len(rest)])) from error
    script = rest[position] if "--module" in options or launcher.names_file(rest[position], options) else None
    return Command(words, launcher, script, "--module" in options, rest)


def _refusal(error: launchers.LauncherError, launcher: Launcher, head: tuple[str, ...]) -> str:
    if error.decides == launchers.TUNING:
        return f"{error.option} starts the launcher's own tuning jobs: run that yourself, then train here with its result"
    if error.decides:
        return f"{error.option} is set by the engine (`nodes`, `procs_per_node`, `monitor`); leave it out"
    if error.option:
        may_mean = f"it may mean {', '.join(error.meant)}" if error.meant else "the script's options stand after the script"
        return f"{error.option} is not an option of {launcher.name}; {may_mean}"
    return f"names no script; for example: {' '.join(head)} train.py --steps 400"
