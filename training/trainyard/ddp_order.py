"""One order of gradient buckets for every start of a DDP model, so that a resumed run sums in the order of the one before.

DDP lays its buckets out by the first backward and rebuilds them at the second forward, by the order in which the gradients came
(torch/csrc/distributed/c10d/reducer.cpp, `rebuild_buckets`). The first step of every start thus sums in another order than the
others, and on more than two ranks that shows: the step after a restore is not the one that the undisturbed run made. So every start
does a backward of its own before it restores: over zeros, last parameter first, which is the order of DDP's own first guess.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

FEW = 2
"""Two numbers have one sum, in whichever order."""


class _Zeros(nn.Module):
    """Stands in for the model: its output's backward reaches every parameter, the last one first."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        super().__init__()
        self._own = tuple(parameters)  # not registered: a module's parameters are looked for in its attributes

    def forward(self) -> torch.Tensor:
        total = self._own[0].new_zeros(())
        for parameter in self._own:
            total = total + (parameter.reshape(-1)[:1] * 0).sum().to(total)
        return total


def settle(modules: Iterable[object]) -> None:
    """Collective: give the DDP models among `modules` the bucket order of every start. Gradients and weights stay as they are.

    Left alone: two ranks or fewer, models that keep DDP's first order (find_unused_parameters, static_graph), and those whose hooks
    or mixed precision would take the zeros for a step.
    """
    for module in modules:
        for part in module.modules() if isinstance(module, nn.Module) else ():
            if isinstance(part, DistributedDataParallel) and _rebuilds(part):
                _backward_on_zeros(part)


def _rebuilds(model: DistributedDataParallel) -> bool:
    keeps_order = model.find_unused_parameters or model.static_graph
    has_hooks = bool(getattr(model, "_comm_hooks", None)) or model.mixed_precision is not None
    return model.process_group.size() > FEW and not keeps_order and not has_hooks and not _has_gradients(model)


def _has_gradients(model: nn.Module) -> bool:
    return any(parameter.grad is not None for parameter in model.parameters())


def _backward_on_zeros(model: DistributedDataParallel) -> None:
    parameters = [parameter for parameter in model.module.parameters() if parameter.requires_grad]
    own, broadcasts = model.module, model.broadcast_buffers
    try:
        # Its list of buffers is made anew whenever it broadcasts them: of the stand-in it would be empty, and stay so.
        model.module, model.broadcast_buffers = _Zeros(parameters), False
        with torch.enable_grad():
            model().backward()
    finally:
        model.module, model.broadcast_buffers = own, broadcasts
        for parameter in parameters:
            parameter.grad = None
