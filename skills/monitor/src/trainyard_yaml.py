"""YAML of unknown origin: what a parser would turn into millions of nodes is refused before anything is built from it.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml
from trainyard_files import Unusable, read_regular

MAX_BYTES = 4 << 20
MAX_NODES = 20_000
"""Aliases count as often as they are used: nine lines of merge keys that use each other make four hundred million."""
MAX_NESTING = 50
MAX_NUMBER_CHARS = 64
NUMBER = re.compile(r"[-+]?[0-9][-+0-9_.:eExXa-fA-F]*")
HALF_A_PAIR = re.compile("[\ud800-\udfff]")
Loader = type[yaml.SafeLoader]


def read(path: Path, *, limit_bytes: int = MAX_BYTES, loader: Loader = yaml.SafeLoader) -> Any:
    """The value in a YAML file. Raises Unusable (not a regular file, too long, not UTF-8, too much), YAMLError, OSError."""
    raw = read_regular(path, limit_bytes)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Unusable(f"{path} is not UTF-8 text (byte {error.start})") from error
    try:
        return load(text, loader)
    except Unusable as error:
        raise Unusable(f"{path}{error}") from None


def load(text: str, loader: Loader = yaml.SafeLoader) -> Any:
    """The value of `text`. Raises Unusable, or YAMLError where it is not YAML."""
    _refuse_too_much(text)
    try:
        return yaml.load(text, Loader=loader)  # noqa: S506  a SafeLoader
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        # a date that does not exist, an unhashable key, a number of ten thousand digits: YAML's own constructor gives up
        raise Unusable(f": {str(error)[:200]}") from error


def _refuse_too_much(text: str) -> None:
    """Raises Unusable with the line; YAMLError with the words of the parser that builds."""
    try:
        _count(yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError:
        _count(yaml.parse(text, Loader=yaml.SafeLoader))


def _count(events: Iterable[yaml.Event]) -> None:
    """One pass over the events, which are flat whatever they describe."""
    sizes: dict[str | None, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    size = 0
    for event in events:
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.CollectionStartEvent):
            open_nodes.append((event.anchor, size))
            size += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            sizes[anchor] = size - before
        elif isinstance(event, yaml.ScalarEvent):
            size += 1
            sizes[event.anchor] = 1
            if HALF_A_PAIR.search(event.value):  # "\ud800": nothing that is written or sent can hold it
                raise Unusable(f", line {line}: half of a surrogate pair, which is not a character")
            if event.implicit[0] and len(event.value) > MAX_NUMBER_CHARS and NUMBER.fullmatch(event.value):
                raise Unusable(f", line {line}: a number of {len(event.value)} characters")
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in [anchor for anchor, _ in open_nodes]:
                raise Unusable(f", line {line}: *{event.anchor} stands inside of &{event.anchor}")
            size += sizes.get(event.anchor, 1)
        if len(open_nodes) > MAX_NESTING:
            raise Unusable(f", line {line}: nested deeper than {MAX_NESTING} levels")
        if size > MAX_NODES:
            raise Unusable(f", line {line}: more than {MAX_NODES} values, aliases counted as often as they are used")
