"""Where the files of a project lie in the image of a stage."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass

from dockerfiles.expand import filled
from dockerfiles.stages import Dockerfile, Stage
from dockerfiles.text import Instruction, json_words


@dataclass(frozen=True)
class Copies:
    """Where files and folders of the project lie in the image of a stage: (place in the image, source in the project)."""

    pairs: tuple[tuple[str, str], ...]

    def sources(self, place: str) -> list[str]:
        """Names in the project that may lie at this place of the image, the last copy first; they need not be there."""
        found = []
        for target, source in reversed(self.pairs):
            if place == target:
                found.append(source)
            elif place.startswith(target.rstrip("/") + "/"):
                found.append(posixpath.normpath(posixpath.join(source, posixpath.relpath(place, target))))
        return found


def copies(docker: Dockerfile, stage: Stage) -> Copies:
    """Of COPY, ADD and `RUN --mount=type=bind`, in the stage and those that it is built from."""
    pairs: list[tuple[str, str]] = []
    for each_stage in reversed(docker.chain(stage)):
        folder = docker.first_workdir(each_stage)
        for each, values in each_stage.body:
            if each.keyword == "WORKDIR":
                folder = posixpath.join(folder, filled(each.value, values))
            elif each.keyword in ("COPY", "ADD") and "from" not in each.flags:
                pairs += _copied(each, values, folder)
            elif each.keyword == "RUN":
                pairs += _bound(each, folder)
    return Copies(tuple(pairs))


def _copied(each: Instruction, values: dict[str, str], folder: str) -> list[tuple[str, str]]:
    words = json_words(each.value) or each.value.split()
    *sources, goal = [filled(word, values) for word in words] or [""]
    place = posixpath.normpath(posixpath.join(folder, goal))
    found = []
    for source in sources:
        name = posixpath.normpath(source.lstrip("/") or ".")
        name = (posixpath.dirname(name) or ".") if re.search(r"[*?\[]", posixpath.basename(name)) else name
        found.append((place, name))  # a folder's contents, or a file under a name of its own
        if name != ".":
            found.append((posixpath.join(place, posixpath.basename(name)), name))
    return found


def _bound(each: Instruction, folder: str) -> list[tuple[str, str]]:
    found = []
    for options in each.mounts:
        source = options.get("source") or options.get("src") or "."
        target = options.get("target") or options.get("dst") or options.get("destination")
        if options.get("type", "bind") == "bind" and target and "from" not in options:
            found.append((posixpath.normpath(posixpath.join(folder, target)), posixpath.normpath(source.lstrip("/") or ".")))
    return found
