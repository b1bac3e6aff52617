"""An optimizer's state by the names of its parameters, and back, exactly.

`Optimizer.load_state_dict` is called, for it is the optimizer's own way, and then put right, for it is not exact: it casts state to the
type of the parameter (fp32 moments of bf16 weights), rebuilds containers as others, and replaces tensors that a script or a captured
graph holds on to, such as a learning rate.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from trainyard import codec
from trainyard.errors import MismatchError, TrainyardError

Names = dict[int, str]
"""id(parameter) -> its name."""
Make = Callable[[str, torch.Tensor | None, torch.device], torch.Tensor]
"""Builds a tensor for a saved key, on a device: laid out as another one where that has its shape."""


def is_optimizer(value: Any) -> bool:
    """An optimizer whose state can be taken apart by parameter.

    One with a state_dict of its own is a container of others (torchtitan's) or a wrapper: what it holds itself may be empty, and its
    state_dict says what is to be kept.
    """
    return isinstance(value, torch.optim.Optimizer) and type(value).state_dict is torch.optim.Optimizer.state_dict


def encode(
    label: str, optimizer: torch.optim.Optimizer, names: Names, put: codec.PutTensor, note: Any = None
) -> dict[str, Any]:
    """{"kind", "state": {parameter: {slot: ...}}, "param_groups"}, and "other" for state under keys that are no parameters."""
    groups = []
    for number, group in enumerate(optimizer.param_groups):
        own = [name_of(label, parameter, names) for parameter in group["params"]]
        settings = {key: value for key, value in group.items() if key != "params"}
        groups.append(
            {**_members(settings, f"{label}.param_groups.{number}", lambda key: _on(put, "cpu"), note), "params": own}
        )
    state: dict[str, Any] = {}
    other: dict[Any, Any] = {}
    on_device, kept = _steps_on_device(optimizer), dict[Any, Any](optimizer.state)
    for key, slots in kept.items():
        if not isinstance(key, torch.Tensor):
            other[key] = slots
            continue
        name = name_of(label, key, names)
        put_slot = functools.partial(_put_slot, put, key, id(key) in on_device)
        state[name] = _members(slots, f"{label}.state.{name}", put_slot, note)
    found: dict[str, Any] = {"kind": type(optimizer).__name__, "state": state, "param_groups": groups}
    return {**found, "other": codec.encode(other, f"{label}.other", _on(put, "cpu"), note)} if other else found


def _members(values: Any, path: str, put_for: Callable[[str], codec.PutTensor], note: Any) -> Any:
    """A dict by its names, whatever their order: they are what other readers look for."""
    if type(values) is dict and all(type(key) is str and not key.startswith("$") for key in values):
        return {key: codec.encode(value, f"{path}.{key}", put_for(key), note) for key, value in values.items()}
    return codec.encode(values, path, put_for(""), note)


def _put_slot(put: codec.PutTensor, parameter: torch.Tensor, on_device: bool, slot: str) -> codec.PutTensor:
    """A put for the tensors of a slot; the reference says what a restore could not guess from the parameter."""
    usual = _on(put, _usual_device(parameter, slot, on_device).type)
    if not isinstance(parameter, DTensor):
        return usual

    def mark(path: str, tensor: torch.Tensor) -> dict[str, Any]:
        reference = usual(path, tensor)
        is_plain = not isinstance(tensor, DTensor) and tensor.shape == parameter.shape
        return {**reference, "plain": True} if is_plain else reference

    return mark


def _on(put: codec.PutTensor, device: str) -> Callable[[str, torch.Tensor], dict[str, Any]]:
    def mark(path: str, tensor: torch.Tensor) -> dict[str, Any]:
        put(path, tensor)
        return {"$tensor": path} if tensor.device.type == device else {"$tensor": path, "on": tensor.device.type}

    return mark


def _usual_device(parameter: torch.Tensor, slot: str, on_device: bool) -> torch.device:
    """Where torch keeps a slot: with its parameter, but for a step counter that no kernel reads."""
    return torch.device("cpu") if slot == "step" and not on_device else parameter.device


def _steps_on_device(optimizer: torch.optim.Optimizer) -> set[int]:
    """ids of the parameters whose step counters torch keeps beside them."""
    groups = [group for group in optimizer.param_groups if group.get("capturable") or group.get("fused")]
    return {id(parameter) for group in groups for parameter in group["params"]}


def name_of(label: str, parameter: torch.Tensor, names: Names) -> str:
    if id(parameter) not in names:
        raise TrainyardError(
            f"{label} holds a parameter of shape {tuple(parameter.shape)} of no module given to the Checkpointer"
        )
    return names[id(parameter)]


def check(label: str, optimizer: torch.optim.Optimizer, saved: dict[str, Any], names: Names) -> None:
    """Of the same kind and with the same groups; torch itself would load one's state into another. Raises MismatchError."""
    if saved.get("kind") != type(optimizer).__name__:
        raise MismatchError(f"{label} is {type(optimizer).__name__} here, {saved.get('kind')} in the checkpoint")
    here = [[name_of(label, parameter, names) for parameter in group["params"]] for group in optimizer.param_groups]
    if here != [group["params"] for group in saved["param_groups"]]:
        raise MismatchError(f"{label}: its parameter groups are not those of the checkpoint")
    unknown = sorted(set(saved["state"]) - set(names.values()))
    if unknown:
        raise MismatchError(f"{label}: the checkpoint has state of {unknown[0]}, which no module here has")


# --- the way back ------------------------------------------------------------------------------------------------


def targets(
    optimizer: torch.optim.Optimizer, saved: dict[str, Any], parameters: dict[str, torch.Tensor], make: Make
) -> dict[str, torch.Tensor]:
    """key -> tensor that a restore fills, for everything that was saved of it; sharded and placed as the optimizer had it."""
    wanted: dict[str, torch.Tensor] = {}
    on_device = _steps_on_device(optimizer)
    for name, slots in saved["state"].items():
        parameter = parameters[name]
        for slot, value in codec.members(slots):
            usual = _usual_device(parameter, slot or "", id(parameter) in on_device)
            for reference in codec.references(value):
                like = None if reference.get("plain") else parameter
                wanted[reference["$tensor"]] = make(reference["$tensor"], like, _device(reference, usual, parameter))
    first = next((parameter for group in optimizer.param_groups for parameter in group["params"]), torch.empty(0))
    for reference in codec.references([saved["param_groups"], saved.get("other", {})]):
        wanted[reference["$tensor"]] = make(reference["$tensor"], None, _device(reference, torch.device("cpu"), first))
    return wanted


def _device(reference: dict[str, Any], usual: torch.device, parameter: torch.Tensor) -> torch.device:
    kind = reference.get("on")
    if kind is None or kind == usual.type:
        return usual
    return torch.device("cpu") if kind == "cpu" else parameter.device


def live(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """What of its state a fresh optimizer has too: the settings of its groups, from which classes of the script's own are taken."""
    return {
        "param_groups": [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
    }


def load(optimizer: torch.optim.Optimizer, saved: dict[str, Any], parameters: dict[str, torch.Tensor]) -> None:
    """`saved` is decoded: tensors in place of references."""
    before = [dict(group) for group in optimizer.param_groups]
    numbers = {id(p): i for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    groups = [
        {**group, "params": [numbers[id(parameters[name])] for name in group["params"]]} for group in saved["param_groups"]
    ]
    state: dict[Any, Any] = {}
    if _has_own_loading(optimizer):
        own = {numbers.get(id(parameters[name])): slots for name, slots in saved["state"].items()}
        state = {number: slots for number, slots in own.items() if number is not None} | saved.get("other", {})
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    with torch.no_grad():
        for name, slots in sorted(saved["state"].items(), key=lambda item: numbers.get(id(parameters[item[0]]), len(numbers))):
            optimizer.state[parameters[name]] = _settled(optimizer.state.get(parameters[name]), slots)
        for old, group in zip(before, optimizer.param_groups, strict=True):
            group.update({key: _settled(old.get(key), value) for key, value in group.items() if key != "params"})
    optimizer.state.update(saved.get("other", {}))


def _has_own_loading(optimizer: torch.optim.Optimizer) -> bool:
    """Its class or its hooks do more with a saved state than to put it in place."""
    hooks = (optimizer._optimizer_load_state_dict_pre_hooks, optimizer._optimizer_load_state_dict_post_hooks)
    return type(optimizer).load_state_dict is not torch.optim.Optimizer.load_state_dict or any(hooks)


def _settled(loaded: Any, saved: Any) -> Any:
    """What was saved; in the tensors that stand there already where they are of its kind, for something else may hold them too."""
    if isinstance(loaded, torch.Tensor) and isinstance(saved, torch.Tensor):
        if type(loaded) is type(saved) and (loaded.dtype, loaded.shape, loaded.device) == (
            saved.dtype,
            saved.shape,
            saved.device,
        ):
            return loaded.copy_(saved) if loaded is not saved else saved
    elif type(loaded) is dict and type(saved) is dict:
        return {key: _settled(loaded.get(key), value) for key, value in saved.items()}
    return saved
