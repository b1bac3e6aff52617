"""Run diagnose_training.py as a user does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.calling import SKILLS, Answer
from tests.calling import call as call_program

PROGRAM = SKILLS / "monitor" / "src" / "diagnose_training.py"


def diagnose(*words: object, code: int = 0, env: Mapping[str, str] | None = None, cwd: Path | str | None = None) -> Answer:
    """The answer; the exit code must be `code`."""
    answer = call_program(PROGRAM, *words, env=env, cwd=cwd)
    assert answer.code == code, (answer.code, answer.document, answer.stderr[-3000:])
    return answer
