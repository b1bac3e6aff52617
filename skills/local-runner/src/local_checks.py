"""What is checked before anything is written: names, folders, the script, the job's Python."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import trainyard_launchers as launchers
import trainyard_shell as shell
from trainyard_hiding import in_words
from trainyard_interpreter import project_python

from local_command import Command, CommandError, processes, reserved, understand
from local_spec import Spec

NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
NAME_MAX_CHARS = 40
RUN_ID = re.compile(r"[0-9a-f]{16}")
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PYTHON_WORD = re.compile(r"python3?")
FIND = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
FIND_TIMEOUT_S = 30


def need_linux() -> None:
    if not Path("/proc/self/stat").exists() or not hasattr(os, "pidfd_open"):
        raise shell.SkillError(
            "dependency", "local-runner follows processes through Linux's /proc and pidfd", hint="run it on Linux"
        )


def name(value: str) -> str:
    if not NAME.fullmatch(value) or len(value) > NAME_MAX_CHARS:
        raise shell.SkillError(
            "usage",
            f"the name {value!r} is not lower-case letters, digits and '-', a letter first, at most {NAME_MAX_CHARS}",
            hint="--name tiny-lm",
        )
    return value


def run_id(value: str) -> str:
    if not RUN_ID.fullmatch(value):
        raise shell.SkillError(
            "usage", f"the run id {value!r} is not 16 hex digits", hint="leave --run-id out, and one is made"
        )
    return value


def variables(pairs: Sequence[str]) -> dict[str, str]:
    """`K=V` items as a dict."""
    env: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not VARIABLE.fullmatch(key):
            raise shell.SkillError("usage", f"env {pair.partition('=')[0]!r} is not NAME=VALUE", hint="--env SEED=1")
        if reserved(key):
            raise shell.SkillError(
                "usage",
                f"env {key}: the runner sets this variable",
                hint="leave it out: procs_per_node (--procs), monitor.max_restarts (--max-restarts) and --checkpoints decide it",
            )
        env[key] = value
    return env


def existing_folder(path: str, option: str) -> str:
    absolute = os.path.abspath(path)
    if not os.path.isdir(absolute):
        raise shell.SkillError("not-found", f"{option}: there is no folder {absolute}", hint=f"{option} FOLDER")
    return absolute


def not_a_file(path: str, option: str) -> str:
    absolute = os.path.abspath(path)
    if os.path.exists(absolute) and not os.path.isdir(absolute):
        raise shell.SkillError("usage", f"{option}: {absolute} is a file", hint=f"{option} FOLDER")
    return absolute


def python(given: str | None, workdir: str, caller: str) -> str:
    """The job's interpreter: as given, else the project's (trainyard_interpreter.py). Links are kept: a venv is one."""
    chosen = given or project_python(workdir, os.environ, caller)
    found = shutil.which(chosen) if os.sep not in chosen else os.path.abspath(chosen)
    if not found or not os.access(found, os.X_OK) or os.path.isdir(found):
        raise shell.SkillError("not-found", f"--python: {chosen} is no program", hint="--python /path/to/venv/bin/python")
    return found


def command(spec: Spec, environ: Mapping[str, str]) -> Command:
    """Everything that would make the first attempt fail for certain, and what nobody should see."""
    if carried := in_words(spec.command):
        raise shell.SkillError(
            "usage",
            f"{carried[0]!r} in the command carries a secret, which the records and every process list would show",
            hint="export it before the call: the script finds it in its environment",
        )
    try:
        understood = understand(spec.command)
    except CommandError as error:
        raise shell.SkillError("usage", str(error), hint=error.hint) from error
    procs = processes(spec, environ)
    if not understood.launcher and procs > 1:
        raise shell.SkillError(
            "usage",
            f"{spec.command[0]!r} is started as it is, so it cannot be {procs} processes",
            hint="-- torchrun train.py, or procs_per_node (--procs) 1",
        )
    _script_exists(understood, spec)
    own_python = os.sep not in spec.command[0] and (understood.launcher or PYTHON_WORD.fullmatch(spec.command[0]))
    if not own_python:
        _program_exists(spec, {**environ, **spec.env}.get("PATH"))
    if understood.launcher and own_python:
        _has_package(spec.python, understood.launcher.package, understood.launcher.name)
    return understood


def _script_exists(understood: Command, spec: Spec) -> None:
    if understood.script and not os.path.isfile(os.path.join(spec.workdir, understood.script)):
        raise shell.SkillError(
            "not-found",
            f"there is no script {understood.script} in {spec.workdir}",
            hint="--workdir FOLDER: the script's path is relative to it",
        )


def _program_exists(spec: Spec, path: str | None) -> None:
    word = spec.command[0]
    found = os.path.join(spec.workdir, word) if os.sep in word else shutil.which(word, path=path)
    if found and os.path.isfile(found) and os.access(found, os.X_OK):
        return
    why = f"there is no program {word}"
    if found and os.path.exists(found):
        why = f"{word} is a folder" if os.path.isdir(found) else f"{word} may not be executed"
    elif word in launchers.SHELL_BUILTINS:
        why = f"{word} is a word of the shell, not a program"
    hint = "the command after -- is started directly, without a shell: write `python SCRIPT`, or bash -c '...'"
    raise shell.SkillError("not-found", why, hint=hint)


def _has_package(interpreter: str, package: str, launcher: str) -> None:
    """Looks for the package without importing it."""
    try:
        done = subprocess.run(
            [interpreter, "-c", FIND, package], stdin=subprocess.DEVNULL, capture_output=True, timeout=FIND_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise shell.SkillError("dependency", f"{interpreter} does not run: {error}", hint="--python PYTHON") from error
    if done.returncode != 0:
        hint = f"{interpreter} -m pip install {package}, or --python with one that has it"
        raise shell.SkillError("dependency", f"{interpreter} has no {package}, and {launcher} is part of it", hint=hint)


def writable_folder(path: Path) -> None:
    """Make the run folder, its user's alone, for logs may hold what the job was told; one that is there stays as it is. Raises SkillError."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise shell.SkillError("usage", f"--run-dir: {error.filename} is a file", hint="--run-dir FOLDER") from error
    except OSError as error:
        raise _no_writing(path, error.strerror or str(error)) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise _no_writing(path, "not writable")


def _no_writing(path: Path, why: str) -> shell.SkillError:
    return shell.SkillError("permission", f"--run-dir {path}: {why}", hint="--run-dir with a folder of your own")
