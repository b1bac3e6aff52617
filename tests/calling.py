"""Run a program of a skill as its users do: a process, one document on stdout, an exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.training.forking import skill_run

SKILLS = Path(__file__).resolve().parents[1] / "skills"
DEADLINE_S = 180.0


@dataclass(frozen=True)
class Answer:
    """One finished call."""

    code: int
    document: dict[str, Any]
    stderr: str
    stream: tuple[dict[str, Any], ...] = ()
    """The lines that came before the document."""

    @property
    def exit_code(self) -> int:
        return self.code

    @property
    def data(self) -> dict[str, Any]:
        return self.document["data"]

    @property
    def error(self) -> dict[str, Any]:
        return self.document["error"]

    def check(self, id: str) -> dict[str, Any]:
        return next(check for check in self.document["checks"] if check["id"] == id)

    def finding(self, id: str) -> dict[str, Any]:
        return next(finding for finding in self.data["findings"] if finding["id"] == id)

    def findings(self) -> dict[str, dict[str, Any]]:
        return {each["id"]: each for each in self.data["findings"]}


def answer_of(code: int, stdout: str, stderr: str, *, streams: bool = False) -> Answer:
    """`streams`: lines of JSON may stand before the document; else stdout must be that alone."""
    *stream, document = [json.loads(line) for line in stdout.splitlines()] if streams else [json.loads(stdout)]
    return Answer(code, document, stderr, tuple(stream))


def call(
    program: Path,
    *words: object,
    env: Mapping[str, str] | None = None,
    cwd: Path | str | None = None,
    timeout_s: float = DEADLINE_S,
    streams: bool = False,
) -> Answer:
    """Runs it to its end; `env` comes on top of this process's own environment."""
    command = [sys.executable, str(program), *map(str, words)]
    done = skill_run(command, cwd=cwd, env={**os.environ, **(env or {})}, timeout=timeout_s)
    return answer_of(done.returncode, done.stdout, done.stderr, streams=streams)
