"""Secrets in the words of a command, and in text for eyes: found by name, and hidden. What one is trainyard_secrets.py says.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only. Standard library only,
for local-runner's supervisor reads with it too.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from trainyard_secrets import IN_TEXT, is_named, is_secret, kind_of

HIDDEN = "***"
OPTION = re.compile(r"--?[A-Za-z][\w.-]*")
SETTING = re.compile(r"(?P<name>[-+~]{0,2}[A-Za-z_][\w./@-]{0,200})=(?P<value>[\s\S]+)")
HEADER = re.compile(r"(?P<name>[A-Za-z][\w-]{1,60})\s*:\s*(?P<value>\S[\s\S]*)")
CODE = re.compile(r"[()\[\]{}]")
MAX_SCRIPT_CHARS = 20_000


def in_words(words: Sequence[str]) -> list[str]:
    """What in a command carries a secret, by name and never by value: ["--api-key", "a GitHub token"]."""
    return list(dict.fromkeys(found for _, found in _carriers(words)))


def hidden_words(words: Sequence[str]) -> list[str]:
    """The command without its secrets, for eyes; it cannot be started."""
    carriers = {at for at, _ in _carriers(words)}
    return [_hide_word(word) if at in carriers else word for at, word in enumerate(words)]


def _hide_word(word: str) -> str:
    if kind_of(word) or re.search(r"\s", word):  # a script: what stands beside a secret may be half of it
        return HIDDEN
    name, equals, _ = word.rpartition("=")
    return name + equals + HIDDEN


def _carriers(words: Sequence[str], *, is_script: bool = False) -> Iterator[tuple[int, str]]:
    """(position, what it is called) of each word that holds a secret."""
    option = ""
    for at, word in enumerate(words):
        found = _carried(option, word, is_script=is_script)
        if found is not None:
            yield at, found
        option = word if OPTION.fullmatch(word) else ""


def _carried(option: str, word: str, *, is_script: bool) -> str | None:
    """`option` stands before the word, if anything does. In a script an expression is not a value: `password=args.get("x")`."""
    if is_script and CODE.search(word):
        return None
    if option and not OPTION.fullmatch(word) and is_secret(option, word):
        return option
    pair = word
    for _ in range(3):  # also --env=NAME=VALUE
        if not (setting := SETTING.fullmatch(pair)):
            break
        if is_secret(setting["name"], setting["value"]):
            return setting["name"]
        pair = setting["value"]
    header = HEADER.fullmatch(word)
    if header and is_named(header["name"]) and is_secret(header["name"], header["value"]):
        return header["name"]
    if kind := kind_of(word):
        return kind
    return _in_script(word) if not is_script and re.search(r"\s", word) else None


def _in_script(text: str) -> str | None:
    """The first secret of a word that is a command line itself: `bash -c "HF_TOKEN=... python train.py"`."""
    if len(text) > MAX_SCRIPT_CHARS:
        return None
    try:
        words = shlex.split(text.replace(";", " "))
    except ValueError:
        return None
    return next((found for _, found in _carriers(words, is_script=True)), None)


# --- text for eyes --------------------------------------------------------------------------------------------------

ASSIGNED = re.compile(r"(?<![\w.-])(?P<name>-{0,2}[A-Za-z_][\w.-]{1,100}+)[\"']?\s?[=:]\s?[\"']?")
GIVEN = re.compile(r"(?<![\w-])(?P<name>(?!--secret\b)--?[A-Za-z][\w-]{1,100}+)\s+[\"']?(?!-|[a-z]{1,12}\s)")
"""Not in prose (`--api-key wants ...`), and not our own --secret, which takes a name."""
VALUE = re.compile(r"[^\s\"',;&`]+")
FILE = re.compile(r".*\.(?:ya?ml|json|toml|ini|cfg|txt|md|log|lock|py|sh)")
"""`secrets.yaml: line 3` tells of a file, and of no value."""


def hidden(text: str) -> str:
    """A text without the secrets that can be told in it: `API_KEY=...`, `--token ...`, tokens, passwords in URLs."""
    for pattern, _ in IN_TEXT:
        text = pattern.sub(HIDDEN, text)
    for pattern in (ASSIGNED, GIVEN):
        text = _without_values(text, pattern)
    return text


def _without_values(text: str, before: re.Pattern[str]) -> str:
    parts, at = [], 0
    while found := before.search(text, at):
        parts.append(text[at : found.end()])
        at = found.end()
        name = found["name"]
        value = VALUE.match(text, at) if is_named(name) and not FILE.fullmatch(name) else None
        is_code = value and name[0] != "-" and not name.isupper() and CODE.search(value[0])  # api_key=os.environ["KEY"]
        if value and not is_code and is_secret(name, value[0]):
            parts.append(HIDDEN)
            at = value.end()
    return "".join([*parts, text[at:]])


def hidden_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Names with their values, and HIDDEN for each that is a secret."""
    return {name: HIDDEN if is_secret(name, value) else value for name, value in variables.items()}
