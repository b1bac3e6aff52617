"""requirements.txt as pip reads it: continuations, comments, includes, constraints, hashes, options, URLs, editables."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from asked.files import Folder
from asked.wants import NoRequirement, Place, Want, want

MAX_INCLUDES = 50
COMMENT = re.compile(r"(^|\s+)#.*$")
INCLUDE = re.compile(r"(?P<word>-[rc])\s*(?P<short>\S.*)|(?P<option>--requirement|--constraint)(?:\s+|=)\s*(?P<long>\S.*)")
EDITABLE = re.compile(r"(?:-e|--editable)(?:\s+|=)\s*(\S.*)")
OPTION = re.compile(r"(-i|--index-url|--extra-index-url|-f|--find-links)(?:\s+|=)\s*(\S+)")
PER_REQUIREMENT = re.compile(r"\s+--(?:hash|config-settings?|global-option|install-option)(?:=|\s+).*$")


@dataclass
class Requirements:
    """What one file and those that it includes ask for."""

    wants: list[Want] = field(default_factory=list)
    constraints: list[Want] = field(default_factory=list)
    """Versions that are allowed for what something else installs."""
    indexes: list[tuple[str, Place]] = field(default_factory=list)
    wrong: list[tuple[Place, str]] = field(default_factory=list)
    """Lines that pip would refuse, and why."""
    local: bool = False
    """Whether the project itself is installed (`-e .`)."""
    paths: bool = False
    """Whether it takes anything from the project's folder: `.`, `./sub`, `./wheels/x.whl`, --find-links."""
    files: list[str] = field(default_factory=list)


def read(folder: Folder, name: str) -> Requirements:
    """The file, its includes and constraints; each is read once, also where they include each other."""
    found = Requirements()
    _read(folder, name, found, constraint=False)
    return _indexed(found)


def of_lines(folder: Folder, lines: Iterable[tuple[str, Place]]) -> Requirements:
    """The same of single lines, as the `pip` part of conda's file has them."""
    found = Requirements()
    for line, place in lines:
        _one(folder, line, place, found, constraint=False)
    return _indexed(found)


def _indexed(found: Requirements) -> Requirements:
    indexes = tuple(url for url, _ in found.indexes)
    found.wants = [replace(each, indexes=indexes) for each in found.wants]
    return found


def _read(folder: Folder, name: str, found: Requirements, *, constraint: bool) -> None:
    name = posixpath.normpath(name)
    if name in found.files or len(found.files) >= MAX_INCLUDES:
        return
    found.files.append(name)
    text = folder.text(name)
    if text is None:
        return
    for line, number in logical_lines(text):
        _one(folder, line, Place(name, number), found, constraint=constraint)


def logical_lines(text: str) -> Iterator[tuple[str, int]]:
    """Lines with something in them, joined over a backslash at the end, with the number of their first line.

    As pip's req_file.join_lines: a line that is a comment ends a continuation, whatever it ends with.
    """
    joined: list[str] = []
    first = 0
    for number, line in enumerate(text.splitlines(), start=1):
        comment = COMMENT.match(line) is not None
        first = first if joined else number
        if line.endswith("\\") and not comment:
            joined.append(line.strip("\\"))
            continue
        joined.append(f" {line}" if comment else line)
        if whole := COMMENT.sub("", "".join(joined)).strip():
            yield whole, first
        joined = []
    if whole := COMMENT.sub("", "".join(joined)).strip():
        yield whole, first


def _one(folder: Folder, line: str, place: Place, found: Requirements, *, constraint: bool) -> None:
    if match := INCLUDE.fullmatch(line):
        kind, other = match["word"] or match["option"], _unquoted(match["short"] or match["long"])
        _include(folder, other, place, found, constraint=constraint or kind in ("-c", "--constraint"))
    elif match := EDITABLE.fullmatch(line):
        _local_or_url(match[1], place, found)
    elif match := OPTION.match(line):
        found.indexes.append((match[2], place))
        found.paths = found.paths or "://" not in match[2]
    elif line.startswith("-"):
        return  # --pre, --no-binary, --trusted-host, ...
    elif is_path(line):
        _local_or_url(line, place, found)
    else:
        _add(line, place, found, constraint=constraint)


def _include(folder: Folder, other: str, place: Place, found: Requirements, *, constraint: bool) -> None:
    if re.match(r"https?://", other):
        return
    name = posixpath.join(posixpath.dirname(place.file), other)
    if folder.exists(name) or not folder.inside(name):
        _read(folder, name, found, constraint=constraint)
    else:
        found.wrong.append((place, f"it includes {other[:200]}, which is not in the folder"))


def _local_or_url(text: str, place: Place, found: Requirements) -> None:
    if "://" in text:
        _add(text, place, found, constraint=False)
    else:
        found.paths, found.local = True, found.local or _is_project(text)


def _add(line: str, place: Place, found: Requirements, *, constraint: bool) -> None:
    try:
        each = want(PER_REQUIREMENT.sub("", line), place)
        each = replace(each, text="") if "--hash" in line else each  # another version has another hash: no edit
    except NoRequirement as error:
        if "${" not in line:  # pip fills it from its environment, which nobody knows here
            found.wrong.append((place, str(error)))
        return
    (found.constraints if constraint else found.wants).append(each)


def is_path(text: str) -> bool:
    """`.`, `./x`, `/x`, `x/y`: something in the file system, and no name."""
    bare = re.split(r"[\[\s;]", text, maxsplit=1)[0]
    return bare in (".", "..") or bare.startswith(("./", "../", "/")) or ("/" in bare and "://" not in text and "@" not in text)


def _is_project(text: str) -> bool:
    return re.split(r"[\[\s;]", text.strip(), maxsplit=1)[0].rstrip("/") in (".", "./.", "")


def _unquoted(text: str) -> str:
    try:
        return " ".join(shlex.split(text)) or text
    except ValueError:
        return text
