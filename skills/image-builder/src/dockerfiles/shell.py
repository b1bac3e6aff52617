"""The commands of a RUN: words with their lines, cut at `&&`, `;`, `|` and new lines. Nothing is run or looked up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dockerfiles.text import Instruction, json_words

TOKEN = re.compile(
    r"""(?P<space>[ \t]+)|(?P<end>\n|&&|\|\||[;|&(){}])|(?P<redirect>\d*(?:>>|>&|<<-?|<|>)\s*)|(?P<comment>\#[^\n]*)"""
)
PIECE = re.compile(
    r"""'(?P<single>[^']*)'|"(?P<double>(?:[^"\\]|\\.)*)"|\\(?P<escaped>.)|(?P<plain>[^\s'"\\;&|()<>]+|.)""", re.DOTALL
)
LEADING = {"sudo", "env", "then", "do", "else", "if", "while", "exec", "time", "!", "set"}
SCRIPT_SHELLS = re.compile(r"^\s*(?:/bin/)?(?:ba|da|z)?sh\b|^\s*$|^\s*<<")


@dataclass(frozen=True)
class Command:
    """One simple command."""

    words: tuple[str, ...]
    lines: tuple[int, ...]
    """The line of each word in the Dockerfile."""


def commands(run: Instruction) -> list[Command]:
    """The commands of a RUN in any of its forms: a shell's text, a JSON list, a heredoc for a shell."""
    if words := json_words(run.value):
        nested = words[2] if len(words) > 2 and words[0].rpartition("/")[2] in ("sh", "bash") and "c" in words[1] else None
        return list(_split([(run.line, nested)])) if nested else [Command(tuple(words), (run.line,) * len(words))]
    found = [inner for command in _split(_without_head(run)) for inner in _nested(command)]
    for here in run.heredocs:
        if SCRIPT_SHELLS.search(run.value):
            found += _split([(here.line + index, f"{line}\n") for index, line in enumerate(_joined(here.body))])
    return found


def _nested(command: Command) -> list[Command]:
    """The commands in `bash -c "..."`, all on the line of that text; another command as it is."""
    words = bare(command).words
    if len(words) < 3 or words[0].rpartition("/")[2] not in ("sh", "bash") or not re.fullmatch(r"-\w*c", words[1]):
        return [command]
    line = command.lines[command.words.index(words[2])]
    return list(_split([(line, words[2])]))


def _joined(body: str) -> list[str]:
    """Lines of a script; one that ends with a backslash takes the next, which then is empty, so that the numbers stay."""
    lines = body.split("\n")
    for index in range(len(lines) - 1, 0, -1):
        if lines[index - 1].endswith("\\"):
            lines[index - 1 : index + 1] = [lines[index - 1][:-1] + " " + lines[index], ""]
    return lines


def _without_head(run: Instruction) -> list[tuple[int, str]]:
    """The physical lines without the keyword and its flags."""
    pieces = list(run.pieces)
    whole = "".join(text for _, text in pieces)
    drop = len(whole.rstrip()) - len(run.value)
    found = []
    for number, text in pieces:
        found.append((number, text[drop:]))
        drop = max(0, drop - len(text))
    return found


def _split(pieces: Iterable[tuple[int, str]]) -> Iterator[Command]:
    text, starts = "", []
    for number, piece in pieces:
        starts.append((len(text), number))
        text += piece
    words: list[str] = []
    lines: list[int] = []
    for word, at in _tokens(text):
        if word is not None:
            words.append(word)
            lines.append(max((start, number) for start, number in starts if start <= at)[1])
        elif words:
            yield Command(tuple(words), tuple(lines))
            words, lines = [], []
    if words:
        yield Command(tuple(words), tuple(lines))


def _tokens(text: str) -> Iterator[tuple[str | None, int]]:
    """Words, and None where a command ends; what a redirection names is dropped."""
    at, redirected = 0, False
    while at < len(text):
        match = TOKEN.match(text, at)
        if match and not (match["end"] in ("{", "}") and text[at : at + 2].strip("{}") and text[at - 1 : at].strip()):
            at = match.end()
            if match["redirect"]:
                redirected = True
            elif match["end"]:
                redirected = False
                yield None, at
            continue
        start, word = at, ""
        while at < len(text) and not re.match(r"[\s;&|()<>]", text[at]):
            piece = PIECE.match(text, at)
            assert piece is not None
            word += next(part for part in piece.groups() if part is not None)
            at = piece.end()
        if not redirected:
            yield word, start
        redirected = False


def bare(command: Command) -> Command:
    """Without `sudo`, `env` and the variables that stand before the program."""
    index = 0
    for word in command.words:
        if word not in LEADING and not re.match(r"[A-Za-z_][A-Za-z0-9_]*=", word):
            break
        index += 1
    return Command(command.words[index:], command.lines[index:])
