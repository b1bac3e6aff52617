"""Bytes of a checkpoint from the number of parameters: which parts it has, and how many bytes a parameter each of them takes."""

from __future__ import annotations

from dataclasses import dataclass

BYTES_OF = {"fp64": 8, "fp32": 4, "fp16": 2, "bf16": 2, "fp8": 1}
MATRIX_SIDE = 4096
"""Adafactor keeps one row and one column for a matrix; its share depends on the shapes, which are not known here."""
QUANTISED_BLOCK = 256
"""8-bit optimizers keep one fp32 scale for so many values (torchao and bitsandbytes alike)."""


@dataclass(frozen=True)
class Optimizer:
    """What an optimizer remembers about a parameter."""

    states: float
    """State values a parameter."""
    told: str
    """What these are, for the list of assumptions."""
    own_bytes: float | None = None
    """Bytes of one value where the optimizer has a format of its own."""


OPTIMIZERS = {
    "adamw": Optimizer(2, "exp_avg and exp_avg_sq"),
    "adam": Optimizer(2, "exp_avg and exp_avg_sq"),
    "adamw8bit": Optimizer(
        2,
        f"two states of 8 bits with an fp32 scale for {QUANTISED_BLOCK} values; small tensors stay fp32 and are not counted; "
        "torchao's are tensor subclasses, which trainyard.Checkpointer cannot save",
        1 + 4 / QUANTISED_BLOCK,
    ),
    "sgd": Optimizer(0, "nothing"),
    "sgd-momentum": Optimizer(1, "momentum_buffer"),
    "adafactor": Optimizer(
        2 / MATRIX_SIDE, f"a row and a column for each matrix: an estimate for matrices of {MATRIX_SIDE} x {MATRIX_SIDE}"
    ),
    "lion": Optimizer(1, "exp_avg"),
    "muon": Optimizer(1, "momentum_buffer; what is given to AdamW instead (embeddings, norms, biases) has two states, not one"),
}


@dataclass(frozen=True)
class Part:
    """One part of a checkpoint."""

    part: str
    dtype: str
    bytes_per_param: float
    size_bytes: int


def parts_of(params: int, dtype: str, optimizer: str, optimizer_dtype: str, *, master_weights: bool) -> list[Part]:
    """Weights, optimizer states, and the fp32 copy of the weights that mixed-precision optimizers keep."""
    found = [("weights", dtype, float(BYTES_OF[dtype]))]
    kind = OPTIMIZERS[optimizer]
    if kind.states and kind.own_bytes is not None:
        found.append(("optimizer", "8-bit", kind.states * kind.own_bytes))
    elif kind.states:
        found.append(("optimizer", optimizer_dtype, kind.states * BYTES_OF[optimizer_dtype]))
    if master_weights:
        found.append(("master weights", "fp32", 4.0))
    return [Part(name, kind_of, float(each), round(params * each)) for name, kind_of, each in found]
