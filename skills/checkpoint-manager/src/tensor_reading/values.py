"""The values of a tensor, from the blocks in which its bytes lie; NumPy without torch. At most one tensor is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from tensor_reading.layout import ELEMENT_BYTES, Block, LayoutError, NotReadError, Tensor

if TYPE_CHECKING:
    import numpy

    Array = numpy.ndarray[Any, Any]

COPY_BYTES = 8 << 20
MAX_REPEATED_BYTES = 256 << 20
"""A view may repeat its elements (stride 0); so much is built from fewer bytes."""
NUMPY_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "u1",
    "BOOL": "u1",
    "C64": "<c8",
    "C128": "<c16",
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0"), "u1"),
}
"""How the elements are held; those that NumPy does not know (BF16, float8) as their bits."""


def need_numpy() -> Any:
    """The numpy module; SkillError `dependency` with the command that brings it."""
    try:
        import numpy
    except ImportError:
        raise shell.SkillError(
            "dependency",
            "reading values needs NumPy",
            hint="uv run .../manage_checkpoints.py ..., or: python -m pip install numpy",
        ) from None
    return numpy


def is_plain(tensor: Tensor) -> bool:
    """Do its bytes stand in one place, in order?"""
    return len(tensor.blocks) == 1 and tensor.blocks[0].strides is None and tensor.blocks[0].shape == tensor.shape


def tensor_bytes(tensor: Tensor) -> Iterator[bytes]:
    """Its elements' bytes in order, in pieces. Raises LayoutError, OSError, or SkillError without NumPy where it is needed."""
    if not tensor.blocks:
        raise LayoutError(f"{tensor.name}: {tensor.note or 'its values are nowhere'}")
    if not is_plain(tensor):
        yield values(tensor).tobytes()
        return
    block, left = tensor.blocks[0], tensor.size_bytes
    with block.path.open("rb", buffering=0) as file:
        file.seek(block.begin)
        while left:
            data = file.read(min(COPY_BYTES, left))
            if not data:
                raise LayoutError(f"{block.path.name}: it became shorter while it was read")
            left -= len(data)
            yield data


def values(tensor: Tensor) -> Array:
    """The whole tensor as an array of NUMPY_DTYPES. Raises LayoutError, OSError or SkillError (no NumPy)."""
    np = need_numpy()
    if not tensor.blocks:
        raise LayoutError(f"{tensor.name}: {tensor.note or 'its values are nowhere'}")
    try:
        if is_plain(tensor):
            return _block(np, tensor, tensor.blocks[0])
        for block in tensor.blocks:  # before there is room for the whole
            _check_repeats(tensor, block)
        whole: Array = np.empty(tensor.shape, NUMPY_DTYPES[tensor.dtype])
        for block in tensor.blocks:
            place = tuple(slice(at, at + size) for at, size in zip(block.offsets, block.shape, strict=True))
            whole[place] = _block(np, tensor, block)
        return whole
    except MemoryError:
        raise NotReadError(f"{tensor.name}: {tensor.size_bytes} bytes do not fit into the memory here") from None


def _check_repeats(tensor: Tensor, block: Block) -> None:
    span = block.span_elements
    if tensor.size_bytes > max(MAX_REPEATED_BYTES, span * ELEMENT_BYTES[tensor.dtype]) and block.strides is not None:
        raise LayoutError(f"{tensor.name}: {tensor.size_bytes} bytes that repeat {span} elements")


def _block(np: Any, tensor: Tensor, block: Block) -> Array:
    _check_repeats(tensor, block)
    span = block.span_elements
    flat: Array = np.empty(span, NUMPY_DTYPES[tensor.dtype])
    view = flat.view(np.uint8).data
    with block.path.open("rb", buffering=0) as file:
        file.seek(block.begin)
        while view:
            count = file.readinto(view)
            if not count:
                raise LayoutError(f"{block.path.name}: it became shorter while it was read")
            view = view[count:]
    if block.strides is None or not span:
        shaped: Array = flat.reshape(block.shape)
        return shaped
    steps = tuple(stride * flat.itemsize for stride in block.strides)
    view_in_place: Array = np.lib.stride_tricks.as_strided(flat, block.shape, steps, writeable=False)
    whole: Array = np.ascontiguousarray(view_in_place).reshape(block.shape)
    return whole


# --- numbers from bits -------------------------------------------------------------------------------------------


def numbers_of(array: Array, dtype: str) -> Array:
    """Elements as float64 (complex128 for complex ones): BF16 and float8 decoded by hand."""
    np = need_numpy()
    if dtype == "BF16":
        wide: Array = (array.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
        return wide
    if dtype in _FLOAT8:
        table: Array = np.array([_float8(bits, dtype) for bits in range(256)], np.float64)
        decoded: Array = table[array]
        return decoded
    return array.astype(np.complex128 if dtype in ("C64", "C128") else np.float64)


_FLOAT8 = {"F8_E4M3": (3, 7), "F8_E5M2": (2, 15), "F8_E4M3FNUZ": (3, 8), "F8_E5M2FNUZ": (2, 16), "F8_E8M0": (0, 127)}
"""Bits of the mantissa, bias (OCP 8-bit floating point; FNUZ: no infinities, no negative zero)."""


def _float8(bits: int, dtype: str) -> float:
    mantissa_bits, bias = _FLOAT8[dtype]
    if dtype == "F8_E8M0":
        return float("nan") if bits == 255 else 2.0 ** (bits - bias)
    sign = -1.0 if bits & 0x80 else 1.0
    exponent, mantissa = (bits & 0x7F) >> mantissa_bits, bits & ((1 << mantissa_bits) - 1)
    if dtype.endswith("FNUZ"):
        if bits == 0x80:
            return float("nan")
    elif dtype == "F8_E4M3":
        if bits & 0x7F == 0x7F:
            return float("nan")
    elif exponent == 31:
        return float("nan") if mantissa else sign * float("inf")
    fraction = mantissa / (1 << mantissa_bits)
    return sign * (fraction * 2.0 ** (1 - bias) if exponent == 0 else (1 + fraction) * 2.0 ** (exponent - bias))
