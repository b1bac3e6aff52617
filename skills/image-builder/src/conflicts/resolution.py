"""Which versions an installer would take: uv is asked, for the image's platform and Python, where an index answers; else the dated tables say.

Nothing of the project is run or read by uv: it gets names and versions on stdin, no path and no URL, and may build nothing. A package that is
on the index as source only tells its needs to nobody but its own setup.py: it is left out, and named.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from typing import Any

from asked.wants import Place, Want
from conflicts.uv_call import Answer, Asker, platform_of, program, told
from image_tables import date_of

TABLES = ("package_rules", "base_images", "gpu_builds")
MAX_CALLS, MAX_GROUPS, MAX_WANTS = 12, 8, 500
PLAIN = re.compile(r"(?m)^([A-Za-z0-9][A-Za-z0-9._-]*)==(\S+)")
SOURCE_ONLY = re.compile(r"Wheels are required for `([A-Za-z0-9._-]+)`")
UNREACHABLE = re.compile(
    r"Failed to fetch|error sending request|Request failed after|dns error|tcp connect|client error \(Connect\)|timed out"
)
NOT_THERE = re.compile(r"Because ([A-Za-z0-9._-]+) was not found in the package registry")
TORCH_INDEX = re.compile(r"/whl/(?:nightly/|test/)?(cu\d{3}|cpu)/?$")


@dataclass(frozen=True)
class Conflict:
    """What one command asks for and no set of versions meets."""

    place: Place
    names: tuple[str, ...]
    text: str
    """uv's own words, shortened."""
    missing: bool = False
    """A name that the index does not have: there may be another index that nobody names here."""
    replaces: str | None = None
    """The torch that is there, where all would be well without it."""


@dataclass
class Resolution:
    """The answer: versions per command, and what does not go together."""

    judge: str = "table"
    why: str = "--offline"
    """Why the tables alone judged."""
    python: str | None = None
    platform: str | None = None
    backend: str | None = None
    chosen: dict[int, dict[str, str]] = field(default_factory=dict)
    """Group -> package -> version."""
    left_out: set[str] = field(default_factory=set)
    conflicts: list[Conflict] = field(default_factory=list)
    asked: bool = False

    def versions(self, package: str) -> list[str]:
        """What the commands take, in their order."""
        return [taken[package] for _, taken in sorted(self.chosen.items()) if package in taken]

    def judged_by(self) -> dict[str, Any]:
        found: dict[str, Any] = {
            "judge": self.judge,
            "index_asked": self.asked,
            "dates": {name: date_of(name) for name in TABLES},
        }
        if self.judge == "table":
            return {**found, "why": self.why}
        told = {
            "python": self.python,
            "platform": self.platform,
            "torch_backend": self.backend,
            "left_out": sorted(self.left_out),
        }
        return {**found, **told, "why": self.why or None}


def resolve(
    wants: list[Want], constraints: list[Want], python: str, glibc: str | None, torch: str | None, timeout_s: float
) -> Resolution:
    """Command by command, as they stand in the Dockerfile: what one has installed stays for the next where that allows it."""
    found = Resolution(python=python, platform=platform_of(glibc))
    if program() is None:
        found.why = "uv is not installed"
        return found
    found.why = ""
    asker = Asker(python, found.platform or "", time.monotonic() + timeout_s)
    groups = sorted({each.group for each in wants})
    for group in groups[:MAX_GROUPS]:
        own = [each for each in wants if each.group == group]
        asked = [each for each in own if _askable(each)]
        found.left_out |= {each.asked for each in own} - {each.asked for each in asked} - {"python"}
        if asked and len(asked) <= MAX_WANTS:
            stays = torch if torch and all(each.allowed.contains(torch) for each in asked if each.name == "torch") else None
            failed = _group(asker, found, group, asked, [each for each in constraints if each.group == group], stays)
            if failed:
                # What was learned stays: it is no less true.
                found.why = failed
                break
            torch = found.chosen.get(group, {}).get("torch", torch)
    found.judge, found.asked = "uv" if found.chosen or found.conflicts else "table", asker.calls > 0
    found.why = found.why or (
        "" if asker.calls else "no requirement is one that an index resolves (what uv.lock, conda or a URL names is not)"
    )
    return found


def _askable(each: Want) -> bool:
    """Names of pip's index: no URL, nothing of conda's, nothing that uv.lock has decided."""
    return each.url is None and "conda" not in each.options and each.place.file != "uv.lock" and each.name != "python"


def _line(each: Want, *, local: bool) -> str:
    """Without `local` also without `+cu128`, which only torch's own index has."""
    extras = f"[{','.join(sorted(each.extras))}]" if each.extras else ""
    allowed = str(each.allowed)
    return f"{each.name}{extras}{allowed if local else re.sub(r'[+][A-Za-z0-9.]+', '', allowed)}"


@dataclass(frozen=True)
class Question:
    """What one command asks for."""

    asked: list[Want]
    limits: list[Want]
    options: list[str]
    indexes: tuple[str, ...]
    local: bool
    """Whether versions such as 2.9.1+cu128 exist."""


def _group(asker: Asker, found: Resolution, group: int, asked: list[Want], limits: list[Want], torch: str | None) -> str | None:
    """Fills in what one command takes, or its conflict; text: why uv could not say."""
    urls = tuple(dict.fromkeys(url for each in asked for url in each.indexes if "://" in url and "pypi.org" not in url))
    tags = [match[1] for url in urls if (match := TORCH_INDEX.search(url))]
    others = tuple(url for url in urls if not TORCH_INDEX.search(url))
    flags = {option for each in asked for option in each.options}
    options = ["--index-strategy", "unsafe-best-match", *(["--no-deps"] if "--no-deps" in flags else [])]
    options += ["--prerelease", "allow"] if "--pre" in flags else []
    complaint = ""
    # The indexes that the project names may be out of reach from here where PyPI is not.
    for backend, indexes in dict.fromkeys([(tags[0] if tags else None, others), (None, others), (None, ())]):
        question = Question(
            asked, limits, [*options, *(["--torch-backend", backend] if backend else [])], indexes, local=bool(backend)
        )
        answer = _without_sources(asker, found, question, torch)
        complaint = answer.complaint
        if answer.code is None:
            return f"no answer within --index-timeout, in {asker.calls} calls; the same call again begins with what was fetched"
        if answer.code and (UNREACHABLE.search(complaint) or "unexpected argument" in complaint):
            continue
        found.backend = backend or found.backend
        return _judged(asker, found, group, question, answer, torch, all_indexes=bool(indexes) or not others)
    return told(complaint, 200)


def _judged(
    asker: Asker, found: Resolution, group: int, question: Question, answer: Answer, torch: str | None, *, all_indexes: bool
) -> str | None:
    if answer.code == 0:
        found.chosen[group] = dict(PLAIN.findall(answer.said))
        return None
    if "No solution found" not in answer.complaint:
        return told(answer.complaint, 300) or f"uv ended with {answer.code}"
    if torch and re.search(r"\btorch\b", answer.complaint):
        free = _without_sources(asker, found, question, None)
        if free.code == 0:
            found.chosen[group] = dict(PLAIN.findall(free.said))
            found.conflicts.append(_conflict(question.asked, answer.complaint, replaces=torch))
            return None
    found.conflicts.append(
        _conflict(question.asked, answer.complaint, missing=bool(NOT_THERE.search(answer.complaint)) and not all_indexes)
    )
    return None


def _without_sources(asker: Asker, found: Resolution, question: Question, torch: str | None) -> Answer:
    """uv's answer, asked again without each package that it names as there in source only."""
    lines = [_line(each, local=question.local) for each in question.asked]
    limits = [_line(each, local=False) for each in question.limits] + ([f"torch=={torch}"] if torch else [])
    excluded: set[str] = set()
    while True:
        answer = asker.compile(lines, limits, question.options, excluded, question.indexes)
        named = set(SOURCE_ONLY.findall(answer.complaint)) - excluded
        if answer.code in (None, 0) or not named or asker.calls >= MAX_CALLS:
            found.left_out |= excluded
            return answer
        excluded |= named
        lines = [line for line in lines if re.split(r"[\[<>=!~]", line)[0] not in named]


def _conflict(asked: list[Want], complaint: str, *, missing: bool = False, replaces: str | None = None) -> Conflict:
    words = told(complaint.partition("cause:")[2].partition("hint:")[0], 590)
    named = [each for each in asked if re.search(rf"(?<![\w-]){re.escape(each.name)}(?![\w-])", words)]
    place = (named or asked)[0].place
    return Conflict(place, tuple(dict.fromkeys(each.name for each in named)), words, missing, replaces)
