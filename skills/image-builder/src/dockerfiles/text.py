"""A Dockerfile's text -> its instructions, as BuildKit's parser (frontend/dockerfile/parser) cuts them.

Directives, comments, continuation lines and heredocs are known here; what an instruction means is not.
"""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass, field

KEYWORDS = re.compile(
    "ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|FROM|HEALTHCHECK|LABEL|MAINTAINER|ONBUILD|RUN|SHELL|STOPSIGNAL|USER|VOLUME|WORKDIR"
)
DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*")
HEREDOC = re.compile(r"(\d*)<<(-?)([^<]*)")
PIECE = r"""[^\s'"\\]|\\.|'[^']*'|"(?:[^"\\]|\\.)*+\""""
WORD = re.compile(rf"(?:{PIECE})+", re.DOTALL)
CLOSED = re.compile(rf"(?:\s|{PIECE})*+\\?", re.DOTALL)
FLAG = re.compile(r"--([a-z][a-z0-9-]*)(?:=(\S*))?(?:\s+|$)")
MAX_INSTRUCTIONS = 5000


class NotADockerfile(ValueError):
    """BuildKit would refuse the file; the message has the line."""


@dataclass(frozen=True)
class Heredoc:
    """The text between `<<NAME` and NAME."""

    name: str
    line: int
    """Of the first line of the body."""
    body: str
    expand: bool
    """False where NAME is quoted: `$X` stays as it is."""


@dataclass(frozen=True)
class Instruction:
    """One instruction. `pieces` are the physical lines that make its text, in order: (line number, text)."""

    keyword: str
    line: int
    value: str
    """Behind the keyword and its flags, continuation lines joined."""
    flags: dict[str, str] = field(default_factory=dict)
    pieces: tuple[tuple[int, str], ...] = ()
    heredocs: tuple[Heredoc, ...] = ()

    @property
    def mounts(self) -> list[dict[str, str]]:
        """The options of each --mount of a RUN."""
        found = self.flags.get("mount", "").split("\n") if self.keyword == "RUN" else []
        return [dict(part.partition("=")[::2] for part in mount.split(",")) for mount in found if mount]


@dataclass
class Lines:
    """The physical lines that are still to be read."""

    lines: list[str]
    at: int = 0
    escape: str = "\\"

    def take(self) -> tuple[int, str] | None:
        if self.at >= len(self.lines):
            return None
        self.at += 1
        return self.at, self.lines[self.at - 1]


def instructions(text: str) -> list[Instruction]:
    """All instructions in order. Raises NotADockerfile."""
    lines = Lines(text.removeprefix("\ufeff").replace("\r\n", "\n").split("\n"))
    lines.escape = _escape(lines.lines)
    found: list[Instruction] = []
    while (first := lines.take()) is not None:
        if not first[1].strip() or first[1].lstrip().startswith("#"):
            continue
        pieces = _logical_line(lines, first)
        found.append(_instruction(pieces, lines))
        if len(found) > MAX_INSTRUCTIONS:
            raise NotADockerfile(f"line {first[0]}: more than {MAX_INSTRUCTIONS} instructions")
    if not found:
        raise NotADockerfile("it holds no instruction")
    return found


def _escape(lines: list[str]) -> str:
    """The escape character, from the directives at the head of the file; the first line that is none ends them."""
    seen: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        match = DIRECTIVE.fullmatch(line.strip())
        if not match or (key := match[1].lower()) not in ("escape", "syntax", "check"):
            break
        if key in seen:
            raise NotADockerfile(f"line {number}: the directive {key} stands twice")
        seen[key] = match[2]
    if (escape := seen.get("escape", "\\")) not in ("\\", "`"):
        raise NotADockerfile(f"the escape directive must be a backslash or a backtick, not {escape[:20]!r}")
    return escape


def _logical_line(lines: Lines, first: tuple[int, str]) -> list[tuple[int, str]]:
    """The line and those that continue it; comments and empty lines between them are dropped, as BuildKit does."""
    escape = re.escape(lines.escape)
    continued = re.compile(rf"(?:(?<=[^{escape}])|^){escape}[ \t]*$")
    pieces: list[tuple[int, str]] = []
    number, text = first[0], first[1].lstrip()
    while True:
        cut = continued.sub("", text)
        pieces.append((number, cut))
        if cut == text:
            return pieces
        while (following := lines.take()) is not None and (not following[1].strip() or following[1].lstrip().startswith("#")):
            continue
        if following is None:
            return pieces
        number, text = following


def _instruction(pieces: list[tuple[int, str]], lines: Lines) -> Instruction:
    number, whole = pieces[0][0], "".join(text for _, text in pieces).strip()
    keyword, value = [*(part.strip() for part in re.split(r"[\t\v\f\r ]+", whole, maxsplit=1)), ""][:2]
    keyword = keyword.upper()
    if not KEYWORDS.fullmatch(keyword):
        near = difflib.get_close_matches(keyword[:40], KEYWORDS.pattern.split("|"), n=1)
        meant = f" (did you mean {near[0]}?)" if near else ""
        raise NotADockerfile(f"line {number}: unknown instruction {keyword[:40]!r}{meant}")
    if not value and keyword not in ("CMD", "ENTRYPOINT", "RUN", "SHELL"):
        raise NotADockerfile(f"line {number}: {keyword} needs an argument")
    inner, said = [*value.split(None, 1), ""][:2] if keyword == "ONBUILD" else (keyword, value)
    here = _heredocs(said, lines) if inner.upper() in ("RUN", "COPY", "ADD") and "<<" in said else ()
    flags, rest = _flags(value)
    return Instruction(keyword, number, rest, flags, tuple(pieces), here)


def _flags(value: str) -> tuple[dict[str, str], str]:
    """`--name=value` words at the start; a name that stands twice (--mount) keeps all, one a line."""
    flags: dict[str, str] = {}
    while match := FLAG.match(value):
        said = match[2] or ""
        flags[match[1]] = f"{flags[match[1]]}\n{said}" if match[1] in flags else said
        value = value[match.end() :]
    return flags, value


def _heredocs(value: str, lines: Lines) -> tuple[Heredoc, ...]:
    found = []
    if not CLOSED.fullmatch(value) or json_words(_flags(value)[1]) is not None:
        return ()  # a quote without its end: BuildKit's word splitter gives up, and so there is no heredoc
    for word in WORD.findall(value):
        match = HEREDOC.fullmatch(word)
        name = re.sub(r"""\\(.)|['"]""", r"\1", match[3]) if match else ""
        if match and name:
            found.append(_body(name, lines, tabs=bool(match[2]), expand=name == match[3]))
    return tuple(found)


def _body(name: str, lines: Lines, *, tabs: bool, expand: bool) -> Heredoc:
    """Reads up to the line that is the name. Raises NotADockerfile where there is none."""
    start = lines.at + 1
    body: list[str] = []
    while (line := lines.take()) is not None:
        text = line[1].lstrip("\t") if tabs else line[1]
        if text == name:
            return Heredoc(name, start, "\n".join(body), expand)
        body.append(text)
    raise NotADockerfile(f"line {start - 1}: no line {name[:40]!r} ends this heredoc")


def json_words(value: str) -> list[str] | None:
    """The list of a RUN, CMD or COPY in JSON form; None for the shell's form. What follows the list is ignored, as BuildKit does."""
    if not value.startswith("["):
        return None
    try:
        words, _ = json.JSONDecoder().raw_decode(value)
    except (ValueError, RecursionError):
        return None
    return words if isinstance(words, list) and all(isinstance(word, str) for word in words) else None
