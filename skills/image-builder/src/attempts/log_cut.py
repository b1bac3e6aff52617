"""BuildKit's plain log, cut to the step that failed: what other steps printed, warnings above all, is not its cause.

Lines of a step begin with `#N `, output with `#N SECONDS `; `#N ERROR:` ends the step that failed. Behind the steps the client prints
a summary with the step's last lines again, and a piece of the Dockerfile.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

STEP = re.compile(r"#(\d{1,6}) (.*)")
OUTPUT = re.compile(r"(?:\d{1,7}\.\d{1,6} )?(.*)", re.DOTALL)
ID = re.compile(r"sha256:[0-9a-f]{64}")
"""Of the step, as old clients print it."""
SUMMARY = re.compile(r" {0,3}> \[[^\]]{1,80}\] ((?:RUN|COPY|ADD|WORKDIR) .{1,4000}?):")
EXCERPT = re.compile(r"\s{1,6}\d{1,6} \| ")
"""A line of the Dockerfile, or of the source that a compiler complains about: what it says did not happen."""
PLACE = re.compile(r"(?:\S*/)?[\w.-]*[Dd]ockerfile[\w.-]*:(\d{1,6})")
CACHE = re.compile(r"(?:importing|exporting) cache|ERROR: failed to configure \S+ cache (?:importer|exporter)")
"""A vertex that ends with an ERROR and does not stop the build: a cache that is not there yet, or that cannot be written."""
LAST_WORD = re.compile(r"(?:(?:ERROR|error): )?failed to (?:solve|build): (.*)")
TITLE = re.compile(r"\[(?:([^\]]*)\s)?(\d{1,5})/\d{1,5}\] (.+)")


@dataclass(frozen=True)
class Step:
    """One step of the log."""

    title: str
    """`RUN pip install ...`"""
    stage: str
    """`builder`, `stage-1`; empty where the Dockerfile has one stage only."""
    number: int
    """In its stage, FROM is 1; COPY, ADD, RUN and WORKDIR count."""
    lines: tuple[str, ...]
    """Its output, without the numbers before it."""
    end: str
    """DONE, CACHED, ERROR, CANCELED; empty where the log does not say."""


@dataclass(frozen=True)
class Cut:
    """What is left of a log."""

    lines: tuple[str, ...]
    """Without the numbers before them; the step's own, then what the client says at the end."""
    step: str | None
    """`RUN pip install ...`, as the log names it."""
    dockerfile_line: int | None
    """Where the client says that the step stands."""
    failed: Step | None = None
    others: tuple[Step, ...] = ()
    """The steps of the Dockerfile that did not fail."""


def cut(lines: Sequence[str]) -> Cut:
    """The whole log where no step says that it failed."""
    steps: dict[str, list[str]] = {}
    for line in lines:
        if match := STEP.fullmatch(line):
            steps.setdefault(match[1], []).append(match[2])
    failed = _failed(steps, lines)
    place = next((int(match[1]) for line in lines[-60:] if (match := PLACE.fullmatch(line.strip()))), None)
    others = tuple(step for number, own in steps.items() if number != failed and (step := _step(own)))
    if failed is None:
        caches = {number for number, own in steps.items() if _is_cache(own)}
        kept = (line for line in lines if not ((match := STEP.fullmatch(line)) and match[1] in caches))
        texts = tuple(text for line in kept if not ID.fullmatch(text := _output(line)) and not EXCERPT.match(line))
        return Cut(texts, None if steps else _summed(lines), place, None, others)
    own = _step(steps[failed])
    said = own.lines if own else tuple(_text(each) for each in steps[failed] if not ID.fullmatch(each))
    return Cut((*said, *_tail(lines)), own.title if own else None, place, own, others)


def _failed(steps: Mapping[str, Sequence[str]], lines: Sequence[str]) -> str | None:
    """The vertex that the client's last word names; else the first that ended with an ERROR and is no cache."""
    said = [
        (number, line[len("ERROR:") :].strip()) for number, own in steps.items() for line in own if line.startswith("ERROR:")
    ]
    last = next((match[1] for line in reversed(lines[-200:]) if (match := LAST_WORD.match(line))), "")
    named = next((number for number, message in said if message and last.endswith(message)), None)
    return named or next((number for number, _ in said if not _is_cache(steps[number])), None)


def _is_cache(own: Sequence[str]) -> bool:
    return any(CACHE.match(line) for line in own)


def _step(own: Sequence[str]) -> Step | None:
    """None for what is no step of the Dockerfile: `[internal] load ...`, `exporting to image`."""
    title = next((match for line in own if (match := TITLE.fullmatch(line))), None)
    if title is None:
        return None
    end = next(
        (word for line in reversed(own) for word in ("DONE", "CACHED", "ERROR", "CANCELED") if line.startswith(word)), ""
    )
    lines = tuple(_text(line) for line in own if not TITLE.fullmatch(line) and not ID.fullmatch(line))
    stage = (title[1] or "").rpartition(" ")[2]
    return Step(title[3], "" if "/" in stage else stage, int(title[2]), lines, end)


def _text(line: str) -> str:
    found = OUTPUT.fullmatch(line)
    assert found is not None
    return found[1]


def _output(line: str) -> str:
    match = STEP.fullmatch(line)
    return _text(match[2] if match else line)


def _summed(lines: Sequence[str]) -> str | None:
    """The step that the client's summary names; a log as a terminal shows it has no other name of it."""
    return next((match[1] for line in lines if (match := SUMMARY.fullmatch(line.rstrip()))), None)


def _tail(lines: Sequence[str]) -> list[str]:
    """What the client says at the end: behind the last rule, without the steps and the piece of the Dockerfile."""
    last = max((index for index, line in enumerate(lines) if re.fullmatch(r"-{3,}", line.strip())), default=-1)
    return [line for line in lines[last + 1 :] if not STEP.fullmatch(line)][-50:]
