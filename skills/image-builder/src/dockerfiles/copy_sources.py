"""What a Dockerfile takes from the build context: the sources of COPY, ADD and `RUN --mount=type=bind`, variables filled in."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from dockerfiles.expand import CannotExpand, expand
from dockerfiles.stages import Dockerfile, Stage
from dockerfiles.text import Instruction, json_words

REMOTE = re.compile(r"(?:https?|git|ssh|ftp)://|git@|[^/]+\.git(?:#|$)")
GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class Source:
    """One path that an instruction names."""

    asked: str
    """As it stands there, variables filled in."""
    stage: Stage
    each: Instruction

    @property
    def path(self) -> str:
        """Relative to the context, as BuildKit cleans it: nothing leads above its root; `.` is the whole."""
        return posixpath.normpath(posixpath.join("/", self.asked)).lstrip("/") or "."

    @property
    def leads_out(self) -> bool:
        return posixpath.normpath(self.asked).startswith("..")

    @property
    def is_pattern(self) -> bool:
        return bool(GLOB.search(self.asked))


def context_sources(docker: Dockerfile) -> list[Source]:
    """In the order of the file. A word that holds a variable without a value is left out."""
    return [
        Source(word, stage, each) for stage in docker.stages for each, values in stage.body for word in _words(each, values)
    ]


def _words(each: Instruction, values: dict[str, str]) -> list[str]:
    if each.keyword in ("COPY", "ADD") and "from" not in each.flags:
        words = (json_words(each.value) or each.value.split())[:-1]
    else:
        bound = [found for found in each.mounts if found.get("type", "bind") == "bind" and "from" not in found]
        words = [found.get("source") or found.get("src") or "" for found in bound]
    filled = (_filled(word.strip("\"'"), values) for word in words if word and not word.startswith("<<"))
    return [word for word in filled if word and word.isprintable() and not REMOTE.match(word)]


def _filled(word: str, values: dict[str, str]) -> str | None:
    missing: set[str] = set()
    try:
        filled = expand(word, values, missing)
    except CannotExpand:
        return None
    return None if missing else filled
