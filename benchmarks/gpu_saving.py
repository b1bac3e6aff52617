"""The checks of gpu_check.py that save and restore: bit for bit, with a gradient scaler, how long the loop is held, how much memory."""

from __future__ import annotations

import contextlib
import resource
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.gpu_arithmetic import is_gpu, wait
from benchmarks.gpu_finding import Finding, judged

# B batch, F features
STEPS, SAVED_AT, BATCH, FEATURES = 8, 4, 16, 64
FIRST_SCALE = 2.0**17
"""Of the gradient scaler: so large that the first steps overflow, for a scaler that has not moved cannot be lost."""
TIMEOUT_S = 60.0


class Net(nn.Module):
    """Attention, dropout and a norm: what draws numbers and what adds in an order of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.TransformerEncoderLayer(FEATURES, 4, 128, dropout=0.1, batch_first=True)
        self.out = nn.Linear(FEATURES, 1)

    def forward(self, x_BF: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.out(self.inner(x_BF[None])[0])
        return out


@contextlib.contextmanager
def deterministic() -> Iterator[None]:
    """Attention by plain products: of its fused kernels not every one is deterministic, and none is Trainyard's."""
    torch.use_deterministic_algorithms(True)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.use_deterministic_algorithms(False)


def _things(device: torch.device, seed: int, *, scaler: bool) -> dict[str, Any]:
    torch.manual_seed(seed)
    model = Net().to(device)
    things: dict[str, Any] = {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=1e-2)}
    return things | ({"scaler": torch.amp.GradScaler(device.type, init_scale=FIRST_SCALE)} if scaler else {})


def _train(things: dict[str, Any], device: torch.device, folder: Path, until: int, *, keep: bool) -> list[float]:
    """Losses of the steps after the restored one, up to `until`."""
    from trainyard import Checkpointer, SavePolicy

    checkpointer = Checkpointer(folder, policy=SavePolicy(rolling_steps=10**6), **things)
    step, losses = checkpointer.restore(), []
    while step < until:
        step += 1
        losses.append(_one_step(things, device, step))
        checkpointer.step(step, loss=losses[-1])
    if keep:
        checkpointer.close(finished=False)  # saves this step
    return losses


def _one_step(things: dict[str, Any], device: torch.device, step: int) -> float:
    x_BF = torch.randn(BATCH, FEATURES, generator=torch.Generator().manual_seed(step)).to(device)
    scaler = things.get("scaler")
    things["optimizer"].zero_grad()
    with torch.autocast(device.type, dtype=torch.float16, enabled=scaler is not None):
        loss = things["model"](x_BF).float().square().mean()
    if scaler is None:
        loss.backward()
        things["optimizer"].step()
        return float(loss.detach())
    scaler.scale(loss).backward()
    scaler.step(things["optimizer"])
    scaler.update()
    return float(loss.detach())


def _bits(things: dict[str, Any]) -> list[bytes]:
    tensors = [*things["model"].state_dict().values()]
    slots = things["optimizer"].state
    tensors += [slots[parameter][name] for parameter in things["model"].parameters() for name in sorted(slots[parameter])]
    return [bytes(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()) for tensor in tensors]


def _resumed(device: torch.device, folder: Path, *, scaler: bool) -> tuple[bool, list[float], Any, Any]:
    """(equal bit for bit, losses of the uninterrupted run, its objects, those of the resumed one)."""
    with deterministic():
        whole = _things(device, 1, scaler=scaler)
        losses = _train(whole, device, folder / "whole", STEPS, keep=True)
        _train(_things(device, 1, scaler=scaler), device, folder / "parted", SAVED_AT, keep=True)
        again = _things(device, 2, scaler=scaler)  # other weights and another seed: all of it must come from the checkpoint
        more = _train(again, device, folder / "parted", STEPS, keep=True)
    equal = more == losses[SAVED_AT:] and _bits(again) == _bits(whole)
    return equal, losses, whole, again


def resume(device: torch.device, folder: Path) -> Finding:
    """Saved, restored into fresh objects, trained on: losses, weights and optimizer equal the uninterrupted run's bit for bit."""
    equal, losses, _, _ = _resumed(device, folder, scaler=False)
    summary = f"step {SAVED_AT} of {STEPS}, deterministic algorithms, dropout: losses, weights, AdamW {'equal' if equal else 'DIFFER'}"
    return Finding("resume", "pass" if equal and len(losses) == STEPS else "fail", summary)


def scaler(device: torch.device, folder: Path) -> Finding:
    """The same in fp16 with a GradScaler that has backed off by then; its scale and its count come back."""
    equal, _, whole, again = _resumed(device, folder, scaler=True)
    scales = [things["scaler"].state_dict() for things in (whole, again)]
    made = int(whole["optimizer"].state[whole["model"].out.weight].get("step", 0))  # AdamW's own count
    tried = scales[0]["scale"] < FIRST_SCALE and STEPS - SAVED_AT < made < STEPS  # some before the save, and not all
    good = equal and tried and scales[0] == scales[1]
    summary = f"fp16, scale {scales[0]['scale']:g} in the whole run and {scales[1]['scale']:g} in the resumed one"
    told = "equal" if equal else "DIFFER"
    more = "" if tried else f"; {made} of {STEPS} steps were made, which tries nothing"
    return Finding("scaler", "pass" if good else "fail", f"{summary}; losses, weights, AdamW {told}{more}")


# --- time and memory ---------------------------------------------------------------------------------------------


def _large(device: torch.device) -> tuple[dict[str, Any], int]:
    """(a model with AdamW state, its bytes): 1.2 GB on a GPU, 3 MB elsewhere."""
    width, layers = (4096, 6) if is_gpu(device) else (256, 4)
    model = nn.Sequential(*(nn.Linear(width, width, device=device) for _ in range(layers)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=is_gpu(device))
    model(torch.ones(4, width, device=device)).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    wait(device)
    return {"model": model, "optimizer": optimizer}, 12 * sum(parameter.numel() for parameter in model.parameters())


def blocked(device: torch.device, folder: Path) -> Finding:
    """How long a save holds the loop: Trainyard's against torch.save and dcp.async_save."""
    things, size = _large(device)
    ours_s = statistics.median(_held_by_trainyard(things, device, folder))
    state = {"model": things["model"].state_dict(), "optimizer": things["optimizer"].state_dict()}
    torch_s = statistics.median(_timed(lambda: torch.save(state, folder / "state.pt"), device) for _ in range(2))
    ratios = {"blocked, against torch.save": (ours_s / torch_s, 0.7)}
    ratios["blocked, against dcp.async_save"] = (ours_s / statistics.median(_held_by_dcp(state, device, folder)), 1.1)
    summary = f"{size / 1e9:.2f} GB: {ours_s:.4f} s, {size / ours_s / 1e9:.1f} GB/s"
    return judged("blocked", summary, ratios, is_gpu=is_gpu(device))


def _timed(call: Any, device: torch.device) -> float:
    wait(device)
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def _held_by_trainyard(things: dict[str, Any], device: torch.device, folder: Path) -> list[float]:
    """Seconds of step() with a save, after a first save."""
    from trainyard import Checkpointer, SavePolicy

    policy = SavePolicy(rolling_steps=1, keep_rolling=1, keep_epochs=0)
    checkpointer, held = Checkpointer(folder / "ours", policy=policy, **things), []
    checkpointer.restore()
    for step in range(1, 4):
        held.append(_timed(lambda step=step: checkpointer.step(step), device))
        _until((folder / "ours" / f"step_{step:08d}").exists)
        _until(lambda: not checkpointer._saver.busy)
    checkpointer.close()
    return held[1:]


def _until(ready: Any) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(f"no save within {TIMEOUT_S:.0f} s")
        time.sleep(0.01)


def _held_by_dcp(state: dict[str, Any], device: torch.device, folder: Path) -> list[float]:
    """Seconds until dcp.async_save hands the loop back, after a first save."""
    from torch.distributed.checkpoint.filesystem import FileSystemWriter
    from torch.distributed.checkpoint.state_dict_saver import async_save
    from trainyard.process import init_distributed

    init_distributed(process_group=True, timeout_s=TIMEOUT_S)
    held = []
    try:
        for turn in range(3):
            wait(device)
            started = time.perf_counter()
            answer: Any = async_save(state, storage_writer=FileSystemWriter(folder / f"dcp-{turn}"))
            held.append(time.perf_counter() - started)
            (answer if isinstance(answer, Future) else answer.upload_completion).result(timeout=TIMEOUT_S)
            shutil.rmtree(folder / f"dcp-{turn}")
    finally:
        dist.destroy_process_group()
    return held[1:]


def memory(device: torch.device, folder: Path) -> Finding:
    """A save takes no memory of the GPU, and a restore little beside the state."""
    things, size = _large(device)
    checkpoints = folder / "memory"
    saving, restoring = (_more_memory(lambda: _train_large(things, checkpoints), device) / size for _ in range(2))
    host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / size
    where = "GPU" if is_gpu(device) else "process"
    ratios = {f"{where}, more for a save": (saving, 0.05), f"{where}, more for a restore": (restoring, 0.75)}
    return judged("memory", f"state {size / 1e9:.2f} GB; host peak {host:.1f} times that", ratios, is_gpu=is_gpu(device))


def _train_large(things: dict[str, Any], folder: Path) -> None:
    """Restore what is there, and save one step."""
    from trainyard import Checkpointer, SavePolicy

    checkpointer = Checkpointer(folder, policy=SavePolicy(rolling_steps=1, keep_rolling=1), **things)
    checkpointer.step(checkpointer.restore() + 1)
    checkpointer.close()


def _more_memory(call: Callable[[], None], device: torch.device) -> int:
    """Most bytes in use during a call beyond those before it: of the GPU, or else of this process."""
    if not is_gpu(device):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        call()
        return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    used = torch.cuda.memory_allocated(device)
    call()
    return torch.cuda.max_memory_allocated(device) - used


CHECKS = {"resume": resume, "scaler": scaler, "blocked": blocked, "memory": memory}
