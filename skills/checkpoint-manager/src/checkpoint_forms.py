"""The forms in state.json of what JSON cannot say: what must stand in each, so that decoding it neither fails nor fills the memory.

The same list as in the codec, which decodes them; here in standard library only, for every reader. A form of a newer writer is not
judged: the codec refuses it by name before anything is changed.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import decimal
import keyword
import math
import re
import uuid
from collections.abc import Callable
from typing import Any

MAX_FIELDS, MAX_NUMBER = 256, 2**63 - 1
_NUMPY = re.compile(
    r"[<>|=](?:(b)(1)|([iu])([1248])|(f)(2|4|8|12|16)|(c)(8|16|24|32)|([SU])(\d{1,6})|([mM])(8)(?:\[\w{1,20}\])?)", re.ASCII
)
_TORCH = re.compile(r"[a-z][a-z0-9_]{2,30}", re.ASCII)
_DEVICE = re.compile(r"[a-z]{2,20}(:\d{1,4})?", re.ASCII)


def tagged(value: Any, tag: str) -> Any:
    """The content of {tag: content}, else None."""
    return value[tag] if isinstance(value, dict) and len(value) == 1 and tag in value else None


def bytes_in(value: Any) -> bytes | None:
    """The bytes of {"$bytes": base64}, None for anything else."""
    content = tagged(value, "$bytes")
    try:
        return base64.b64decode(content, validate=True) if isinstance(content, str) else None
    except (binascii.Error, ValueError):
        return None


def problem_of(value: dict[str, Any], tensors: dict[str, Any]) -> str | None:
    """What is wrong with an object in state.json, its members aside; None if nothing."""
    if "$tensor" in value:
        key = value["$tensor"]
        known = isinstance(key, str) and key in tensors
        return None if known else f"it names tensor {ascii(key)[:100]}, which the checkpoint does not hold"
    tag = next((key for key in value if key.startswith("$")), None)
    if tag is None or (len(value) == 1 and (tag not in FORMS or FORMS[tag](value[tag]))):
        return None
    return f"a value of the form {ascii(tag)[:100]} cannot be read"


def _takes(decode: Callable[[Any], Any], kind: type = str) -> Callable[[Any], bool]:
    """Whether the content is of this type and decodes."""

    def check(content: Any) -> bool:
        try:
            return isinstance(content, kind) and decode(content) is not None
        except (ValueError, TypeError, ArithmeticError):
            return False

    return check


def _is_list(content: Any) -> bool:
    return isinstance(content, list)


def _is_set(content: Any) -> bool:
    return isinstance(content, list) and all(map(is_hashable, content))


def _is_pairs(content: Any) -> bool:
    return isinstance(content, list) and all(
        isinstance(pair, list) and len(pair) == 2 and is_hashable(pair[0]) for pair in content
    )


def _is_size(content: Any) -> bool:
    return isinstance(content, list) and all(type(size) is int and 0 <= size <= MAX_NUMBER for size in content)


def _is_named(content: Any) -> bool:
    """Field names that Python itself takes, each with a value."""
    if not _is_list(content) or len(content) != 2 or not all(map(_is_list, content)):
        return False
    fields, items = content
    names = all(isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name) for name in fields)
    return names and len(fields) == len(items) == len(set(fields)) <= MAX_FIELDS


def _is_array(content: Any) -> bool:
    """[dtype, shape, base64] with as many bytes as that takes, or a tensor."""
    if isinstance(content, dict):
        return "$tensor" in content
    if not _is_list(content) or len(content) != 3 or not isinstance(content[0], str) or not _is_size(content[1]):
        return False
    found, raw = _NUMPY.fullmatch(content[0]), bytes_in({"$bytes": content[2]})
    if found is None or raw is None or len(content[1]) > 32:
        return False
    kind, size = (part for part in found.groups() if part is not None)
    return bool(math.prod(content[1]) * int(size) * (4 if kind == "U" else 1) == len(raw))


def _is_range(content: Any) -> bool:
    return _is_list(content) and len(content) == 3 and all(map(_is_int, content)) and content[2] != 0


def _is_int(value: Any) -> bool:
    return type(value) is int or (tagged(value, "$int") is not None and FORMS["$int"](value["$int"]))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) or (tagged(value, "$float") is not None and FORMS["$float"](value["$float"]))


def _timedelta(content: list[Any]) -> datetime.timedelta:
    days, seconds, microseconds = content
    return datetime.timedelta(days, seconds, microseconds)


FORMS: dict[str, Callable[[Any], bool]] = {
    "$tuple": _is_list,
    "$size": _is_size,
    "$set": _is_set,
    "$frozenset": _is_set,
    "$dict": _is_pairs,
    "$counter": lambda content: _is_list(content) and len(content) == 1 and _is_pairs(content[0]),
    "$ordered": lambda content: _is_list(content) and len(content) == 1 and _is_pairs(content[0]),
    "$default": lambda content: (
        _is_list(content) and len(content) == 2 and isinstance(content[0], str) and _is_pairs(content[1])
    ),
    "$named": _is_named,
    "$enum": lambda content: _is_list(content) and len(content) == 2 and isinstance(content[0], str | None),
    "$deque": lambda content: (
        _is_list(content) and len(content) == 2 and _is_list(content[1]) and (content[0] is None or _is_size(content[:1]))
    ),
    "$range": _is_range,
    "$slice": lambda content: _is_list(content) and len(content) == 3,
    "$complex": lambda content: _is_list(content) and len(content) == 2 and all(map(_is_number, content)),
    "$float": lambda content: content in ("nan", "inf", "-inf"),
    "$int": _takes(lambda text: int(text, 16)),
    "$bytes": lambda content: bytes_in({"$bytes": content}) is not None,
    "$bytearray": lambda content: bytes_in(content) is not None,
    "$array": _is_array,
    "$scalar": lambda content: _is_list(content) and _is_array(content),
    "$dtype": _takes(_TORCH.fullmatch),
    "$device": _takes(_DEVICE.fullmatch),
    "$datetime": _takes(datetime.datetime.fromisoformat),
    "$date": _takes(datetime.date.fromisoformat),
    "$timedelta": _takes(_timedelta, list),
    "$decimal": _takes(decimal.Decimal),
    "$uuid": _takes(uuid.UUID),
    "$path": lambda content: isinstance(content, str),
}
UNHASHABLE = {"$set", "$dict", "$counter", "$ordered", "$default", "$deque", "$bytearray", "$array", "$slice", "$tensor"}


def is_hashable(key: Any) -> bool:
    """Whether this can be a dict's key or a set's member once it is decoded."""
    if not isinstance(key, dict):
        return not isinstance(key, list)
    if len(key) != 1 or not (tag := next(iter(key))).startswith("$") or tag in UNHASHABLE:
        return False
    inside = key[tag] if tag in ("$tuple", "$frozenset") else []
    if tag in ("$named", "$enum") and _is_list(key[tag]) and len(key[tag]) == 2:
        inside = key[tag][1] if tag == "$named" else key[tag][1:]
    return _is_list(inside) and all(map(is_hashable, inside))
