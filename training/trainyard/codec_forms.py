"""The forms of codec.py beyond JSON's own: containers that keep their type, and small values.

Each is one of a fixed list. What a file says chooses among them and nothing else: no class is imported, found by name or called.
"""

from __future__ import annotations

import base64
import collections
import datetime
import decimal
import enum
import functools
import keyword
import pathlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

MISSING = object()
MAX_PLAIN_BITS = 8192
"""Of an int in decimal: Python refuses to read more than 4300 digits."""
MAX_INLINE_BYTES = 1 << 20
"""A larger NumPy array goes to the tensors."""
NUMPY_AS_TENSOR = {np.dtype(name) for name in ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u1", "?")}
FACTORIES: dict[str, Any] = {kind.__name__: kind for kind in (list, dict, set, tuple, int, float, str, bool)} | {"None": None}
MAX_FIELDS = 256


@dataclass(frozen=True)
class Form:
    """How a value of one class is taken apart into values that have a form already."""

    tag: str
    take_apart: Callable[[Any], Any]


_FORMS: list[tuple[type | tuple[type, ...], Form]] = [
    (collections.Counter, Form("$counter", dict)),
    (collections.OrderedDict, Form("$ordered", dict)),
    (collections.defaultdict, Form("$default", dict)),
    (collections.deque, Form("$deque", lambda value: [value.maxlen, list(value)])),
    (set, Form("$set", lambda value: _in_order(value))),
    (frozenset, Form("$frozenset", lambda value: _in_order(value))),
    (range, Form("$range", lambda value: [value.start, value.stop, value.step])),
    (slice, Form("$slice", lambda value: [value.start, value.stop, value.step])),
    (complex, Form("$complex", lambda value: [value.real, value.imag])),
    (bytearray, Form("$bytearray", bytes)),
    (torch.dtype, Form("$dtype", lambda value: str(value).removeprefix("torch."))),
    (torch.device, Form("$device", str)),
    (datetime.datetime, Form("$datetime", lambda value: value.isoformat())),
    (datetime.date, Form("$date", lambda value: value.isoformat())),
    (datetime.timedelta, Form("$timedelta", lambda value: [value.days, value.seconds, value.microseconds])),
    (decimal.Decimal, Form("$decimal", str)),
    (uuid.UUID, Form("$uuid", lambda value: value.hex)),
    ((pathlib.PosixPath, pathlib.WindowsPath), Form("$path", str)),
]


def form_of(value: Any) -> Form | None:
    """The form of exactly this class, None where it has none: a subclass would come back as another class."""
    for kind, form in _FORMS:
        if type(value) in (kind if isinstance(kind, tuple) else (kind,)):
            is_zoned = isinstance(value, datetime.datetime) and not isinstance(value.tzinfo, datetime.timezone | None)
            return None if is_zoned else form
    return None


def _in_order(values: Any) -> list[Any]:
    """A set's members in an order that is the same on every rank and at every save."""
    return sorted(values, key=lambda value: (type(value).__name__, repr(value)))


def header_of(value: dict[Any, Any]) -> list[Any]:
    """What a dict of a class of its own has besides its pairs: the name of a defaultdict's factory, "?" for one of no known name."""
    if not isinstance(value, collections.defaultdict):
        return []
    return [next((name for name, factory in FACTORIES.items() if factory is value.default_factory), "?")]


def is_named_tuple(value: Any) -> bool:
    fields = getattr(type(value), "_fields", None)
    return isinstance(value, tuple) and isinstance(fields, tuple) and callable(getattr(type(value), "_make", None))


# --- classes of the script's own ---------------------------------------------------------------------------------


class Known:
    """The named tuples, enums and defaultdicts in a live state; looked through when first asked."""

    def __init__(self, live: Any) -> None:
        self._live = live

    @functools.cached_property
    def _values(self) -> list[Any]:
        """One of each class, or of each factory."""
        found: dict[Any, Any] = {}
        left = [self._live]
        while left:
            value = left.pop()
            if is_named_tuple(value) or isinstance(value, enum.Enum):
                found.setdefault(type(value), value)
            if isinstance(value, collections.defaultdict):
                found.setdefault(id(value.default_factory), value)
            if isinstance(value, dict):
                left += [*value.keys(), *value.values()]
            elif isinstance(value, list | tuple | set | frozenset | collections.deque):
                left += value
        return list(found.values())

    def named(self, fields: list[str]) -> list[Any]:
        """The named tuple with these fields, if there is one such class."""
        return _only(value for value in self._values if is_named_tuple(value) and list(value._fields) == fields)

    def enums(self, name: Any, plain: Any) -> list[Any]:
        """The enum that has this member, if there is one such class."""
        return _only(value for value in self._values if isinstance(value, enum.Enum) and _has(type(value), name, plain))

    @property
    def defaultdicts(self) -> list[Any]:
        """The defaultdict with a factory of the script's own, if there is one such factory."""
        return _only(value for value in self._values if _header_of_any(value) == ["?"])


def _only(values: Iterator[Any]) -> list[Any]:
    found = list(values)
    return found if len(found) == 1 else []


def _header_of_any(value: Any) -> list[Any]:
    return header_of(value) if isinstance(value, dict) else []


def _has(kind: type[enum.Enum], name: Any, plain: Any) -> bool:
    if isinstance(name, str) and name in kind.__members__:
        value = kind.__members__[name].value
        return type(value) is type(plain) and bool(value == plain)
    return issubclass(kind, enum.Flag) and type(plain) is int


# --- the way back ------------------------------------------------------------------------------------------------

Note = Callable[[str], None]


def _default(header: list[Any], pairs: dict[Any, Any], candidates: list[Any], note: Note) -> Any:
    factory = FACTORIES.get(header[0], MISSING)
    if factory is MISSING:
        factory = next((live.default_factory for live in candidates if _header_of_any(live) == ["?"]), None)
        if factory is None:
            note("a defaultdict with a factory that the object's state does not have here now")
    return collections.defaultdict(factory, pairs)


DICTS: dict[str, Callable[[list[Any], dict[Any, Any], list[Any], Note], Any]] = {
    "$counter": lambda header, pairs, candidates, note: collections.Counter(pairs),
    "$ordered": lambda header, pairs, candidates, note: collections.OrderedDict(pairs),
    "$default": _default,
}


def inside(tag: str, live: Any) -> Any:
    """The live counterpart of what stands in this form."""
    if tag in ("$set", "$frozenset"):
        return live
    return [MISSING, live] if tag == "$deque" else MISSING


def _array(content: Any) -> np.ndarray[Any, Any]:
    if isinstance(content, torch.Tensor):
        return content.numpy()
    dtype, shape, raw = content
    if np.dtype(dtype).hasobject:
        raise ValueError(f"an array of {dtype}")
    return np.ndarray(tuple(shape), np.dtype(dtype), bytearray(base64.b64decode(raw)))


def _dtype(name: str) -> torch.dtype:
    found = vars(torch).get(name)
    if not isinstance(found, torch.dtype):
        raise ValueError(f"torch has no dtype {name!r}")
    return found


SIMPLE: dict[str, Callable[[Any], Any]] = {
    "$float": float,
    "$bytes": base64.b64decode,
    "$int": lambda text: int(text, 16),
    "$size": torch.Size,
    "$array": _array,
    "$scalar": lambda content: _array(content)[()],
    "$deque": lambda content: collections.deque(content[1], content[0]),
    "$set": set,
    "$frozenset": frozenset,
    "$range": lambda content: range(*content),
    "$slice": lambda content: slice(*content),
    "$complex": lambda content: complex(*content),
    "$bytearray": bytearray,
    "$dtype": _dtype,
    "$device": torch.device,
    "$datetime": datetime.datetime.fromisoformat,
    "$date": datetime.date.fromisoformat,
    "$timedelta": lambda content: datetime.timedelta(*content),
    "$decimal": decimal.Decimal,
    "$uuid": uuid.UUID,
    "$path": pathlib.Path,
}


def named_tuple(fields: list[str], items: list[Any], candidates: list[Any], note: Note) -> Any:
    """One of a candidate's class; without one, one of a class of our own with the same fields, so that `.field` works."""
    for live in candidates:
        if is_named_tuple(live) and list(live._fields) == fields:
            return type(live)._make(items)
    note(f"a named tuple ({', '.join(map(str, fields[:5]))}) of a class that the object's state does not have here now")
    if len(fields) > MAX_FIELDS or not all(_is_field(name) for name in fields) or len(set(fields)) != len(fields):
        raise ValueError("not the fields of a named tuple")
    restored: Any = collections.namedtuple("Restored", fields)  # type: ignore[misc]
    return restored._make(items)


def _is_field(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier() and not keyword.iskeyword(name) and not name.startswith("_")


def enum_member(name: Any, plain: Any, candidates: list[Any], note: Note) -> Any:
    """The member of a candidate's enum; without one, the member's value."""
    for live in candidates:
        if isinstance(live, enum.Enum) and _has(type(live), name, plain):
            kind = type(live)
            return kind.__members__[name] if name in kind.__members__ else kind(plain)
    note(f"the member {name} of an enum that the object's state does not have here now")
    return plain


def child(live: Any, key: Any) -> Any:
    """What stands at `key` in the live state; where that is missing, what stands beside it: lists and dicts grow."""
    if isinstance(live, dict):
        return live.get(key, next(iter(live.values()), MISSING))
    if isinstance(live, list | tuple | collections.deque):
        return live[key] if isinstance(key, int) and key < len(live) else (live[0] if live else MISSING)
    if isinstance(live, set | frozenset):
        return next(iter(live), MISSING)
    return MISSING
