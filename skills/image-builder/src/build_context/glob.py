"""One pattern of a .dockerignore as a test of a path, the way moby/patternmatcher v0.6, which BuildKit uses, compiles it.

Go's path/filepath.Match says which patterns are valid and Go's regexp (RE2) matches most of them; both differ from Python's re, so the
few constructs of RE2 whose meaning differs are translated, or refused.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable

Match = Callable[[str], bool]
ANY, ANY_FOLDERS = "[^/]*", "(.*/)?"
ESCAPED = ".+()|{}$"
"""What patternmatcher escapes; `^` it does not, so that is an anchor outside brackets."""
POSIX = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "ascii": r"\x00-\x7f",
    "blank": r"\t ",
    "cntrl": r"\x00-\x1f\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\t\n\v\f\r ",
    "upper": "A-Z",
    "word": "0-9A-Za-z_",
    "xdigit": "0-9A-Fa-f",
}


class BadPattern(ValueError):
    """BuildKit would refuse the pattern, or means something by it that is not translated here."""


def clean(path: str) -> str:
    """Go's filepath.Clean: as normpath, but two slashes at the start are one."""
    return posixpath.normpath(re.sub("^/+", "/", path))


def matcher(pattern: str) -> Match:
    """The test of a cleaned pattern. Raises BadPattern."""
    check(pattern)
    kind, expression = _compile(pattern)
    if kind == "exact":
        return lambda path: path == pattern
    if kind == "prefix":
        start = pattern[:-2]
        return lambda path: path.startswith(start)
    if kind == "suffix":
        end = pattern[2:]
        return lambda path: path.endswith(end) or (end[:1] == "/" and path == end[1:])
    try:
        found = re.compile(_python(expression), re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadPattern(f"{error}") from error
    return lambda path: found.search(path) is not None


def _compile(pattern: str) -> tuple[str, str]:
    """exact | prefix | suffix | regexp, and the expression as patternmatcher writes it for RE2."""
    kind, out, at = "exact", "^", 0
    while at < len(pattern):
        char, first = pattern[at], at == 0
        at += 1
        if char == "*" and pattern[at : at + 1] == "*":
            at += 1
            at += pattern[at : at + 1] == "/"
            if at < len(pattern):
                out, kind = out + ANY_FOLDERS, "regexp"
            elif kind == "exact":
                kind = "prefix"
            else:
                out, kind = out + ".*", "regexp"
            kind = "suffix" if first else kind
        elif char in "*?":
            out, kind = out + (ANY if char == "*" else "[^/]"), "regexp"
        elif char == "\\" and at < len(pattern):
            out, kind = out + char + pattern[at], "regexp"
            at += 1
        elif char in "[]":
            out, kind = out + char, "regexp"
        else:
            out += "\\" + char if char in ESCAPED or char == "\\" else char
    return kind, out + "$"


def _python(expression: str) -> str:
    """The expression with Python's meaning equal to RE2's."""
    # A run of `**/` is one: Python would try every way to divide the path between them.
    expression = re.sub(rf"(?:{re.escape(ANY_FOLDERS)})+", lambda _: ANY_FOLDERS, expression)
    if ANY_FOLDERS not in expression and ".*" not in expression and not re.search(r"\[(?!\^/\])", expression):
        expression = _linear(expression)
    out, at, inside = "", 0, False
    while at < len(expression):
        char = expression[at]
        at += 1
        if char == "\\":
            out += _escape(expression[at : at + 1], inside)
            at += 1
        elif inside and expression.startswith("[:", at - 1) and (end := expression.find(":]", at)) > 0:
            out += _named(expression[at + 1 : end])
            at = end + 2
        elif inside and char in "[&~|":
            out += "\\" + char  # plain in RE2; Python keeps them for sets to come
        elif char == "[":
            inside, out = True, out + char
        elif char == "]":
            inside, out = False, out + (char if inside else "\\]")
        else:
            out += r"\Z" if char == "$" and not inside else char
    return out


def _linear(expression: str) -> str:
    """Each `*` takes as little as it can and never comes back: enough where nothing but plain text stands between them."""
    first, *others = expression.split(ANY)
    if len(others) < 2:
        return expression
    return first + "".join(f"(?>{ANY}?{each})" for each in others[:-1]) + ANY + others[-1]


def _escape(char: str, inside: bool) -> str:
    if not char or char > "\x7f":
        raise BadPattern("a backslash before nothing, or before a letter that is not ASCII")
    if not char.isalnum() or char in "afnrtvdDsSwW":
        return "\\" + char
    if char in "bBAz" and not inside:
        return r"\Z" if char == "z" else "\\" + char
    raise BadPattern(f"the escape \\{char} is not supported here")


def _named(name: str) -> str:
    if name not in POSIX:
        raise BadPattern(f"[:{name[:20]}:] is not a class that is supported here")
    return POSIX[name]


def check(pattern: str) -> None:
    """What Go's filepath.Match calls malformed. Raises BadPattern."""
    at = 0
    while at < len(pattern):
        char = pattern[at]
        at += 1
        if char == "\\":
            if at == len(pattern):
                raise BadPattern("a backslash at its end")
            at += 1
        elif char == "[":
            at = _brackets(pattern, at)


def _brackets(pattern: str, at: int) -> int:
    """The place behind the bracket that closes the one before `at`."""
    at += pattern[at : at + 1] == "^"
    ranges = 0
    while not (pattern[at : at + 1] == "]" and ranges):
        at = _member(pattern, at)
        if pattern[at] == "-":
            at = _member(pattern, at + 1)
        ranges += 1
    return at + 1


def _member(pattern: str, at: int) -> int:
    if pattern[at : at + 1] in ("", "-", "]"):
        raise BadPattern("brackets that are empty or not closed")
    at += 2 if pattern[at] == "\\" else 1
    if at >= len(pattern):
        raise BadPattern("brackets that are not closed")
    return at
