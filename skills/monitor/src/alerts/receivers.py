"""Where an alert goes: a command that reads it from stdin, or a URL that it is posted to. Both have a deadline, and neither decides anything."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from dataclasses import dataclass
from typing import Protocol

import trainyard_shell as shell
from trainyard_hiding import in_words


class Failed(Exception):
    """It did not arrive; the text says why, without the address."""


class Receiver(Protocol):
    @property
    def told(self) -> str:
        """For people: what it is, without secrets."""

    @property
    def identity(self) -> str:
        """What tells it from another one; only a digest of it is kept."""

    def deliver(self, payload: bytes, timeout_s: float) -> None:
        """Raises Failed. Returns or raises within `timeout_s`, as nearly as it can be had."""


@dataclass(frozen=True)
class Command:
    words: tuple[str, ...]

    @property
    def told(self) -> str:
        return f"command {shell.clean(self.words[0], 100)}"

    @property
    def identity(self) -> str:
        return shlex.join(self.words)

    def deliver(self, payload: bytes, timeout_s: float) -> None:
        """No shell; a session of its own, so that what it starts ends with it at the deadline."""
        try:
            process = subprocess.Popen(
                self.words,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise Failed(f"{self.told} cannot be started: {getattr(error, 'strerror', None) or error}") from error
        with process:
            try:
                process.communicate(payload, timeout=timeout_s)
            except subprocess.TimeoutExpired:
                raise Failed(f"{self.told} had not ended after {timeout_s:.0f} s, and was killed") from None
            finally:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
        if process.returncode:
            raise Failed(f"{self.told} ended with {process.returncode}")


def command_of(text: str) -> Command:
    """Words as a shell would split them; none is started. Raises SkillError usage."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise shell.SkillError(
            "usage", f"--alert-command cannot be split into words: {error}", hint="quote it as for a shell"
        ) from error
    if not words:
        raise shell.SkillError("usage", "--alert-command is empty", hint="--alert-command 'notify-send training'")
    if found := in_words(words):
        message = f"--alert-command carries a secret ({', '.join(found[:3])}), which everybody on this machine can read"
        raise shell.SkillError("usage", message, hint="let the command read it from a file or a variable")
    return Command(tuple(words))
