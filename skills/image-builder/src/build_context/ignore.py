"""Which files of a folder BuildKit leaves out: the ignore file that it takes, its lines, and the verdict on each path.

Sources: moby/patternmatcher v0.6 (ignorefile.ReadAll, MatchesUsingParentResults) and BuildKit's dockerui, which takes
`<Dockerfile>.dockerignore` beside the Dockerfile in the place of the context's `.dockerignore`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import trainyard_files
import trainyard_shell as shell
from build_context.glob import BadPattern, Match, clean, matcher

MAX_BYTES, MAX_LINE_BYTES = 1 << 20, 65_535
"""A longer line ends Go's bufio.Scanner with an error."""
SPACES = (
    "\t\n\v\f\r \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""Go's unicode.IsSpace, which is not Python's."""
GLOB_CHARS = set("*?[]^\\")
OURS = ".trainyard"
"""Run folders of Trainyard are left out of every context, whatever the ignore file says."""


@dataclass(frozen=True)
class Pattern:
    """One line."""

    text: str
    includes: bool
    """A `!` stood before it."""
    match: Match
    line: int = 0
    """In the ignore file; 0 for Trainyard's own."""

    @property
    def fixed(self) -> str:
        """Without the `/**` and `/*` at its end."""
        return self.text.removesuffix("/**").removesuffix("/*")


Matched = tuple[bool, ...]
"""Per pattern, whether it matched a folder: what BuildKit hands down to the folder's entries."""


@dataclass(frozen=True)
class Ignore:
    """The patterns of one ignore file; `source` is its name, None where there is none."""

    patterns: tuple[Pattern, ...]
    text: str = ""
    source: str | None = None

    def verdict(self, path: str, above: Matched | None) -> tuple[bool, Matched]:
        """Whether `path` is left out; `above` is what this said of its folder, None at the top."""
        left_out, matched = False, []
        for index, each in enumerate(self.patterns):
            hit = bool(above and above[index])
            if not hit and each.includes == left_out:  # else it could not change the verdict, and BuildKit does not ask
                hit = each.match(path)
            matched.append(hit)
            left_out = not each.includes if hit else left_out
        return left_out, tuple(matched)

    def leaves_out(self, path: str) -> Pattern | None:
        """The line that decides that a path is left out; None where it is in the context."""
        above, out = None, False
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            out, above = self.verdict("/".join(parts[:depth]), above)
        return (
            next((each for each, hit in zip(reversed(self.patterns), reversed(above or ()), strict=True) if hit), None)
            if out
            else None
        )

    def may_hold(self, folder: str) -> bool:
        """Whether something in a folder that is left out can be in the context all the same."""
        back = [each for each in self.patterns if each.includes]
        return bool(back) and (not self._plain or any(f"{each.fixed}/".startswith(f"{folder}/") for each in back))

    @cached_property
    def _plain(self) -> bool:
        return not any(GLOB_CHARS & set(each.fixed) for each in self.patterns if each.includes)


def read(root: Path, dockerfile: Path | None) -> Ignore:
    """The ignore file for this context. Raises SkillError usage for one that BuildKit would refuse, with the line; permission."""
    own = dockerfile.with_name(dockerfile.name + ".dockerignore") if dockerfile else None
    for path in filter(None, (own, root / ".dockerignore")):
        try:
            raw = trainyard_files.read_regular(path, MAX_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, trainyard_files.Unusable) as error:
            code = "permission" if isinstance(error, PermissionError) else "usage"
            why = getattr(error, "strerror", None) or str(error)
            raise shell.SkillError(
                code, f"{path.name} cannot be read: {why}", hint="an ignore file is some lines of text"
            ) from error
        return parse(raw, path.name)
    return parse(b"", None)


def parse(raw: bytes, source: str | None) -> Ignore:
    """Raises SkillError usage with the line."""
    found: list[Pattern] = []
    for number, line in enumerate(_lines(raw), start=1):
        try:
            pattern = _pattern(line, number)
        except BadPattern as error:
            message = f"{source}:{number}: {shell.clean(line, 80)!r} is not a pattern: {error}"
            raise shell.SkillError("usage", message, hint="correct that line; a build would stop there too") from error
        if pattern is not None:
            found.append(pattern)
    return Ignore((*found, _pattern_of(OURS, includes=False)), raw.decode("utf-8", "surrogateescape"), source)


def _lines(raw: bytes) -> list[str]:
    lines = raw.split(b"\n")
    lines[0] = lines[0].removeprefix(b"\xef\xbb\xbf")
    return [line.removesuffix(b"\r").decode("utf-8", "surrogateescape") for line in lines]


def _pattern(line: str, number: int) -> Pattern | None:
    if len(line.encode("utf-8", "surrogateescape")) > MAX_LINE_BYTES:
        raise BadPattern("it is too long")
    if line.startswith("#") or not (text := line.strip(SPACES)):
        return None
    includes = text[0] == "!"
    text = text[1:].strip(SPACES) if includes else text
    if text and len(text := clean(text)) > 1:
        text = text.removeprefix("/")
    if re.search(r"[\x00-\x1f\x7f]", text):
        raise BadPattern("it holds a control character, which BuildKit's protocol does not carry")
    # patternmatcher cleans once more, the `!` included.
    text = clean(f"!{text}" if includes else text)
    if text == "!":
        raise BadPattern("nothing follows the !")
    return _pattern_of(text.removeprefix("!") if text[0] == "!" else text, includes=text[0] == "!", line=number)


def _pattern_of(text: str, *, includes: bool, line: int = 0) -> Pattern:
    return Pattern(text, includes, matcher(text), line)


def written(ignore: Ignore, also: Sequence[str] = ()) -> bytes:
    """The ignore file of the build's own copy: the user's bytes, and what is left out besides."""
    more = "\n".join((OURS, *also))
    return f"{ignore.text.rstrip(chr(10))}\n{more}\n".lstrip("\n").encode("utf-8", "surrogateescape")
