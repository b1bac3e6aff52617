"""State that is no tensor, as JSON and back, exactly.

JSON keeps str, int, bool, None, finite floats (shortest repr, so bit-exact), lists, and dicts with str keys (which come back in sorted
order; an OrderedDict in its own). A tensor is {"$tensor": key}, maybe with more about it. What else JSON cannot say is a one-member
dict whose key starts with "$": {"$tuple": [...]}, {"$dict": [[key, value], ...]}, {"$float": "nan"}, {"$bytes": base64}, and the forms
of codec_forms.py. A pickle never enters, and no name in a file is looked up: the class of a named tuple or an enum comes from the state
that the object itself has now.
"""

from __future__ import annotations

import base64
import collections
import enum
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from trainyard import codec_forms as forms
from trainyard.errors import MismatchError, TrainyardError

PutTensor = Callable[[str, torch.Tensor], Any]
MISSING = forms.MISSING


def encode(value: Any, path: str, put_tensor: PutTensor, note: Callable[[str, type], None] | None = None) -> Any:
    """JSON for `value`. Tensors are handed to `put_tensor(path, tensor)` and leave a reference; `put_tensor` may return one of its own.

    `note(path, class)` hears of a subclass of a plain type that comes back as the plain type. Raises TrainyardError that names the
    path of a value with no faithful form.
    """
    try:
        return _Encoder(put_tensor, note or (lambda path, kind: None)).encode(value, path)
    except RecursionError:
        raise TrainyardError(f"{path}: nested too deep for a checkpoint, or a container that holds itself") from None


class _Encoder:
    def __init__(self, put_tensor: PutTensor, note: Callable[[str, type], None]) -> None:
        self._put_tensor, self._note = put_tensor, note

    def encode(self, value: Any, path: str) -> Any:
        if value is None or type(value) in (bool, str):
            return value
        if isinstance(value, torch.Tensor):
            reference = self._put_tensor(path, value)
            return reference if isinstance(reference, dict) else {"$tensor": path}
        if isinstance(value, enum.Enum):
            return {"$enum": [value.name, self.encode(value.value, path)]}
        if isinstance(value, np.generic | np.ndarray):
            return self._numpy(value, path)
        if isinstance(value, str | int | float | bytes):
            return self._scalar(value, path)
        if isinstance(value, dict):
            return self._dict(value, path)
        if isinstance(value, list | tuple):
            return self._sequence(value, path)
        if (form := forms.form_of(value)) is not None:
            return {form.tag: self.encode(form.take_apart(value), path)}
        raise TrainyardError(
            f"{path}: a {type(value).__name__} has no form in a checkpoint; keep numbers, text, lists, dicts or tensors"
        )

    def _scalar(self, value: str | int | float | bytes, path: str) -> Any:
        plain: type = next(kind for kind in (bool, str, int, float, bytes) if isinstance(value, kind))
        if type(value) is not plain:
            self._note(path, type(value))
        if isinstance(value, bytes):
            return {"$bytes": base64.b64encode(value).decode()}
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": str(float(value))}
        if isinstance(value, int) and value.bit_length() > forms.MAX_PLAIN_BITS:
            return {"$int": hex(value)}
        return str.__str__(value) if isinstance(value, str) else plain(value)

    def _numpy(self, value: Any, path: str) -> Any:
        array = np.asarray(value)
        if array.dtype.hasobject or array.dtype.kind == "V":
            raise TrainyardError(f"{path}: a NumPy array of {array.dtype} has no form in a checkpoint; keep plain arrays")
        if array.nbytes > forms.MAX_INLINE_BYTES and array.dtype in forms.NUMPY_AS_TENSOR:
            return {"$array": self.encode(torch.from_numpy(np.array(array)), path)}
        kind = "$array" if isinstance(value, np.ndarray) else "$scalar"
        raw = np.ascontiguousarray(array).tobytes()
        return {kind: [array.dtype.str, list(array.shape), base64.b64encode(raw).decode()]}

    def _sequence(self, value: list[Any] | tuple[Any, ...], path: str) -> Any:
        items = [self.encode(item, f"{path}.{i}") for i, item in enumerate(value)]
        if isinstance(value, torch.Size):
            return {"$size": items}
        if forms.is_named_tuple(value):
            return {"$named": [list(value._fields), items]}  # type: ignore[union-attr]
        if type(value) not in (list, tuple):
            self._note(path, type(value))
        return items if isinstance(value, list) else {"$tuple": items}

    def _dict(self, value: dict[Any, Any], path: str) -> Any:
        if any(isinstance(key, torch.Tensor) for key in value):
            raise TrainyardError(
                f"{path}: a dict with tensors as keys has no form in a checkpoint; use names or numbers as keys"
            )
        pairs = [(key, self.encode(item, f"{path}.{key}")) for key, item in value.items()]
        form = forms.form_of(value)
        if form is None and type(value) is not dict:
            self._note(path, type(value))
        if form is None and all(type(key) is str and not key.startswith("$") for key in value):
            return dict(pairs)
        listed = [[self.encode(key, path), item] for key, item in pairs]
        return {"$dict": listed} if form is None else {form.tag: [*forms.header_of(value), listed]}


def decode(
    value: Any,
    get_tensor: Callable[[str], torch.Tensor],
    live: Any = MISSING,
    note: Callable[[str, str], None] | None = None,
    path: str = "",
) -> Any:
    """What `encode` was given; `get_tensor(key)` brings the tensors.

    `live` is the state that the object has now, from which the classes of named tuples and enums, and factories of defaultdicts, are
    taken: what stands at the same place, else the only one anywhere in it that fits. Where there is none the nearest plain value comes
    back, and `note(path, what)` hears of it.
    """
    return _Decoder(get_tensor, live, note or (lambda path, what: None)).decode(value, live, path)


class _Decoder:
    def __init__(self, get_tensor: Callable[[str], torch.Tensor], live: Any, note: Callable[[str, str], None]) -> None:
        self._get_tensor, self._note, self._known = get_tensor, note, forms.Known(live)

    def decode(self, value: Any, live: Any, path: str) -> Any:
        if isinstance(value, list):
            return self._items(value, live, path)
        if not isinstance(value, dict):
            return value
        if "$tensor" in value:
            return self._get_tensor(value["$tensor"])
        if len(value) == 1:
            ((tag, content),) = value.items()
            if tag.startswith("$"):
                return self._tagged(tag, content, live, path)
        return {key: self.decode(item, forms.child(live, key), f"{path}.{key}") for key, item in value.items()}

    def _items(self, items: list[Any], live: Any, path: str) -> list[Any]:
        return [self.decode(item, forms.child(live, i), f"{path}.{i}") for i, item in enumerate(items)]

    def _pairs(self, pairs: list[Any], live: Any, path: str) -> dict[Any, Any]:
        keys = [self.decode(key, MISSING, path) for key, _ in pairs]
        return {
            key: self.decode(item, forms.child(live, key), f"{path}.{key}") for key, (_, item) in zip(keys, pairs, strict=True)
        }

    def _tagged(self, tag: str, content: Any, live: Any, path: str) -> Any:
        if tag == "$tuple":
            return tuple(self._items(content, live, path))
        if tag == "$dict":
            pairs = self._pairs(content, live, path)
            # Checkpoints of older releases kept no type: a schedule's milestones came back as a dict.
            return type(live)(pairs) if type(live) in (collections.Counter, collections.OrderedDict) else pairs
        if tag in forms.DICTS:
            *header, pairs = content
            candidates = [live, *self._known.defaultdicts] if tag == "$default" else []
            return forms.DICTS[tag](header, self._pairs(pairs, live, path), candidates, lambda what: self._note(path, what))
        if tag == "$named":
            fields, items = content
            candidates = [live, *self._known.named(fields)]
            return forms.named_tuple(fields, self._items(items, live, path), candidates, lambda what: self._note(path, what))
        if tag == "$enum":
            name, item = content
            plain = self.decode(item, MISSING, path)
            candidates = [live, *self._known.enums(name, plain)]
            return forms.enum_member(name, plain, candidates, lambda what: self._note(path, what))
        if tag in forms.SIMPLE:
            return forms.SIMPLE[tag](self.decode(content, forms.inside(tag, live), path))
        raise MismatchError(
            f"{path}: a form {tag} that this Trainyard does not know; it was saved by a newer one, so resume with that"
        )


def references(value: Any) -> Iterator[dict[str, Any]]:
    """The references to tensors in an encoded value: {"$tensor": key}, with what `put_tensor` added."""
    if isinstance(value, dict) and "$tensor" in value:
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from references(item)


def needs_live(value: Any) -> bool:
    """The classes of some of its values are the script's own, and only a live state knows them."""
    if isinstance(value, list):
        return any(map(needs_live, value))
    if not isinstance(value, dict):
        return False
    if len(value) == 1 and ({"$named", "$enum"} & value.keys() or value.get("$default", [None])[0] == "?"):
        return True
    return any(map(needs_live, value.values()))


def members(value: Any) -> Iterator[tuple[Any, Any]]:
    """(key, encoded value) of an encoded dict, in whichever form it was written."""
    if isinstance(value, dict) and len(value) == 1 and next(iter(value)) in ("$dict", *forms.DICTS):
        ((_, content),) = value.items()
        pairs = content if "$dict" in value else content[-1]
        yield from ((key if isinstance(key, str) else None, item) for key, item in pairs)
    elif isinstance(value, dict):
        yield from value.items()
