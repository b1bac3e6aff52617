"""What a probe says while it works: the step that it is in, what it has found, what went wrong. One JSON object a line, into a pipe.

Each line begins with a word that only the two ends know: what an import prints is not taken for a result.
"""

from __future__ import annotations

import json
import os
import traceback

MAX_TEXT_CHARS = 4000
"""torchrun's own last words are 2000."""


class Failed(Exception):
    """What was asked for is not so. The text says what was found instead."""


class Unproven(Exception):
    """It cannot be said here. `needs`: what would show it (gpu, network, data, time)."""

    def __init__(self, needs: str, text: str) -> None:
        super().__init__(text)
        self.needs = needs


class Absent(Exception):
    """There is nothing to try; that proves nothing, and is no fault."""


class Report:
    """The writing end of a child's pipe."""

    def __init__(self, handle: int, word: str) -> None:
        self._handle, self._word = handle, word

    def step(self, text: str) -> None:
        self._send({"step": text[:200]})

    def result(self, index: int, data: object) -> None:
        self._send({"index": index, "state": "done", "data": data})

    def error(self, index: int, error: BaseException) -> None:
        state = {Failed: "failed", Unproven: "unproven", Absent: "absent"}.get(type(error), "raised")
        document = {"index": index, "state": state, "type": type(error).__name__, "text": bounded(str(error))}
        if isinstance(error, Unproven):
            document["needs"] = error.needs
        if state == "raised":
            frames = traceback.format_exception(type(error), error, error.__traceback__)
            document["trace"] = bounded("".join(frames), end=True)
        self._send(document)

    def _send(self, document: dict[str, object]) -> None:
        line = (self._word + " " + json.dumps(document) + "\n").encode("ascii")
        while line:
            line = line[os.write(self._handle, line) :]


def bounded(text: str, *, end: bool = False) -> str:
    """At most MAX_TEXT_CHARS of it, the beginning or the end."""
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text[-MAX_TEXT_CHARS:] if end else text[:MAX_TEXT_CHARS]
