"""`$X`, `${X}`, `${X:-word}` and their like, as a Dockerfile expands them (moby's shell.Lex)."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!-]")
MAX_CHARS, MAX_DEPTH = 65_536, 20


class CannotExpand(ValueError):
    """Not the syntax of an expansion, or one that grows without end."""


def expand(text: str, values: Mapping[str, str], missing: set[str] | None = None, escape: str = "\\", *, level: int = 0) -> str:
    """`text` with the values put in; quotes are kept. Names without a value become empty and are added to `missing`.

    Raises CannotExpand.
    """
    missing = set() if missing is None else missing
    if level > MAX_DEPTH:
        raise CannotExpand(f"nested deeper than {MAX_DEPTH} levels")
    out: list[str] = []
    size = at = 0
    while at < len(text):
        piece, at = _one(text, at, values, missing, escape, level)
        out.append(piece)
        size += len(piece)
        if size > MAX_CHARS:
            raise CannotExpand(f"it grows beyond {MAX_CHARS} characters")
    return "".join(out)


def _one(text: str, at: int, values: Mapping[str, str], missing: set[str], escape: str, level: int) -> tuple[str, int]:
    char = text[at]
    if char == escape:
        return (text[at + 1] if text[at + 1 : at + 2] == "$" else text[at : at + 2]), at + 2
    if char == "'" and (end := text.find("'", at + 1)) > 0:
        return text[at : end + 1], end + 1
    if char != "$":
        return char, at + 1
    if text[at + 1 : at + 2] == "{":
        end = _closing(text, at + 2)
        return _braced(text[at + 2 : end], values, missing, escape, level), end + 1
    match = NAME.match(text, at + 1)
    if not match:
        return char, at + 1
    return _value(match[0], values, missing), match.end()


def _closing(text: str, at: int) -> int:
    """The index of the bracket that closes the one before `at`."""
    depth = 1
    for index in range(at, len(text)):
        depth += text.startswith("${", index - 1) and index > at
        depth -= text[index] == "}"
        if depth == 0:
            return index
    raise CannotExpand("a ${ without its }")


def _value(name: str, values: Mapping[str, str], missing: set[str]) -> str:
    if name not in values:
        missing.add(name)
    return values.get(name, "")


def _braced(inside: str, values: Mapping[str, str], missing: set[str], escape: str, level: int) -> str:
    match = NAME.match(inside)
    if not match:
        raise CannotExpand(f"${{{inside[:40]}}} names no variable")
    name, rest = match[0], inside[match.end() :]
    if not rest:
        return _value(name, values, missing)
    operator = next(
        (each for each in (":-", ":+", ":?", "-", "+", "?", "##", "#", "%%", "%", "//", "/") if rest.startswith(each)), None
    )
    if operator is None:
        raise CannotExpand(f"${{{inside[:40]}}} is no expansion that a Dockerfile knows")
    rest = rest[len(operator) :]
    given = bool(values.get(name)) if operator.startswith(":") else name in values
    if operator[-1] in "-+?":
        if given == (operator[-1] == "+"):
            return expand(rest, values, missing, escape, level=level + 1)
        return values.get(name, "") if operator[-1] != "+" else ""
    return _cut(_value(name, values, missing), operator, rest)


def _cut(value: str, operator: str, rest: str) -> str:
    """`#` and `%` remove a pattern at the start or the end, doubled the longest; `/a/b` replaces."""
    if operator in ("/", "//"):
        pattern, _, new = rest.partition("/")
        found = re.compile(fnmatch.translate(pattern).replace(r"\Z", "").replace(r"\z", "")) if pattern else None
        return found.sub(lambda _: new, value[:MAX_CHARS], count=operator == "/") if found else value
    lengths = range(len(value) + 1) if len(operator) == 1 else range(len(value), -1, -1)
    for length in lengths if len(value) < 1000 else ():
        piece = value[:length] if operator[0] == "#" else value[len(value) - length :]
        if fnmatch.fnmatchcase(piece, rest):
            return value[length:] if operator[0] == "#" else value[: len(value) - length]
    return value


def filled(text: str, values: dict[str, str]) -> str:
    """Without its quotes, variables filled in; as it stands where that cannot be."""
    try:
        return expand(text.strip("\"'"), values)
    except CannotExpand:
        return text
