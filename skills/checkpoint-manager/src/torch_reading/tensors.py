"""From a pickle that was read as data to named tensors and the rest: what torch.save wrote, without torch.

Nested dictionaries, lists and objects become names with dots: {"model": {"w": tensor}} is `model.w`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tensor_reading.layout import STORAGE_DTYPES, TORCH_DTYPES, LayoutError, Tensor, block_in, numbers
from torch_reading.pickle_names import STORAGE_ELEMENT_BYTES
from torch_reading.pickle_values import Call, Global, Group, Pairs, Persistent, TooLargeError

MAX_VALUES = 500_000
"""Places, not objects: lists that share their parts would be walked through for ever."""
MAX_SHARED = 10_000
"""Lists and tables that are met once more: a dozen of them in each other make a billion places."""
MAX_DEPTH = 100
MAX_NAME_CHARS = 1000
UNREADABLE = {
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_qtensor": "quantized",
    "torch._utils._rebuild_meta_tensor_no_storage": "without values (meta)",
    "torch._utils._rebuild_device_tensor_from_numpy": "kept as a NumPy array",
}
WRAPPERS = ("torch._utils._rebuild_parameter", "torch._utils._rebuild_parameter_with_state", "torch.nn.parameter.Parameter")

Storage = tuple[Path, int, int]
"""(path, first byte, bytes) of a storage."""
Locate = Callable[[str], Storage]
"""Where the storage of a key lies. Raises LayoutError where there is none."""


@dataclass(frozen=True)
class StorageReference:
    """What a tensor says about its storage: the pickle's persistent id."""

    key: str
    type: str
    elements: int

    @property
    def size_bytes(self) -> int:
        return self.elements * STORAGE_ELEMENT_BYTES[self.type]


@dataclass
class Contents:
    """Everything in a pickle, by dotted name."""

    tensors: list[Tensor] = field(default_factory=list)
    others: list[tuple[str, str]] = field(default_factory=list)
    """(name, kind) of what is no tensor."""


def storage_reference(reference: Persistent) -> StorageReference:
    """Raises LayoutError unless it is the persistent id of a storage."""
    parts = reference.id
    if not isinstance(parts, tuple) or len(parts) < 5 or parts[0] != "storage" or not isinstance(parts[1], Global):
        raise LayoutError("a reference in its pickle is no storage's")
    kind, key, elements = parts[1].name, parts[2], parts[4]
    if kind not in STORAGE_ELEMENT_BYTES or not isinstance(key, str) or type(elements) is not int or elements < 0:
        raise LayoutError("a reference in its pickle is no storage's")
    return StorageReference(key, kind, elements)


def contents(root: Any, locate: Locate) -> Contents:
    """Every tensor and every other value below `root`, in order. Raises LayoutError, or TooLargeError beyond the bounds."""
    found = Contents()
    waiting: list[tuple[str, Any, int]] = [("", root, 0)]
    visited = again = 0
    containers: set[int] = set()
    while waiting:
        name, value, depth = waiting.pop()
        visited += 1
        if isinstance(value, list | Pairs | Group) or (isinstance(value, tuple) and value):
            again += id(value) in containers
            containers.add(id(value))
        if visited > MAX_VALUES or again > MAX_SHARED or depth > MAX_DEPTH:
            raise TooLargeError(
                f"more than {MAX_VALUES} values, {MAX_SHARED} of them shared, or nested deeper than {MAX_DEPTH}"
            )
        value = _unwrapped(value)
        if isinstance(value, Call) and (tensor := _tensor(name or "tensor", value, locate)):
            found.tensors.append(tensor)
            continue
        inner = _inner(value)
        if not inner:
            found.others.append((name, _kind(value)))
        waiting += [(_joined(name, key), item, depth + 1) for key, item in reversed(inner)]
    return found


def _joined(name: str, key: Any) -> str:
    if isinstance(key, int) and key.bit_length() > 128:  # thousands of digits are an error of Python's own
        key = "(a huge number)"
    key = str(key) if isinstance(key, str | int | float | bool) or key is None else f"({type(key).__name__})"
    return (f"{name}.{key}" if name else key)[:MAX_NAME_CHARS]


def _unwrapped(value: Any) -> Any:
    """What stands in a Parameter or a tensor subclass with a storage of its own."""
    for _ in range(MAX_DEPTH):
        if not isinstance(value, Call) or not isinstance(value.args, tuple):
            return value
        if value.of(*WRAPPERS, "torch._utils._rebuild_device_tensor_from_cpu_tensor") and value.args:
            value = value.args[0]
        elif value.of("torch._tensor._rebuild_from_type_v2") and len(value.args) >= 3:
            value = Call(value.args[0], value.args[2], state=value.args[3] if len(value.args) > 3 else None)
        else:
            return value
    return value


def _inner(value: Any) -> list[tuple[Any, Any]]:
    """(key, value) of everything below a value; [] for a leaf."""
    if isinstance(value, Pairs):
        found = {_hashable(key, at): (key, item) for at, (key, item) in enumerate(value.items)}
        if len(found) != len(value.items) and any(isinstance(item, Call) for _, item in value.items):
            raise LayoutError(f"{_named_twice(value)} is there twice in one table")
        return list(found.values())
    if isinstance(value, list | tuple):
        return [] if _only_scalars(value) else list(enumerate(value))
    if isinstance(value, Group):
        return list(enumerate(value.items))
    if isinstance(value, Call):
        state = value.state if isinstance(value.state, Pairs | list | tuple) else None
        args = (
            value.args if isinstance(value.args, tuple) and any(isinstance(each, Call | Pairs) for each in value.args) else ()
        )
        return [*_inner(value.pairs), *enumerate(value.items), *(_inner(state) if state else []), *enumerate(args)]
    return []


def _named_twice(pairs: Pairs) -> str:
    seen: set[Any] = set()
    for at, (key, _) in enumerate(pairs.items):
        if (place := _hashable(key, at)) in seen:
            return str(key)[:100] if isinstance(key, str) else "a key"
        seen.add(place)
    return "a key"


def _only_scalars(values: list[Any] | tuple[Any, ...]) -> bool:
    """Numbers and texts only, as a random generator's state: one value, not hundreds."""
    return all(value is None or isinstance(value, int | float | str | bytes) for value in values)


def _hashable(key: Any, at: int) -> Any:
    """A plain key stands for itself, so that its last value wins; any other key only for its place."""
    return (type(key), key) if isinstance(key, str | int | bool) else at


def _kind(value: Any) -> str:
    if isinstance(value, Call):
        return f"object of {value.function}" if isinstance(value.function, Global) else "computed object"
    if isinstance(value, Global):
        return f"name {value}"
    if isinstance(value, Pairs):
        return "empty dict"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} of {len(value)}"
    return {"NoneType": "None", "Group": "set", "Persistent": "storage"}.get(type(value).__name__, type(value).__name__)


def _tensor(name: str, call: Call, locate: Locate) -> Tensor | None:
    """The tensor that a call would rebuild, None if it would rebuild something else."""
    if not isinstance(call.function, Global) or call.function.module != "torch._utils" or not isinstance(call.args, tuple):
        return None
    if kind := UNREADABLE.get(str(call.function)):
        return Tensor(name, "?", (), note=f"{kind}: its values are not read here")
    if not call.of(*(f"torch._utils._rebuild_tensor{version}" for version in ("", "_v2", "_v3"))):
        return None
    try:
        return _strided(name, call, locate)
    except LayoutError as error:
        raise LayoutError(f"{name[:100]}: {error}") from None


def _strided(name: str, call: Call, locate: Locate) -> Tensor:
    if len(call.args) < 4 or not isinstance(call.args[0], Persistent):
        raise LayoutError("it refers to no storage")
    reference = storage_reference(call.args[0])
    shape, strides = numbers(_plain(call.args[2])), numbers(_plain(call.args[3]))
    dtype = STORAGE_DTYPES.get(reference.type)
    metadata_at = 6
    if str(call.function).endswith("_v3"):
        named = call.args[6] if len(call.args) > 6 else None
        dtype, metadata_at = TORCH_DTYPES.get(named.name) if isinstance(named, Global) else None, 7
    if dtype is None:
        return Tensor(
            name, reference.type, shape, note="of a type that has no name in safetensors: its values are not read here"
        )
    if len(call.args) > metadata_at and _inner(call.args[metadata_at]):
        return Tensor(name, dtype, shape, note="a conjugate or negative view: its values are not read here")
    path, begin, size_bytes = locate(reference.key)
    if size_bytes != reference.size_bytes:
        raise LayoutError(f"storage {reference.key[:40]} has {size_bytes} bytes, its pickle says {reference.size_bytes}")
    block = block_in((path, begin, size_bytes), dtype, call.args[1], shape, strides)
    return Tensor(name, dtype, shape, (block,))


def _plain(value: Any) -> Any:
    """torch.Size((2, 3)) as (2, 3)."""
    return value.args[0] if isinstance(value, Call) and value.of("torch.Size") and value.args else value
