"""The header of a safetensors file as a table: a million tensors in a few seconds and a few hundred megabytes.

A parser makes seven objects of each entry, a kilobyte in all. Here an entry is read by a pattern, or cut out by one that only knows
strings and braces and parsed by itself, and kept as columns; a Tensor is made when somebody asks for it.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from array import array
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tensor_reading.layout import ELEMENT_BYTES, PACKED_BITS, Block, LayoutError, NotReadError, Tensor, bytes_of, numbers

METADATA = "__metadata__"
MAX_METADATA_BYTES = 24 << 20
MAX_ENTRY_BYTES = 1 << 20
BATCH_BYTES = 1 << 20
_SPACE = rb"[ \t\r\n]*+"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_MEMBER = re.compile(
    _SPACE + rb"(" + _STRING + _SPACE + rb":" + _SPACE + rb'\{(?:[^{}"]++|' + _STRING + rb")*+\})" + _SPACE + rb"([,}])",
    re.DOTALL,
)
_NUMBER = rb"(?:0|[1-9][0-9]{0,15})"
_USUAL = re.compile(
    rb' ?"([^"\\\x00-\x1f]*+)": ?\{"dtype": ?"([A-Z0-9_]{1,20}+)", ?"shape": ?\[((?:'
    + _NUMBER
    + rb"(?:, ?"
    + _NUMBER
    + rb")*+)?)\],"
    rb' ?"data_offsets": ?\[(' + _NUMBER + rb"), ?(" + _NUMBER + rb")\]\}([,}])"
)
"""An entry as the writers write it: no parser is needed."""
_BEGIN, _EMPTY = re.compile(_SPACE + rb"\{"), re.compile(_SPACE + rb"\{" + _SPACE + rb"\}" + _SPACE)

Kind = tuple[str, tuple[int, ...], int]
"""(dtype, shape, bytes)"""


class Table(Mapping[str, Tensor]):
    """Name -> tensor, in the order of the header."""

    def __init__(self, path: Path, data_begin: int) -> None:
        self._path, self._data_begin = path, data_begin
        self._row: dict[bytes, int] = {}
        """Names as UTF-8: one odd letter makes a text of Python four times as long."""
        self._begins = array("Q")
        self._kind_of = array("I")
        self._kinds: dict[Kind, int] = {}
        self._kind_list: list[Kind] = []
        self._by_text: dict[tuple[bytes, bytes, int], int] = {}

    def add(self, name: str, entry: Any) -> None:
        """Raises LayoutError."""
        try:
            begin, end = numbers(entry["data_offsets"])
            shape, dtype = numbers(entry["shape"]), entry["dtype"]
        except (KeyError, TypeError, ValueError, LayoutError):
            raise LayoutError(f"{name[:100]}: its entry cannot be read") from None
        if not isinstance(dtype, str):
            raise LayoutError(f"{name[:100]}: its entry cannot be read")
        self._put(name.encode("utf-8", "surrogatepass"), begin, self._number(self._kind(name, dtype, shape, end - begin)))

    def add_usual(self, key: bytes, dtype: bytes, shape: bytes, begin: int, end: int) -> None:
        """The same for the text of an entry, most of which say what another one has said before. Raises LayoutError."""
        texts = (dtype, shape, end - begin)
        number = self._by_text.get(texts)
        if number is None:
            name, sizes = key.decode("utf-8", "replace"), numbers([int(each) for each in shape.split(b",") if each])
            number = self._by_text[texts] = self._number(self._kind(name, dtype.decode(), sizes, end - begin))
        self._put(key, begin, number)

    def _put(self, key: bytes, begin: int, number: int) -> None:
        if self._row.setdefault(key, len(self._begins)) != len(self._begins):
            raise LayoutError(f"its header names {key[:100].decode('utf-8', 'replace')} twice")
        self._begins.append(begin)
        self._kind_of.append(number)

    def _number(self, kind: Kind) -> int:
        number = self._kinds.setdefault(kind, len(self._kinds))
        if number == len(self._kind_list):
            self._kind_list.append(kind)
        return number

    def _kind(self, name: str, dtype: str, shape: tuple[int, ...], size: int) -> Kind:
        known = dtype in ELEMENT_BYTES or dtype in PACKED_BITS
        if size < 0 or (known and size != bytes_of(dtype, math.prod(shape))):
            raise LayoutError(f"{name[:100]}: {size} bytes for {dtype}{str(list(shape))[:100]}")
        return dtype[:20], shape, size

    def check_extent(self, size: int) -> None:
        """The tensors' bytes follow each other and fill the file: neither gap nor overlap nor anything behind them."""
        sizes = [kind[2] for kind in self._kind_list]
        at, rows = 0, range(len(self._begins))
        begins, kind_of = self._begins, self._kind_of
        if any(begins[row] > begins[row + 1] for row in rows[:-1]):
            rows = sorted(rows, key=lambda row: (begins[row], sizes[kind_of[row]]))  # type: ignore[assignment]
        for row in rows:
            if begins[row] != at:
                name = list(self)[row]
                raise LayoutError(f"{name[:100]}: its bytes begin at {begins[row]}, those before it end at {at}")
            at += sizes[kind_of[row]]
        if self._data_begin + at != size:
            raise LayoutError(f"{size} bytes, its header says {self._data_begin + at}")

    def __len__(self) -> int:
        return len(self._row)

    def __iter__(self) -> Iterator[str]:
        return (key.decode("utf-8", "surrogatepass") for key in self._row)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.encode("utf-8", "surrogatepass") in self._row

    def __getitem__(self, name: str) -> Tensor:
        row = self._row[name.encode("utf-8", "surrogatepass")]
        dtype, shape, _ = self._kind_list[self._kind_of[row]]
        if dtype not in ELEMENT_BYTES:
            what = "elements smaller than a byte" if dtype in PACKED_BITS else "of a type that is not known here"
            return Tensor(name, dtype, shape, note=f"{what}: its values are not read here")
        return Tensor(name, dtype, shape, (Block(self._path, self._data_begin + self._begins[row], shape, (0,) * len(shape)),))


def parse(text: bytes, path: Path, data_begin: int) -> tuple[Table, dict[str, str]]:
    """(tensors, metadata) of a header. Raises LayoutError, NotReadError beyond the bounds."""
    table, metadata = Table(path, data_begin), list[dict[str, str]]()
    _check_unicode(text)
    if not _EMPTY.fullmatch(text):
        _read_members(text, table, metadata)
    if len(metadata) > 1:
        raise LayoutError(f"its {METADATA} is there twice")
    return table, metadata[0] if metadata else {}


def _check_unicode(text: bytes) -> None:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(text), BATCH_BYTES):
            decoder.decode(text[at : at + BATCH_BYTES], final=at + BATCH_BYTES >= len(text))
    except UnicodeDecodeError:
        raise LayoutError("its header is not UTF-8") from None


def _read_members(text: bytes, table: Table, metadata: list[dict[str, str]]) -> None:
    begin = _BEGIN.match(text)
    if begin is None:
        raise LayoutError("its header is not a JSON object")
    at, more, usual, add = begin.end(), True, _USUAL.match, table.add_usual
    while more:
        if (entry := usual(text, at)) and entry[1] != METADATA.encode():
            key, dtype, shape, first, last, after = entry.groups()
            add(key, dtype, shape, int(first), int(last))
            more, at = after == b",", entry.end()
            continue
        member = _MEMBER.match(text, at)
        if member is None:
            raise LayoutError("its header is not JSON, or not a table of tensors")
        _add_member(text, member.start(1), member.end(1), table, metadata)
        more, at = member[2] == b",", member.end()
    if text[at:].strip(b" \t\r\n"):
        raise LayoutError("something follows the end of its header")


def _add_member(text: bytes, begin: int, end: int, table: Table, metadata: list[dict[str, str]]) -> None:
    if end - begin > MAX_ENTRY_BYTES:
        _check_large(text, begin, end)
    ((name, entry),) = _parsed(text[begin:end]).items()
    if name != METADATA:
        table.add(name, entry)
    elif _is_texts(entry):
        metadata.append(entry)
    else:
        raise LayoutError(f"its {METADATA} is not a table of texts")


def _is_texts(entry: Any) -> bool:
    return isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())


def _check_large(text: bytes, begin: int, end: int) -> None:
    if not text.startswith(b'"__metadata__"', begin):
        raise LayoutError("an entry of its header is longer than any tensor's")
    if end - begin > MAX_METADATA_BYTES:
        raise NotReadError(f"its {METADATA} has {end - begin} bytes, at most {MAX_METADATA_BYTES} are read")


def _parsed(member: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(b"{" + member + b"}", object_pairs_hook=without_repeats)
    except (ValueError, RecursionError):
        raise LayoutError("its header is not JSON") from None
    return dict(parsed)


def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Raises LayoutError where a name is there twice: which of the two a reader takes is open."""
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise LayoutError(f"its header names {twice[:100]} twice")
    return members
