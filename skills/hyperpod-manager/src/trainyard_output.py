"""What a skill program says: stdout that fails is exit 8 and never another answer, stderr that fails changes nothing.

Copied with trainyard_shell.py by `make kit`; edit it in skills/kit/ only. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import NoReturn, TextIO

EXIT_CODES = {
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
MAX_TEXT_CHARS = 2000

if sys.stdout is None:  # closed by the caller (`>&-`); writing to this fails
    sys.stdout = open(os.devnull)  # noqa: SIM115
if sys.stderr is None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115


def clean(text: str, limit_chars: int = MAX_TEXT_CHARS) -> str:
    """Text from outside (logs, pods, registries) as data: no control characters, bounded length."""
    text = re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)
    return text if len(text) <= limit_chars else text[: limit_chars - 3] + "..."


def print_document(document: dict[str, object], code: int = EXIT_CODES["dependency"]) -> None:
    to_stdout(json.dumps(document, indent=2 if sys.stdout.isatty() else None) + "\n", code)


def to_stdout(text: str, code: int = 1) -> None:
    """Writes it at once. Where that fails the program ends, with exit `code` when the reader went away."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        end_without_stdout(error, code)


def end_without_stdout(error: OSError, code: int) -> NoReturn:
    """Exit `code` in silence when `| head` has seen enough; else exit 8: no other code may pass for the answer that is lost."""
    _to_nowhere(sys.stdout)
    if not isinstance(error, BrokenPipeError):
        name, why = os.path.basename(sys.argv[0]), error.strerror or error
        to_stderr(f"{name}: stdout cannot be written: {why}; the answer is lost, what was done stays done\n")
        code = EXIT_CODES["unreachable"]
    sys.exit(code)


def to_stderr(text: str) -> None:
    """Nothing depends on who reads it: where it cannot be written the work goes on."""
    try:
        sys.stderr.write(text)
        sys.stderr.flush()
    except OSError:
        _to_nowhere(sys.stderr)


def _to_nowhere(stream: TextIO) -> None:
    """What is still buffered would fail once more when Python ends, and change the exit code."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
