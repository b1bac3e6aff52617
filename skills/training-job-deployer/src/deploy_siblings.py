"""The other skills, as programs: an argument list in, one JSON document out. Nothing of theirs is imported."""

from __future__ import annotations

import errno
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell

OURSELVES = Path(__file__).resolve().parent / "deploy.py"
SKILLS_FOLDER = OURSELVES.parents[2]
"""Skills stand side by side; links that install.sh made lead to the checkout."""


@dataclass(frozen=True)
class Call:
    """What a stage's program is asked."""

    words: list[str]
    document: dict[str, Any] | None = None
    """What it reads on stdin."""


@dataclass(frozen=True)
class Answer:
    """What a sibling program said."""

    exit_code: int
    document: dict[str, Any]

    @property
    def ok(self) -> bool:
        return self.document.get("ok") is True

    @property
    def data(self) -> dict[str, Any]:
        data = self.document.get("data")
        return data if isinstance(data, dict) else {}

    @property
    def checks(self) -> list[shell.Check]:
        names = ("id", "status", "summary", "evidence")
        told = self.document.get("checks", [])
        return [shell.Check(**{name: each.get(name) for name in names}, fix=each.get("fix") or None) for each in told]

    @property
    def error_code(self) -> str | None:
        return (self.document.get("error") or {}).get("code")

    def or_raise(self) -> Answer:
        """This answer, or its error as ours: same code, same words."""
        error = self.document.get("error")
        if error is None:
            return self
        code = error.get("code") if error.get("code") in shell.EXIT_CODES else "internal"
        message = f"{self.document.get('skill')} {self.document.get('verb') or ''}: {error.get('message')}"
        raise shell.SkillError(
            code,
            message,
            hint=error.get("hint") or "",
            retryable=bool(error.get("retryable")),
            data=self.data,
            checks=self.checks,
        )


def options(**given: Any) -> list[str]:
    """`--name value` for each that has one; True is a flag."""
    said = {f"--{name.replace('_', '-')}": value for name, value in given.items() if value is not None and value is not False}
    return [word for name, value in said.items() for word in ([name] if value is True else [name, str(value)])]


def script(skill: str, name: str) -> Path:
    """The program of a sibling skill. Raises SkillError dependency when the skill is not there."""
    path = SKILLS_FOLDER / skill / "src" / name
    if not path.is_file():
        hint = f"put the folder {skill} beside {OURSELVES.parents[1].name} in {SKILLS_FOLDER}; ./install.sh in a checkout links all"
        raise shell.SkillError("dependency", f"the skill {skill} is missing ({path} is not a file)", hint=hint)
    return path


def is_there(skill: str, name: str) -> bool:
    return (SKILLS_FOLDER / skill / "src" / name).is_file()


def call(program: tuple[str, str], asked: Call | list[str], *, timeout_s: float = 120.0, shows: bool = False) -> Answer:
    """Runs `program` (skill, script) to its end and reads its one document. `shows`: what it says on stderr goes to ours, as it comes.

    Raises SkillError: dependency (not there), timeout, internal (no document).
    """
    asked = asked if isinstance(asked, Call) else Call(asked)
    stdin = None if asked.document is None else json.dumps(asked.document)
    process = _start(program, asked.words, stderr=None if shows else subprocess.PIPE, reads=stdin is not None)
    try:
        output, messages = process.communicate(stdin, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        _end(process)
        raise shell.SkillError("timeout", f"{program[0]} did not answer within {timeout_s:.0f} s", retryable=True) from error
    except BaseException:
        _end(process)
        raise
    return _answer(program, asked.words, process.returncode, output, messages or "")


def stream(
    program: tuple[str, str], arguments: list[str], *, quiet: bool = False, silent_s: float | None = None
) -> Iterator[dict[str, Any] | Answer]:
    """Each line of a streaming verb, as it comes; the envelope last, as an Answer.

    `quiet`: without what it says on stderr. `silent_s`: a program that says nothing for so long is ended. Raises SkillError as `call` does.
    """
    process = _start(program, arguments, stderr=subprocess.DEVNULL if quiet else None)
    last, watch = "", _Silence(process, silent_s)
    try:
        assert process.stdout is not None
        for line in process.stdout:
            watch.heard()
            document = _object(line)
            if document is not None and "type" in document and "ok" not in document:
                yield document
            elif line.strip():
                last = line
        process.wait(timeout=30)
    finally:
        watch.over()
        _end(process)
    yield _answer(program, arguments, process.returncode, last, "")


class _Silence:
    """Kills a process that has said nothing for `silent_s`, a read that never returns say; None: never."""

    def __init__(self, process: subprocess.Popen[str], silent_s: float | None) -> None:
        self._process, self._silent_s = process, silent_s
        self._timer: threading.Timer | None = None
        self.heard()

    def heard(self) -> None:
        self.over()
        if self._silent_s is not None:
            self._timer = threading.Timer(self._silent_s, self._process.kill)
            self._timer.daemon = True
            self._timer.start()

    def over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()


def _start(program: tuple[str, str], arguments: list[str], *, stderr: int | None, reads: bool = False) -> subprocess.Popen[str]:
    words = [sys.executable, str(script(*program)), *arguments]
    try:
        # A process group of its own: Ctrl-C reaches us alone, and we decide what becomes of the child.
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE if reads else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            encoding="utf-8",
            errors="replace",
            process_group=0,
        )
    except ValueError as error:  # a NUL, or half a surrogate pair, from a run.json that somebody edited
        raise shell.SkillError("usage", f"a value cannot stand on a command line: {error}", hint="look at run.json") from error
    except OSError as error:
        longest = shell.clean(max(words, key=len), 60)
        if error.errno == errno.E2BIG:
            raise shell.SkillError(
                "usage", f"a value is too long for a command line: {longest}", hint="put it into a file"
            ) from error
        raise shell.SkillError("dependency", f"{program[0]} cannot be started: {error.strerror}", retryable=True) from error


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answer(program: tuple[str, str], arguments: list[str], code: int, output: str, messages: str) -> Answer:
    document = _object(output)
    if document is None or "ok" not in document:
        tail = shell.clean(" ".join(messages.split()[-60:]), 400)
        what = f"{program[0]} {arguments[0] if arguments else ''} ended with {code} and no JSON document"
        raise shell.SkillError("internal", f"{what}: {tail}" if tail else what, hint=f"run it by hand: {script(*program)}")
    if code == shell.EXIT_CODES["internal"] and messages:
        shell.progress(messages)
    return Answer(code, document)


def _object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None
