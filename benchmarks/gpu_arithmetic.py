"""The checks of gpu_check.py that are about torch on this device: FP8 products, pinned memory, the profiler, NCCL."""

from __future__ import annotations

import gzip
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from benchmarks.gpu_finding import Finding, Skip, judged

# M, N, K: the sizes of a product
FP8_CAPABILITY = (8, 9)
E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
MAX_ERROR = {(E4M3, E4M3): 0.06, (E5M2, E4M3): 0.09}
"""Relative error of a product of normal values: 3 and 2 bits of mantissa, averaged over a row."""


def is_gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def wait(device: torch.device) -> None:
    if is_gpu(device):
        torch.cuda.synchronize(device)


def seconds_of(call: Callable[[], object], device: torch.device, *, rounds: int = 7, calls: int = 1) -> float:
    """Median of a few rounds, of one call, warmed up."""
    taken = []
    for turn in range(rounds + 2):
        wait(device)
        started = time.perf_counter()
        for _ in range(calls):
            call()
        wait(device)
        if turn >= 2:
            taken.append((time.perf_counter() - started) / calls)
    return statistics.median(taken)


# --- FP8 ---------------------------------------------------------------------------------------------------------


def fp8(device: torch.device, folder: Path) -> Finding:
    """Products of e4m3 values, and of e5m2 gradients with e4m3 weights, are right; on a GPU they are faster than bf16."""
    if is_gpu(device) and torch.version.hip:
        raise Skip("ROCm's float8 types are others on MI300; tried on NVIDIA only", "hardware")
    if is_gpu(device) and torch.cuda.get_device_capability(device) < FP8_CAPABILITY:
        raise Skip(f"{torch.cuda.get_device_name(device)} has no FP8 (compute capability 8.9 or newer has)", "hardware")
    size = 4096 if is_gpu(device) else 128
    torch.manual_seed(1)
    left_MK, right_NK = (torch.randn(size, size, device=device) for _ in range(2))
    bf16_s = seconds_of(lambda: left_MK.bfloat16() @ right_NK.bfloat16().t(), device, rounds=1)  # warm
    left_16, right_16 = left_MK.bfloat16(), right_NK.bfloat16()
    bf16_s = seconds_of(lambda: left_16 @ right_16.t(), device, calls=10)
    exact_MN, ratios, errors = left_MK @ right_NK.t(), {}, []
    for left_type, right_type in MAX_ERROR:
        name = f"{str(left_type)[13:17]} x {str(right_type)[13:17]}, time against bf16"
        product = _scaled_product(left_MK, right_NK, left_type, right_type)
        error = float((product().float() - exact_MN).norm() / exact_MN.norm())
        errors.append(f"{error:.3f}")
        if not error < MAX_ERROR[left_type, right_type]:
            return Finding("fp8", "fail", f"{name}: relative error {error:.3f}, at most {MAX_ERROR[left_type, right_type]}")
        ratios[name] = (seconds_of(product, device, calls=10) / bf16_s, 0.8)
    summary = f"{size} x {size}: relative errors {' and '.join(errors)}; bf16 {2 * size**3 / bf16_s / 1e12:.1f} TFLOP/s"
    return judged("fp8", summary, ratios, is_gpu=is_gpu(device))


def _scaled_product(
    left_MK: torch.Tensor, right_NK: torch.Tensor, left_type: torch.dtype, right_type: torch.dtype
) -> Callable[[], torch.Tensor]:
    """left @ right.T by torch._scaled_mm, one scale a tensor; the casts are done beforehand."""
    (left, left_scale), (right, right_scale) = _cast(left_MK, left_type), _cast(right_NK, right_type)
    return lambda: torch._scaled_mm(
        left, right.t(), scale_a=left_scale, scale_b=right_scale, out_dtype=torch.bfloat16, use_fast_accum=False
    )


def _cast(tensor: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    scale = tensor.abs().max() / torch.finfo(dtype).max
    return (tensor / scale).to(dtype), scale.float()


# --- the others --------------------------------------------------------------------------------------------------


def pinned(device: torch.device, folder: Path) -> Finding:
    """A loader with pin_memory gives pinned batches, the same ones, and copies from them are no slower."""
    from torch.utils.data import DataLoader, TensorDataset

    data = TensorDataset(torch.arange(64 * (1 << 18 if is_gpu(device) else 64), dtype=torch.float32).reshape(64, -1))
    plain = [batch for (batch,) in DataLoader(data, batch_size=16)]
    loaded = [batch for (batch,) in DataLoader(data, batch_size=16, num_workers=1, pin_memory=is_gpu(device))]
    if not all(map(torch.equal, plain, loaded)) or len(loaded) != 4:
        return Finding("pinned", "fail", "the batches of a worker are others than those of the dataset")
    if not is_gpu(device):
        return Finding("pinned", "pass", "a worker's batches are right; memory is pinned for GPUs only")
    if not all(batch.is_pinned() for batch in loaded):
        return Finding("pinned", "fail", "pin_memory=True, and the batches are not pinned")
    times = [seconds_of(lambda batch=each: batch.to(device, non_blocking=True), device) for each in (loaded[0], plain[0])]  # type: ignore[misc]
    size = loaded[0].numel() * 4
    return judged(
        "pinned", f"{size / 1e6:.0f} MB at {size / times[0] / 1e9:.1f} GB/s", {"copy, pinned against pageable": (times[0] / times[1], 1.05)},
        is_gpu=True,
    )  # fmt: skip


def profiler(device: torch.device, folder: Path) -> Finding:
    """What `train.py --profile 2:3` writes holds those steps, kernels of the GPU included."""
    from lm_profile import StepProfiler, step_range

    model, profiled = nn.Linear(64, 64).to(device), StepProfiler(step_range("2:3"), folder)
    trace = None
    for step in range(1, 5):
        profiled.before(step)
        model(torch.ones(8, 64, device=device)).sum().backward()
        wait(device)
        trace = profiled.after(step) or trace
    if trace is None:
        return Finding("profiler", "fail", "no trace was written")
    with gzip.open(trace) as file:
        kinds = [event.get("cat") for event in json.load(file)["traceEvents"]]
    wanted = "kernel" if is_gpu(device) else "cpu_op"
    count = kinds.count(wanted)
    summary = f"{count} events of kind {wanted} in {trace.name}"
    return Finding("profiler", "pass" if count else "fail", summary)


def nccl(device: torch.device, folder: Path) -> Finding:
    """init_distributed joins a group of one rank, over NCCL for the GPU and gloo for the CPU; DDP trains in it."""
    from torch.nn.parallel import DistributedDataParallel
    from trainyard.process import init_distributed

    world = init_distributed(process_group=True, timeout_s=30)
    try:
        if world.device.type != device.type and is_gpu(device):
            return Finding("nccl", "fail", f"init_distributed chose {world.device}")
        backend = str(dist.distributed_c10d._get_default_group()._get_backend(device).name())
        ones, on_cpu = torch.ones(1 << 20, device=device), torch.ones(8)
        dist.all_reduce(ones)
        dist.all_reduce(on_cpu)
        model = DistributedDataParallel(nn.Linear(32, 32).to(device))
        model(torch.ones(4, 32, device=device)).sum().backward()
        wait(device)
        right = bool(ones.sum() == 1 << 20) and bool(on_cpu.sum() == 8) and model.module.weight.grad is not None
        taken = seconds_of(lambda: dist.all_reduce(ones), device, calls=5)
    finally:
        dist.destroy_process_group()
    expected = "nccl" if is_gpu(device) else "gloo"
    verdict = "pass" if right and backend == expected else "fail"
    return Finding("nccl", verdict, f"one rank over {backend}; all_reduce of 4 MB takes {taken * 1e6:.0f} us")


CHECKS = {"fp8": fp8, "pinned": pinned, "profiler": profiler, "nccl": nccl}
