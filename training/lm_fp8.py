"""Float8 for the linear layers of a model, by torchao: on which hardware, in which layers, and how it is told.

A converted layer holds the same parameters under the same names, so a checkpoint of the plain model loads into the converted
one and the other way round. What is float8 is the arithmetic: each of a layer's three matrix products (output, gradient of
the input, gradient of the weight) takes its operands in 8 bits, with scales computed from the values at every step.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

if TYPE_CHECKING:
    from torchao.float8 import Float8LinearConfig

RECIPES = {"tensorwise": "one scale a tensor", "rowwise": "one scale a row, a power of two"}
FORMATS = {"hybrid": "values in e4m3, gradients in e5m2", "e4m3": "all in e4m3"}

MULTIPLE = 16
"""torch._scaled_mm on GPUs wants inner and output dimensions that are multiples of this."""

CUDA_CAPABILITY = {"tensorwise": (8, 9), "rowwise": (9, 0)}
"""What the recipes need at least, as torchao tests them."""
ROCM_ARCHITECTURES = {"gfx942": "MI300", "gfx950": "MI350"}


# --- the hardware ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What decides whether a device multiplies float8 matrices."""

    kind: str
    """cuda | rocm | cpu"""
    name: str = ""
    capability: tuple[int, int] = (0, 0)
    """Of a CUDA device."""
    architecture: str = ""
    """Of a ROCm device, such as gfx942."""

    @classmethod
    def of(cls, device: torch.device) -> Hardware:
        if device.type != "cuda":
            return cls(kind=device.type)
        found = torch.cuda.get_device_properties(device)
        if torch.version.hip:
            return cls(kind="rocm", name=found.name, architecture=found.gcnArchName.partition(":")[0])
        return cls(kind="cuda", name=found.name, capability=(found.major, found.minor))

    def why_not(self, recipe: str) -> str | None:
        """Why this device does not multiply float8 matrices by this recipe; None when it does."""
        if self.kind == "cuda":
            least = CUDA_CAPABILITY[recipe]
            has, needs = (".".join(map(str, version)) for version in (self.capability, least))
            return None if self.capability >= least else f"{self.name} has compute capability {has}, {recipe} needs {needs}"
        if self.kind == "rocm":
            known = " or ".join(f"{architecture} ({product})" for architecture, product in ROCM_ARCHITECTURES.items())
            return None if self.architecture in ROCM_ARCHITECTURES else f"{self.name} is {self.architecture}, not {known}"
        return (
            f"this machine's device is a {self.kind.upper()}, which has no float8 (--fp8-emulate does the rounding in software)"
        )


def why_not(model: nn.Module, *, recipe: str, emulate: bool) -> str | None:
    """Why this process cannot train this model in float8; None when it can."""
    choice = choose_layers(model)
    if not choice.converted:
        return "no linear layer can be converted: " + ", ".join(f"{name} ({why})" for name, why in choice.kept.items())
    return None if emulate else Hardware.of(next(model.parameters()).device).why_not(recipe)


def first_reason(reasons: list[str]) -> str | None:
    """Of all ranks' reasons ("" for none): all must have float8, or none uses it."""
    named = [f"rank {rank}: {reason}" for rank, reason in enumerate(reasons) if reason]
    return None if not named else reasons[0] if len(set(reasons)) == 1 else named[0]


# --- the layers --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """Which linear layers are converted."""

    converted: list[str] = field(default_factory=list)
    kept: dict[str, str] = field(default_factory=dict)
    """Name of a layer that stays as it is -> why."""


def choose_layers(model: nn.Module) -> Choice:
    """All linear layers but the first and the last, which suffer most from coarse values, and those of odd sizes.

    Embeddings are look-ups, and a tied output layer has no linear layer of its own: both stay as they are in any case.
    """
    linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    names, choice = list(linears), Choice()
    ends = {names[-1]: "last linear layer", names[0]: "first linear layer"} if names else {}
    for name, linear in linears.items():
        odd = [size for size in (linear.in_features, linear.out_features) if size % MULTIPLE]
        if name in ends:
            choice.kept[name] = ends[name]
        elif odd:
            choice.kept[name] = f"{odd[0]} is no multiple of {MULTIPLE}"
        else:
            choice.converted.append(name)
    return choice


def convert(model: nn.Module, *, recipe: str, format: str, emulate: bool) -> Choice:
    """Put torchao's layers in place of the chosen ones; the parameters stay the same objects.

    To be done before DDP, fully_shard and torch.compile.
    """
    with quiet("torch.utils._pytree"):  # torchao 0.18 registers something that torch 2.15 knows already, and torch says so
        from torchao.float8 import convert_to_float8_training

    choice = choose_layers(model)
    chosen, config = set(choice.converted), make_config(recipe=recipe, format=format, emulate=emulate)
    convert_to_float8_training(model, config=config, module_filter_fn=lambda module, name: name in chosen)
    return choice


def make_config(*, recipe: str, format: str, emulate: bool) -> Float8LinearConfig:
    """torchao's configuration of a recipe, with the data types of a format."""
    from torchao.float8 import CastConfig, Float8LinearConfig, ScalingGranularity
    from torchao.float8.config import e4m3_dtype, e5m2_dtype  # on MI300 they are not the types of other devices

    by_row = recipe == "rowwise"
    granularity = ScalingGranularity.AXISWISE if by_row else ScalingGranularity.TENSORWISE

    def cast(dtype: torch.dtype) -> Any:
        return CastConfig(scaling_granularity=granularity, target_dtype=dtype)

    return Float8LinearConfig(
        cast_config_input=cast(e4m3_dtype),
        cast_config_weight=cast(e4m3_dtype),
        cast_config_grad_output=cast(e5m2_dtype if format == "hybrid" else e4m3_dtype),
        round_scales_to_power_of_2=by_row,  # as in torchao's own rowwise recipe
        emulate=emulate,
    )


@contextlib.contextmanager
def quiet(name: str) -> Iterator[None]:
    """Warnings of one logger are not shown: they speak to the authors of libraries."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


# --- what is told ------------------------------------------------------------------------------------------------


def report(told: dict[str, Any]) -> list[str]:
    """The lines for people, of what the event `converted` holds."""
    if not told["used"]:
        return [f"not used, this run trains in bf16: {told['reason']}"]
    converted, kept = told["converted"], told["kept"]
    how = f"{told['recipe']}, {told['format']}" + (", emulated" if told["emulate"] else "")
    return [
        f"{len(converted)} of {len(converted) + len(kept)} linear layers ({how}): {', '.join(converted)}",
        *(f"{name} stays in bf16: {why}" for name, why in kept.items()),
    ]
