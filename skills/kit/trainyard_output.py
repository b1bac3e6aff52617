"""What a skill program says: stdout that fails is exit 8 and never another answer, stderr that fails changes nothing.

Copied with trainyard_shell.py by `make kit`; edit it in skills/kit/ only. Standard library only.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any, NoReturn, TextIO

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


SEQUENCES = re.compile(
    r"\x1b\[[0-?]{0,64}[ -/]{0,8}[@-~]|\x9b[0-?]{0,64}[ -/]{0,8}[@-~]"  # colours, the cursor
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x90-\x9f\n]{0,4096}(?:\x07|\x1b\\|\x9c)"  # titles, links, the clipboard
    r"|\x1b[ -/]?[0-Z\\^-~]"
)
INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)
"""Controls of C0 and C1 but tab and line feed; what turns the direction of text; what has no width and can carry hidden words: joiners,
fillers, variation selectors, tags."""


def visible(text: str) -> str:
    """The text as a reader takes it to be: nothing in it moves a cursor, turns its direction, or hides."""
    if text.isascii() and text.isprintable():
        return text
    return INVISIBLE.sub("", SEQUENCES.sub("", text) if "\x1b" in text or not text.isascii() else text)


def clean(text: str, limit_chars: int = MAX_TEXT_CHARS) -> str:
    """Text from outside (logs, pods, registries, file names) as data: nothing invisible, bounded length."""
    text = visible(text[: limit_chars * 20])
    return text if len(text) <= limit_chars else text[: limit_chars - 3] + "..."


def shown(value: Any) -> Any:
    """A document whose texts, keys too, are all `visible`: the last door, whoever forgot to clean what."""
    if isinstance(value, str):  # a line of a file with CRLF keeps its end: a diff that lost it does not apply
        return visible(value[:-1]) + "\r" if value.endswith("\r") else visible(value)
    if isinstance(value, dict):
        found: dict[Any, Any] = {}
        for key, item in value.items():
            name = shown(key)
            found[ascii(key) if name in found else name] = shown(item)  # two names that look the same stay two
        return found
    return [shown(item) for item in value] if isinstance(value, list | tuple) else value


def print_document(document: dict[str, object], code: int = EXIT_CODES["dependency"]) -> None:
    to_stdout(json.dumps(shown(document), indent=2 if sys.stdout.isatty() else None) + "\n", code)


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
