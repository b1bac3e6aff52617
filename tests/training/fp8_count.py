"""What a model really computes, seen below torchao: every matrix product that reaches torch, with its operands."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchao.float8 import Float8TrainingTensor

aten = torch.ops.aten
FLOAT8 = {torch.float8_e4m3fn: "e4m3", torch.float8_e5m2: "e5m2"}
SIGNIFICANDS = {"e5m2": 9, "e4m3": 17}
"""So many different significands can a tensor of that type have: two bits or three after the point, a sign, and zero."""


class Products(TorchDispatchMode):
    """Within it, counts matrix products by the types of their operands.

    `found["e5m2 e4m3"]` are products of such operands by torch's own float8 operator, `found["as e5m2 e4m3"]` ordinary ones of
    values that are as coarse, `found["plain"]` the others.
    """

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if any(issubclass(type, Float8TrainingTensor) for type in types):
            return NotImplemented  # torchao takes its tensors apart, and what it then asks of torch comes here again
        if func is aten._scaled_mm.default:
            self.found[" ".join(FLOAT8[operand.dtype] for operand in args[:2])] += 1
        if func is aten.mm.default:
            looks = [coarseness(operand) for operand in args]
            self.found["plain" if None in looks else f"as {looks[0]} {looks[1]}"] += 1
        return func(*args, **(kwargs or {}))


def coarseness(values: torch.Tensor) -> str | None:
    """The coarsest float8 type that has as few significands; a scale of the whole tensor, or by powers of two, does not change them."""
    count = torch.frexp(values.float()).mantissa.unique().numel()
    return next((name for name, most in SIGNIFICANDS.items() if count <= most), None)
