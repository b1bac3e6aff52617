"""Changes that keep to a grammar: a value of a document becomes another one, moves, goes or comes twice.

By bytes alone nearly every change of a YAML or JSON text is only a syntax error, and what lies behind the parser is never reached.
"""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    7,
    1.5,
    10**30,
    "",
    " ",
    "\x00",
    "\udcff",
    "\u202e",
    "a\nb",
    "~",
    "/dev/null",
    "..",
    "a" * 300,
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"name": None},
]

DEEP = 2000
"""Brackets; Python's parsers call themselves for each, and end at about a thousand."""
MAX_ALIASES = 8
"""What uses itself again and again would be written out here, before the code under test could refuse it."""


def changed(document: Any, random: Random) -> Any:
    """A copy with one to three changes."""
    document = copy.deepcopy(document)
    for _ in range(random.randint(1, 3)):
        there = list(places(document))
        if not there:
            return random.choice(STRANGE)
        _change(*random.choice(there), [holder[key] for holder, key in there], random)
    return document


def changed_once(document: Any, random: Random) -> Any:
    """A copy in which one value, anywhere, is of another kind or gone, and all else stays right: what stands behind is reached."""
    document = copy.deepcopy(document)
    holder, key = random.choice(list(places(document)))
    if random.random() < 0.2:
        del holder[key]
    elif isinstance(holder[key], str) and random.random() < 0.3:
        holder[key] = _spoiled(holder[key], random)
    else:
        holder[key] = copy.deepcopy(random.choice(STRANGE))
    return document


def places(node: Any) -> Any:
    """(holder, key) of every value below `node`."""
    for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        yield from places(node[key])


def _change(holder: Any, key: Any, others: list[Any], random: Random) -> None:
    kind = random.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = copy.deepcopy(random.choice(others))
    elif kind == 2 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(random.choice(others)))
    elif kind == 2:
        holder[random.choice([str(key) + "x", 7, "", "name"])] = holder.pop(key)
    elif kind == 3 and isinstance(holder[key], str):
        holder[key] = _spoiled(holder[key], random)
    else:
        holder[key] = copy.deepcopy(random.choice(STRANGE))


def _spoiled(text: str, random: Random) -> str:
    at = random.randint(0, len(text))
    return (
        text[:at]
        + random.choice(["", "{", "\n", "%", "@", "\u00e4", "-", ":", "/", "\x00"])
        + text[at + random.randint(0, 2) :]
    )


def mutate_yaml(data: bytes, random: Random) -> bytes:
    """`data` where it is no YAML, or too much of it."""
    import yaml

    if random.random() < 0.01:
        return b"[" * DEEP
    if data.count(b"*") > MAX_ALIASES:
        return data
    try:
        document = yaml.load(data[:20_000].decode(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  a SafeLoader
        return yaml.safe_dump(changed(document, random), allow_unicode=random.random() < 0.5).encode("utf-8", "surrogateescape")
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, AttributeError):
        return data


def mutate_json_lines(data: bytes, random: Random) -> bytes:
    """One of the lines is changed, doubled, or put elsewhere."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    if random.random() < 0.02:
        lines[at] = random.choice([b"[", b'{"a":']) * DEEP
        return b"\n".join(lines)
    if random.random() < 0.2:
        lines.insert(random.randrange(len(lines)), lines[at] if random.random() < 0.5 else lines.pop(at))
        return b"\n".join(lines)
    try:
        lines[at] = json.dumps(changed(json.loads(lines[at]), random)).encode()
    except (ValueError, RecursionError):
        return data
    return b"\n".join(lines)
