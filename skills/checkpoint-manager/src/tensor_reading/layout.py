"""A tensor as it lies in files: dtype, shape, and the blocks of bytes that make it up. No value is read here.

dtype names are those of safetensors (F32, BF16, ...).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ELEMENT_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0", "I8", "U8", "BOOL"), 1),
    "C128": 16,
}
PACKED_BITS = {"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6}
"""Elements smaller than a byte: sizes are checked, values are not decoded."""
TORCH_DTYPES = {
    **dict.fromkeys(("float64", "double"), "F64"),
    **dict.fromkeys(("float32", "float"), "F32"),
    **dict.fromkeys(("float16", "half"), "F16"),
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    **dict.fromkeys(("int64", "long"), "I64"),
    **dict.fromkeys(("int32", "int"), "I32"),
    **dict.fromkeys(("int16", "short"), "I16"),
    "int8": "I8",
    "uint8": "U8",
    "uint16": "U16",
    "uint32": "U32",
    "uint64": "U64",
    "bool": "BOOL",
    **dict.fromkeys(("complex64", "cfloat"), "C64"),
    **dict.fromkeys(("complex128", "cdouble"), "C128"),
}
"""torch's names -> ours."""
STORAGE_DTYPES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "ComplexFloatStorage": "C64",
    "ComplexDoubleStorage": "C128",
}
MAX_DIMENSIONS = 64
MAX_TENSOR_BYTES = 1 << 50
"""No tensor is larger than a pebibyte: what says so is damaged."""


class LayoutError(Exception):
    """What a file says about a tensor cannot be true; the text says why."""

    suspicions: tuple[Any, ...] = ()
    """Names in its pickle that are not known to be harmless, found before."""


class NotReadError(LayoutError):
    """More than the bounds allow, or a form that is not read here: nothing is known, and nothing is wrong."""


class UnsafeError(LayoutError):
    """A pickle on the way to a tensor names code."""


@dataclass(frozen=True, slots=True)
class Block:
    """Elements of `shape`, at `offsets` in the tensor, `begin` bytes into `path`; `strides` in elements, None: contiguous."""

    path: Path
    begin: int
    shape: tuple[int, ...]
    offsets: tuple[int, ...]
    strides: tuple[int, ...] | None = None

    @property
    def span_elements(self) -> int:
        """Elements from the first to the last one, those skipped included."""
        if 0 in self.shape:
            return 0
        if self.strides is None:
            return math.prod(self.shape)
        return 1 + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))


@dataclass(frozen=True, slots=True)
class Tensor:
    """`blocks` is empty where the values cannot be read, and then `note` says why."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    blocks: tuple[Block, ...] = ()
    note: str | None = None

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def size_bytes(self) -> int:
        """Bytes of its elements; 0 for a dtype that is not known."""
        return bytes_of(self.dtype, self.elements)


def bytes_of(dtype: str, elements: int) -> int:
    """0 for a dtype that is not known."""
    return elements * ELEMENT_BYTES.get(dtype, 0) or (elements * PACKED_BITS.get(dtype, 0) + 7) // 8


def numbers(value: Any) -> tuple[int, ...]:
    """A shape, strides or offsets from outside. Raises LayoutError unless they are a few whole numbers from 0."""
    if not isinstance(value, list | tuple) or len(value) > MAX_DIMENSIONS:
        raise LayoutError("its shape is no list of numbers")
    if not all(type(number) is int and 0 <= number <= MAX_TENSOR_BYTES for number in value):
        raise LayoutError("its shape is no list of numbers")
    return tuple(value)


def contiguous(shape: tuple[int, ...], strides: tuple[int, ...]) -> bool:
    """Do the elements stand one after another, in order? Strides of dimensions of size 1 mean nothing."""
    expected = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != expected:
            return False
        expected *= size
    return True


def block_in(
    storage: tuple[Path, int, int], dtype: str, element_offset: int, shape: tuple[int, ...], strides: tuple[int, ...]
) -> Block:
    """A view of a storage (path, first byte, bytes) as a block of a tensor of its own. Raises LayoutError if it reaches out of it."""
    path, begin, storage_bytes = storage
    if len(shape) != len(strides) or type(element_offset) is not int or element_offset < 0:
        raise LayoutError("its shape, strides and offset do not fit together")
    item = ELEMENT_BYTES[dtype]
    if math.prod(shape) * item > MAX_TENSOR_BYTES:
        raise LayoutError(f"its shape {str(list(shape))[:100]} is absurd")
    plain = 0 in shape or contiguous(shape, strides)
    block = Block(path, begin + element_offset * item, shape, (0,) * len(shape), None if plain else strides)
    if (element_offset + block.span_elements) * item > storage_bytes:
        raise LayoutError(f"it needs {(element_offset + block.span_elements) * item} bytes of a storage of {storage_bytes}")
    return block


def uncovered(tensor: Tensor) -> str | None:
    """Why these blocks do not make up the tensor: outside of it, overlapping, or some elements missing; None if they do."""
    for block in tensor.blocks:
        ends = [at + size for at, size in zip(block.offsets, block.shape, strict=True)]
        if len(ends) != len(tensor.shape) or any(end > size for end, size in zip(ends, tensor.shape, strict=True)):
            return f"{tensor.name}: a block lies outside of the tensor"
    covered = sum(math.prod(block.shape) for block in tensor.blocks)
    if covered != tensor.elements:
        return f"{tensor.name}: {covered} of its {tensor.elements} elements are there"
    from checkpoint_contents import overlapping  # what a Trainyard step needs, and no single file

    if len(tensor.blocks) > 1 and any(overlapping(tensor.blocks)):
        return f"{tensor.name}: two of its blocks hold the same elements"
    return None
