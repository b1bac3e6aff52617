"""What is saved and restored: a transformer with AdamW state, of random numbers, in two sizes."""

from __future__ import annotations

import ctypes
import gc
from dataclasses import dataclass
from typing import Any

import torch
import xxhash
from torch import nn


@dataclass(frozen=True)
class Size:
    """`layers` blocks of 12 tensors each and two embeddings; AdamW makes it three times as many tensors and bytes."""

    name: str
    width: int
    layers: int
    vocabulary: int
    positions: int

    @property
    def nbytes(self) -> int:
        """About the bytes of the whole state: parameters and two AdamW slots, fp32."""
        embeddings, blocks = (self.vocabulary + self.positions) * self.width, self.layers * 12 * self.width**2
        return (embeddings + blocks) * 4 * 3


SIZES = {
    "small": Size("small", width=96, layers=6, vocabulary=256, positions=64),
    "2g": Size("2g", width=1024, layers=10, vocabulary=50304, positions=4096),
}


class Transformer(nn.Module):
    """Parameters only; nothing here runs forward."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size.vocabulary, size.width)
        self.positions = nn.Embedding(size.positions, size.width)
        self.layers = nn.ModuleList(nn.TransformerEncoderLayer(size.width, 8, 4 * size.width) for _ in range(size.layers))


@dataclass
class Subject:
    """A model and its optimizer, as a training loop holds them after some steps."""

    size: Size
    model: nn.Module
    optimizer: torch.optim.Optimizer

    def state_dict(self) -> dict[str, Any]:
        """What a script without trainyard hands to torch.save or dcp.save."""
        return {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Every tensor under a flat name, as a safetensors file wants it."""
        flat = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            flat.update({f"optimizer.{index}.{slot}": tensor for slot, tensor in slots.items()})
        return flat

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in self.tensors().values())

    def digest(self) -> str:
        """xxh3-128 of all values; two subjects with the same digest hold the same state."""
        digest = xxhash.xxh3_128()
        for _, tensor in sorted(self.tensors().items()):
            digest.update(tensor.detach().reshape(-1).view(torch.uint8).numpy().data)
        return str(digest.hexdigest())

    def forget(self) -> None:
        """The state of a process that has just built its model: other values, an optimizer without state, no spare memory."""
        with torch.no_grad():
            for parameter in self.model.parameters():
                parameter.zero_()
        self.optimizer = new_optimizer(self.model)
        release_memory()


def new_optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-3)


def build(size: Size) -> Subject:
    """Random parameters after one optimizer step."""
    with torch.device("meta"):
        model: nn.Module = Transformer(size)
    model = model.to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.02)
    optimizer = new_optimizer(model)
    for parameter in model.parameters():
        parameter.grad = parameter.detach() * 0.01
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    release_memory()
    return Subject(size, model, optimizer)


def release_memory() -> None:
    """Give freed memory back to the kernel, so that the next contestant pays for its pages as a fresh process would."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
