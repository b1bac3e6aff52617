"""How a tensor stands in a safetensors file, and which tensors cannot.

Types that safetensors, or a stock reader of it, lacks are kept exactly as a view of a type that it has; the manifest's entry says
which ("as"). A complex tensor becomes a real one with one more dimension of two: its real and imaginary part.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.distributed.tensor import DTensor
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter
from torch.utils._python_dispatch import is_traceable_wrapper_subclass

from trainyard.errors import ConfigError

DTYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint64: "U64",
    torch.uint32: "U32",
    torch.uint16: "U16",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
DTYPES = {name: dtype for dtype, name in DTYPE_NAMES.items()}

COMPLEX = {torch.complex128: torch.float64, torch.complex64: torch.float32, torch.complex32: torch.float16}
BYTES = ("float8_e4m3fnuz", "float8_e5m2fnuz", "float8_e8m0fnu", "float4_e2m1fn_x2")
"""Kept as uint8 of the same shape."""
STORED = {**COMPLEX, **{getattr(torch, name): torch.uint8 for name in BYTES if hasattr(torch, name)}}
MARKS = {str(dtype).removeprefix("torch."): dtype for dtype in STORED}
ORDINARY = (torch.Tensor, torch.nn.Parameter)
PLAIN = (*ORDINARY, torch.nn.Buffer, DTensor)


def entry(dtype: torch.dtype, shape: tuple[int, ...]) -> dict[str, Any]:
    """The manifest's entry for a tensor of this type and global shape. Raises KeyError for a type that has no form."""
    stored = STORED.get(dtype, dtype)
    size = [*shape, 2] if dtype in COMPLEX else list(shape)
    return {"dtype": DTYPE_NAMES[stored], "shape": size, **mark(dtype)}


def mark(dtype: torch.dtype) -> dict[str, str]:
    """{"as": its name} for a type that is stored as another one."""
    return {"as": str(dtype).removeprefix("torch.")} if dtype in STORED else {}


def logical(saved: dict[str, Any]) -> tuple[torch.dtype, tuple[int, ...]]:
    """(dtype, global shape) of the tensor that a manifest's entry stands for. Raises ValueError for a mark that is unknown."""
    name, shape = saved.get("as"), tuple(saved["shape"])
    if name is None:
        return DTYPES[saved["dtype"]], shape
    dtype = MARKS.get(name) if isinstance(name, str) else None
    if dtype is None or DTYPES[saved["dtype"]] != STORED[dtype] or (dtype in COMPLEX and shape[-1:] != (2,)):
        raise ValueError(f"as {name!r}")
    return dtype, shape[:-1] if dtype in COMPLEX else shape


def stored(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor's own memory, seen as the type that is written; a copy where values are conjugated or negated only when read."""
    if tensor.is_conj() or tensor.is_neg():
        tensor = tensor.resolve_conj().resolve_neg()
    if tensor.dtype in COMPLEX:
        return torch.view_as_real(tensor)
    return tensor.view(STORED[tensor.dtype]) if tensor.dtype in STORED else tensor


def problem(tensor: torch.Tensor) -> str | None:
    """Why this tensor cannot be saved, and the way out; None for one that can."""
    kind = type(tensor).__name__
    if isinstance(tensor, UninitializedParameter | UninitializedBuffer):
        return "has no shape yet (a lazy module): pass one batch through the model before the Checkpointer is made"
    if isinstance(tensor, DTensor):
        if any(placement.is_partial() for placement in tensor.placements):
            return "a DTensor with a pending reduction cannot be saved"
        return problem(tensor.to_local())
    is_shell: bool = is_traceable_wrapper_subclass(tensor)
    if is_shell:
        return f"a {kind} cannot be saved; keep this state in plain tensors (quantized optimizers do not)"
    if tensor.layout != torch.strided or tensor.is_quantized:
        form = "quantized" if tensor.is_quantized else str(tensor.layout).removeprefix("torch.")
        return f"a {form} tensor cannot be saved; keep it as plain tensors, and build the {form} one from them"
    if tensor.device.type == "meta":
        return "is on the meta device and holds no values: bring it to memory (to_empty, then its weights) before the Checkpointer is made"
    if tensor.dtype not in DTYPE_NAMES and tensor.dtype not in STORED:
        return f"tensors of {tensor.dtype} cannot be stored as safetensors; keep them as another type"
    return None


def check(key: str, tensor: torch.Tensor) -> None:
    """Raises ConfigError that names the tensor where it cannot be saved exactly."""
    if type(tensor) in ORDINARY and tensor.dtype in DTYPE_NAMES and tensor.layout == torch.strided and not tensor.is_meta:
        return  # nearly all are, and every snapshot asks
    found = problem(tensor)
    if found:
        raise ConfigError(f"{key}: {found}")
