"""BuildKit's plain log, cut to the step that failed: what other steps printed, warnings above all, is not its cause.

Lines of a step begin with `#N `, output with `#N SECONDS `; `#N ERROR:` ends the step that failed. Behind the steps the client prints
a summary with the step's last lines again, and a piece of the Dockerfile.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

STEP = re.compile(r"#(\d{1,6}) (.*)")
OUTPUT = re.compile(r"(?:\d{1,7}\.\d{1,6} )?(.*)", re.DOTALL)
ID = re.compile(r"sha256:[0-9a-f]{64}")
"""Of the step, as old clients print it."""
PLACE = re.compile(r"(?:\S*/)?[Dd]ockerfile:(\d{1,6})")
TITLE = re.compile(r"\[(?:[^\]]*\s)?\d+/\d+\] (.+)")


@dataclass(frozen=True)
class Cut:
    """What is left of a log."""

    lines: tuple[str, ...]
    """Without the numbers before them; the step's own, then what the client says at the end."""
    step: str | None
    """`RUN pip install ...`, as the log names it."""
    dockerfile_line: int | None
    """Where the client says that the step stands."""


def cut(lines: Sequence[str]) -> Cut:
    """The whole log where no step says that it failed."""
    steps = [match for line in lines if (match := STEP.fullmatch(line))]
    failed = next((match[1] for match in steps if match[2].startswith("ERROR:")), None)
    tail = _tail(lines)
    place = next((int(match[1]) for line in lines[-60:] if (match := PLACE.fullmatch(line.strip()))), None)
    if failed is None:
        return Cut(tuple(text for line in lines if not ID.fullmatch(text := _output(line))), None, place)
    own = [match[2] for match in steps if match[1] == failed and not ID.fullmatch(match[2])]
    title = next((match[1] for line in own if (match := TITLE.fullmatch(line))), None)
    return Cut(tuple([_output(line) for line in own if not TITLE.fullmatch(line)] + tail), title, place)


def _output(line: str) -> str:
    match = STEP.fullmatch(line)
    found = OUTPUT.fullmatch(match[2] if match else line)
    assert found is not None
    return found[1]


def _tail(lines: Sequence[str]) -> list[str]:
    """What the client says at the end: behind the last rule, without the steps and the piece of the Dockerfile."""
    last = max((index for index, line in enumerate(lines) if re.fullmatch(r"-{3,}", line.strip())), default=-1)
    return [line for line in lines[last + 1 :] if not STEP.fullmatch(line)][-50:]
