"""Run a skill program in a clean environment and judge the document it prints."""

from __future__ import annotations

import errno
import functools
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.training.forking import skill_run

CODES = {
    "usage": 2,
    "not-found": 3,
    "credentials": 4,
    "permission": 4,
    "conflict": 5,
    "confirm": 6,
    "timeout": 7,
    "unreachable": 8,
    "dependency": 8,
    "internal": 70,
}
STATUSES = {"pass", "warn", "fail", "unknown", "skipped"}
DEADLINE_S = 60


@dataclass(frozen=True)
class Called:
    """One finished call."""

    words: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"`{' '.join(self.words)}` (exit {self.code})"


def environment(**more: str) -> dict[str, str]:
    """The caller's, without what would steer a program; HOME is a place where nothing is."""
    kept = {
        key: value for key, value in os.environ.items() if not key.startswith(("TRAINYARD_", "PYTHON", "XDG_", "VIRTUAL_ENV"))
    }
    mark = {"TRAINYARD_TEST_SESSION": os.environ.get("TRAINYARD_TEST_SESSION", "")}
    return {**kept, **mark, "HOME": "/nonexistent", "PYTHONDONTWRITEBYTECODE": "1", **more}


def call(program: Path, *words: str, cwd: Path | str = "/", before: Iterable[str] = (sys.executable,), **env: str) -> Called:
    """Run `program`; a call that does not end in time counts as exit 124."""
    command = [*before, str(program), *words]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            cwd=cwd,
            env=environment(**env),
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return Called((program.name, *words), 124, "", "no end within the deadline")
    return Called((program.name, *words), done.returncode, done.stdout, done.stderr)


def call_warm(program: Path, *words: str, cwd: Path | str = "/") -> Called:
    """As `call`, for what does not depend on how the program is started."""
    try:
        done = skill_run([sys.executable, str(program), *words], timeout=DEADLINE_S, cwd=cwd, env=environment())
    except subprocess.TimeoutExpired:
        return Called((program.name, *words), 124, "", "no end within the deadline")
    return Called((program.name, *words), done.returncode, done.stdout, done.stderr)


def call_into(
    program: Path, *words: str, cwd: Path | str = "/", stdout: str | None = None, stderr: str | None = None
) -> Called:
    """As `call`, with stdout or stderr as the named file, say /dev/full; "closed" is a pipe that nobody reads."""
    with ExitStack() as stack:

        def end(name: str | None) -> Any:
            if name != "closed":
                return stack.enter_context(open(name, "w", encoding="utf-8")) if name else subprocess.PIPE
            reader, writer = os.pipe()
            os.close(reader)
            stack.callback(os.close, writer)
            return writer

        command = [sys.executable, str(program), *words]
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=end(stdout),
            stderr=end(stderr),
            text=True,
            timeout=DEADLINE_S,
            cwd=cwd,
            env=environment(),
        )
    return Called((program.name, *words), done.returncode, done.stdout or "", done.stderr or "")


def call_each(function: Callable[[Any], list[str]], items: Iterable[Any]) -> list[str]:
    """The problems of all items; the calls run two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return [problem for problems in pool.map(function, items) for problem in problems]


def on_a_terminal(program: Path, *words: str, cwd: Path | str = "/") -> str:
    """What a person sees: stdout and stderr on a pseudo-terminal."""
    master, slave = pty.openpty()
    command = [sys.executable, str(program), *words]
    with subprocess.Popen(command, stdout=slave, stderr=slave, stdin=slave, cwd=cwd, env=environment(TERM="xterm")) as process:
        os.close(slave)
        output = b""
        try:
            while part := os.read(master, 65536):
                output += part
        except OSError as error:  # Linux says EIO when the other end is closed
            assert error.errno == errno.EIO
    os.close(master)
    assert process.returncode is not None
    return output.decode()


@functools.cache
def help_of(program: Path, *verb: str) -> str:
    return call_warm(program, *verb, "--help").stdout


def verbs_of(program: Path) -> list[str]:
    """The verbs that `--help` lists."""
    listed = help_of(program).partition("\nCommands:\n")[2]
    return re.findall(r"^  ([a-z][a-z0-9-]*)", listed, re.MULTILINE)


def document_problems(called: Called, skill: str, expected_codes: Iterable[int]) -> list[str]:
    """What is wrong with the answer of a call: one JSON document, alone, that fits the exit code."""
    problems = [f"{called}: a traceback on stderr"] if "Traceback (most recent" in called.stderr else []
    if called.code not in expected_codes:
        problems.append(f"{called}: the exit code should be one of {sorted(expected_codes)}")
    lines = called.stdout.splitlines()
    try:
        documents = [json.loads(line) for line in lines]
    except ValueError:
        return [*problems, f"{called}: stdout is not JSON alone: {called.stdout[:80]!r}"]
    if not documents or not all(isinstance(each, dict) for each in documents):
        return [*problems, f"{called}: stdout holds no document"]
    problems += [f"{called}: a line of a stream has no type" for each in documents[:-1] if "type" not in each]
    return problems + [f"{called}: {problem}" for problem in envelope_problems(documents[-1], skill, called.code)]


def envelope_problems(document: dict[str, Any], skill: str, code: int) -> list[str]:
    """What is wrong with an envelope that came with this exit code."""
    error, problems = document.get("error"), []
    wanted = {"ok", "skill", "verb", "data", "checks"} | ({"error"} if error else {"changed", "next", "truncated"})
    if set(document) != wanted:
        problems.append(f"members {sorted(set(document) ^ wanted)} are missing or too many")
    if document.get("skill") != skill:
        problems.append(f"skill is {document.get('skill')!r}")
    if document.get("ok") is not (code == 0):
        problems.append("ok does not fit the exit code")
    if error:
        if CODES.get(error.get("code")) != code:
            problems.append(f"error code {error.get('code')!r} does not fit the exit code")
        problems += [f"the error has no {member}" for member in ("message", "hint") if not error.get(member)]
        if type(error.get("retryable")) is not bool:
            problems.append("the error does not say whether it is retryable")
    elif code not in (0, 1):
        problems.append("no error")
    for check in document.get("checks") or []:
        if set(check) != {"id", "status", "summary", "evidence", "fix"} or check["status"] not in STATUSES:
            problems.append(f"not a check: {check}")
        elif check["status"] in ("fail", "unknown") and document["ok"]:
            problems.append(f"ok with a check that is {check['status']}")
    return problems
