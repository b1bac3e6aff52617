"""Modules, optimizers, schedules and other objects as people write them, each made anew at every call: what exactness is tried on.

A kind is a function that returns the Checkpointer's objects; `train` takes one step with them.
"""

from __future__ import annotations

import enum
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

Objects = dict[str, Any]


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=0.05)


def with_adamw(make: Callable[[], nn.Module]) -> Callable[[], Objects]:
    def made() -> Objects:
        model = make()
        return {"model": model, "optimizer": adamw(model)}

    return made


# --- modules -----------------------------------------------------------------------------------------------------


class Clones(nn.Linear):
    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        return {key: value.clone() for key, value in super().state_dict(*args, **kwargs).items()}


class ClonesOnce(nn.Linear):
    """Its load_state_dict takes no `strict`."""

    def state_dict(self) -> Any:  # type: ignore[override]
        return {"both": torch.cat([self.weight.detach().flatten(), self.bias.detach()])}

    def load_state_dict(self, state: Any) -> None:  # type: ignore[override]
        with torch.no_grad():
            self.weight.copy_(state["both"][: self.weight.numel()].view_as(self.weight))
            self.bias.copy_(state["both"][self.weight.numel() :])


class Rebuilds(nn.Linear):
    """Keeps something that only `_load_from_state_dict` makes from the weights."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.doubled = self.weight.detach() * 2

    def _load_from_state_dict(self, state: Any, prefix: str, *args: Any) -> None:
        super()._load_from_state_dict(state, prefix, *args)
        self.doubled = self.weight.detach() * 2


class Extra(nn.Linear):
    """Extra state with tensors, whose shape a fresh module does not have."""

    def __init__(self, *, is_tensor: bool) -> None:
        super().__init__(2, 2)
        self.is_tensor, self.seen = is_tensor, torch.zeros(0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = torch.cat([self.seen, torch.ones(1)])
        return super().forward(x)

    def get_extra_state(self) -> Any:
        return self.seen.clone() if self.is_tensor else {"seen": [self.seen.clone()], "n": (len(self.seen),)}

    def set_extra_state(self, state: Any) -> None:
        self.seen = state if self.is_tensor else state["seen"][0]


class Buffers(nn.Linear):
    def __init__(self) -> None:
        super().__init__(2, 2)
        self.register_buffer("expanded", torch.zeros(1, 2).expand(3, 2))
        self.register_buffer("none", None)
        self.register_buffer("empty", torch.zeros(0, 2))
        self.register_buffer("turned", torch.zeros(3, 2).T)
        self.register_buffer("wave", torch.zeros(2, dtype=torch.complex64))
        self.register_buffer("wide", torch.zeros(2, dtype=torch.complex128).conj())
        self.register_buffer("small", torch.zeros(2, dtype=torch.uint16))
        self.register_buffer("large", torch.zeros(2, dtype=torch.uint64))
        self.register_buffer("scale", torch.zeros(2).to(torch.float8_e5m2fnuz))
        self.register_buffer("cache", torch.zeros(2), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            self.expanded[:1].add_(1.5)
            self.turned.add_(torch.arange(6.0).reshape(2, 3))
            self.wave.add_(1 + 2j)
            self.wide.add_(3 - 1j)
            self.small.copy_(self.small.int() + 40_000)
            self.large.copy_(torch.tensor([2**63 + 5, 7], dtype=torch.uint64))
            self.scale.copy_((self.scale.float() + 1.0).to(self.scale.dtype))
        return super().forward(x)


class Freezes(nn.Sequential):
    """Its first layer is trained for two steps and then frozen: the optimizer keeps its state."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(2, 2), nn.Linear(2, 2))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += 1
        if self.steps > 2:
            self[0].requires_grad_(False)
        return super().forward(x)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        self.two.weight = self.one.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.one(x))


def renamed() -> nn.Module:
    """Hooks that rename on the way out and back."""
    model = nn.Sequential(nn.Linear(2, 2))
    model._register_state_dict_hook(
        lambda module, state, prefix, meta: OrderedDict(("old." + k, v + 0) for k, v in state.items())
    )

    def back(module: nn.Module, state: Any, prefix: str, *args: Any) -> None:
        for key in list(state):
            state[key.removeprefix("old.")] = state.pop(key)

    model.register_load_state_dict_pre_hook(back)
    return model


def split() -> nn.Module:
    """One parameter, saved as two that are views of it."""
    model = nn.Sequential(nn.Linear(2, 2))

    def out(module: nn.Module, state: Any, prefix: str, meta: Any) -> Any:
        weight = state.pop("0.weight")
        return OrderedDict([("q", weight[:1].T), ("k", weight[1:]), *state.items()])

    def back(module: nn.Module, state: Any, prefix: str, *args: Any) -> None:
        state["0.weight"] = torch.cat([state.pop("q").T, state.pop("k")])

    model._register_state_dict_hook(out)
    model.register_load_state_dict_pre_hook(back)
    return model


def scaled_in_place() -> nn.Module:
    """A hook on the way back that changes the tensors that it is given."""
    model = nn.Linear(2, 2)
    model._register_state_dict_hook(lambda module, state, prefix, meta: OrderedDict((k, v * 4) for k, v in state.items()))

    def back(module: nn.Module, state: Any, *args: Any) -> None:
        for value in state.values():
            value.div_(4)

    model.register_load_state_dict_pre_hook(back)
    return model


def patched() -> nn.Module:
    model = nn.Linear(2, 2)
    plain = model.state_dict
    model.state_dict = lambda *args, **kwargs: {k: v.double() for k, v in plain(*args, **kwargs).items()}  # type: ignore[method-assign]
    return model


def compiled() -> nn.Module:
    return nn.Sequential(torch.compile(nn.Linear(2, 2), backend="eager"), nn.Linear(2, 2))


def activation_checkpointed() -> nn.Module:
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    return nn.Sequential(checkpoint_wrapper(Clones(2, 2)), nn.Linear(2, 2))


MODULES: dict[str, Callable[[], nn.Module]] = {
    "clones": lambda: Clones(2, 2),
    "clones inside another": lambda: nn.Sequential(Clones(2, 2), nn.BatchNorm1d(2)),
    "one tensor of its own making": lambda: ClonesOnce(2, 2),
    "a derived tensor": Rebuilds,
    "extra state, a tensor": lambda: Extra(is_tensor=True),
    "extra state with tensors": lambda: nn.Sequential(Extra(is_tensor=False)),
    "odd buffers": Buffers,
    "tied": Tied,
    "renamed": renamed,
    "split into views": split,
    "scaled by hooks": scaled_in_place,
    "a method on the instance": patched,
    "compiled inside": compiled,
    "activation checkpointing": activation_checkpointed,
    "weight norm": lambda: nn.utils.parametrizations.weight_norm(nn.Linear(2, 2)),
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(2, 2)),
    "the old spectral norm": lambda: nn.utils.spectral_norm(nn.Linear(2, 2)),
    "a complex parameter": lambda: Complex(),
}


class Complex(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.to(torch.complex64) @ self.w).abs()


# --- optimizers --------------------------------------------------------------------------------------------------


class Point(NamedTuple):
    x: int
    y: Any


class Phase(enum.Enum):
    WARM = 1
    COLD = 2


class Nested(torch.optim.Optimizer):
    """State as second-order optimizers keep it: lists of matrices with gaps, dicts by number, other types than the parameter's."""

    def __init__(self, params: Any, lr: Any = 0.05) -> None:
        super().__init__(params, {"lr": lr, "betas": (0.9, 0.99), "phase": Phase.WARM, "shape": torch.Size([2])})
        self.state["calls"] = {"n": 0, "mean": torch.zeros(1)}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.state["calls"]["n"] += 1
        self.state["calls"]["mean"] += 0.5
        for group in self.param_groups:
            for p in group["params"]:
                state = self.state[p]
                if not state:
                    state.update(
                        G=[torch.zeros(len(p), len(p), dtype=torch.float64), None, (torch.zeros(1), "left")],
                        by={0: torch.zeros(p.shape, dtype=torch.int64), 1: {"name": "x", "range": range(3)}},
                        queue=deque(maxlen=2),
                        kept=OrderedDict(b=1, a=torch.zeros(2, dtype=torch.bfloat16)),
                        rows=np.zeros(2),
                    )
                flat = p.grad.reshape(len(p), -1).double()
                state["G"][0] += flat @ flat.T
                state["G"][2][0].add_(1)
                state["by"][0] += 1
                state["queue"].append(torch.full((1,), float(self.state["calls"]["n"])))
                state["kept"]["a"] += 0.1
                state["rows"] += 1 / 3
                p.data.add_(p.grad, alpha=-float(group["lr"]) / (1 + float(state["G"][0].trace())))


class OwnLoading(torch.optim.SGD):
    """Keeps what it reads in its own way, like many a quantized optimizer."""

    def load_state_dict(self, state: Any) -> None:
        super().load_state_dict(state)
        self.was_loaded = True


def bf16_with_fp32_moments() -> Objects:
    model = nn.Linear(2, 2, dtype=torch.bfloat16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    for p in model.parameters():
        optimizer.state[p] = {"master": p.detach().float() + 1e-4}
    return {"model": model, "optimizer": optimizer}


def lr_tensor(**options: Any) -> Objects:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=torch.tensor(0.05), **options)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=9, cycle_momentum=False)
    return {"model": model, "optimizer": optimizer, "scheduler": schedule}


def frozen_later() -> Objects:
    model = Freezes()
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.05)}


def with_optimizer(make: Callable[[Any], torch.optim.Optimizer]) -> Callable[[], Objects]:
    def made() -> Objects:
        model = nn.Linear(2, 2)
        return {"model": model, "optimizer": make(model.parameters())}

    return made


OPTIMIZERS: dict[str, Callable[[], Objects]] = {
    "a tensor as learning rate": lr_tensor,
    "tensors as betas too": lambda: lr_tensor(betas=(torch.tensor(0.8), torch.tensor(0.9)), foreach=False),
    "LBFGS": with_optimizer(lambda params: torch.optim.LBFGS(params, lr=0.1, history_size=3, line_search_fn="strong_wolfe")),
    "nested containers": with_optimizer(Nested),
    "loading of its own": with_optimizer(lambda params: OwnLoading(params, lr=0.05, momentum=0.9)),
    "fp32 state of bf16 weights": bf16_with_fp32_moments,
    "parameters frozen later": frozen_later,
    **{
        name: with_optimizer(getattr(torch.optim, name))
        for name in ("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Rprop", "SGD")
    },
    "named parameters": lambda: _named(),
}


def _named() -> Objects:
    model = nn.Linear(2, 2)
    groups = [{"params": [("w", model.weight)], "betas": (0.8, 0.9)}, {"params": [("b", model.bias)], "tags": ["x", None]}]
    return {"model": model, "optimizer": torch.optim.AdamW(groups, lr=0.05)}


# --- schedules and other objects ---------------------------------------------------------------------------------


class Remembers:
    """Anything with state_dict: a history that grows, in containers of every kind."""

    def __init__(self) -> None:
        self.state: dict[str, Any] = {
            "z": Counter(),
            "a": OrderedDict(),
            "lists": defaultdict(list),
            "last": Point(0, Phase.WARM),
            "points": [Point(0, 0)],
            "recent": deque(maxlen=2),
            "seen": set(),
            "mean": torch.zeros(2),
            "matrix": np.zeros((2, 2), np.float32),
        }

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state = state

    def step(self) -> None:
        state = self.state
        n = sum(state["z"].values()) + 1
        state["z"][n % 2] += 1
        state["a"][f"{9 - n}"] = n
        state["lists"][n].append((n,))
        state["last"] = Point(n, Phase.COLD)
        state["points"].append(Point(n, state["last"]))
        state["recent"].append(n)
        state["seen"].add((n, "x"))
        state["mean"] += 1 / 3
        state["matrix"] += np.float32(0.1)


SCHEDULES: dict[str, Callable[[Any], Any]] = {
    "MultiStepLR": lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [2, 2, 4], 0.5),
    "ReduceLROnPlateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, patience=0),
    "CyclicLR": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, 2, cycle_momentum=False),
    "SequentialLR": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o, [torch.optim.lr_scheduler.LinearLR(o), torch.optim.lr_scheduler.MultiStepLR(o, [1])], [2]
    ),
    "ChainedScheduler": lambda o: torch.optim.lr_scheduler.ChainedScheduler(
        [torch.optim.lr_scheduler.ExponentialLR(o, 0.9), torch.optim.lr_scheduler.PolynomialLR(o, 9)]
    ),
    "CosineAnnealingWarmRestarts": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 2),
    "SWALR": lambda o: torch.optim.swa_utils.SWALR(o, 0.01, 3),
}


def with_schedule(make: Callable[[Any], Any]) -> Callable[[], Objects]:
    def made() -> Objects:
        model = nn.Linear(2, 2)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        return {"model": model, "optimizer": optimizer, "scheduler": make(optimizer)}

    return made


def remembering() -> Objects:
    model = nn.Linear(2, 2)
    return {
        "model": model,
        "optimizer": adamw(model),
        "history": Remembers(),
        "average": torch.optim.swa_utils.AveragedModel(model),
    }


KINDS: dict[str, Callable[[], Objects]] = {
    **{f"module: {name}": with_adamw(make) for name, make in MODULES.items()},
    **{f"optimizer: {name}": make for name, make in OPTIMIZERS.items()},
    **{f"schedule: {name}": with_schedule(make) for name, make in SCHEDULES.items()},
    "objects: containers and an averaged model": remembering,
}


def train(things: Objects, step: int) -> None:
    """One step, the same for the same state."""
    model, optimizer = things["model"], things["optimizer"]
    dtype = next((p.dtype for p in model.parameters() if not p.is_complex()), torch.float32)
    x = torch.tensor([[1.0, step], [0.5, -step]], dtype=dtype)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss: torch.Tensor = model(x).float().square().mean()
        if loss.requires_grad:
            loss.backward()
        return loss

    if isinstance(optimizer, torch.optim.LBFGS):
        loss = optimizer.step(closure)  # type: ignore[no-untyped-call]
    else:
        loss = closure()
        optimizer.step()
    if "scheduler" in things:
        schedule = things["scheduler"]
        schedule.step(loss.detach()) if isinstance(schedule, torch.optim.lr_scheduler.ReduceLROnPlateau) else schedule.step()
    if "history" in things:
        things["history"].step()
        things["average"].update_parameters(model)
