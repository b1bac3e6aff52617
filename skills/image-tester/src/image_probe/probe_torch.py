"""torch: its build, and what it computes on the CPU and on a GPU."""

from __future__ import annotations

import importlib.util
import os
from typing import Any

from image_probe.probe_report import Absent, Failed, Report, Unproven

STEPS = 5
NVIDIA = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/dxg")


def build(report: Report, item: dict[str, object]) -> dict[str, object]:
    """Version, CUDA build, the SMs that its kernels were compiled for, NCCL that it was built against, its backends."""
    torch = imported(report)
    report.step("read torch's build")
    flags = getattr(torch._C, "_cuda_getArchFlags", lambda: None)()
    report.step("torch.distributed.is_gloo_available")
    distributed = torch.distributed
    available = bool(distributed.is_available())
    return {
        "version": str(torch.__version__),
        "cuda": torch.version.cuda,
        "hip": getattr(torch.version, "hip", None),
        "architectures": sorted(set(str(flags).split())) if flags else [],
        "cudnn": _cudnn(torch),
        "gloo": available and bool(distributed.is_gloo_available()),
        "nccl_backend": available and bool(distributed.is_nccl_available()),
        "file": str(torch.__file__),
    }


def _cudnn(torch: Any) -> int | None:
    try:
        return int(torch.backends.cudnn.version() or 0) or None
    except RuntimeError:  # the library that lies there and the one that torch was built with differ
        return None


def cuda_run(report: Report, item: dict[str, object]) -> dict[str, object]:
    """A product of matrices on the GPU equals the CPU's. Without a GPU nothing is proven."""
    if not any(os.path.exists(path) for path in NVIDIA):
        raise Unproven("gpu", "this machine gives the container no GPU")
    torch = imported(report)
    report.step("torch.cuda.is_available")
    if not torch.cuda.is_available():
        report.step("torch.cuda.init")
        torch.cuda.init()
        raise Failed("torch.cuda.is_available() is False although the container has a GPU")
    report.step("multiply on the GPU")
    a_MK = torch.arange(64 * 64, dtype=torch.float64).reshape(64, 64) % 7
    on_gpu_MM = (a_MK.cuda() @ a_MK.cuda()).cpu()
    if not torch.equal(on_gpu_MM, a_MK @ a_MK):
        raise Failed("a product of matrices on the GPU differs from the CPU's")
    return {"device": torch.cuda.get_device_name(0), "capability": list(torch.cuda.get_device_capability(0))}


def train_step(report: Report, item: dict[str, object]) -> dict[str, object]:
    """Forward, backward and AdamW on a small model: finite, every parameter changed, the loss falls."""
    torch = imported(report)
    report.step("build a model")
    torch.manual_seed(1)
    # B batch, D features in and out, H hidden
    model = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.GELU(), torch.nn.LayerNorm(32), torch.nn.Linear(32, 8))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    x_BD = torch.randn(16, 8)
    before = [each.detach().clone() for each in model.parameters()]
    losses = []
    for number in range(STEPS):
        report.step(f"forward, step {number + 1}")
        loss = torch.nn.functional.mse_loss(model(x_BD), x_BD)
        report.step(f"backward, step {number + 1}")
        loss.backward()
        report.step(f"optimizer, step {number + 1}")
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
    if not all(map(_finite, losses)) or losses[-1] >= losses[0]:
        raise Failed(f"the loss of a small model does not fall: {losses}")
    same = sum(torch.equal(old, new) for old, new in zip(before, model.parameters()))  # noqa: B905  Python 3.8
    if same:
        raise Failed(f"{same} of {len(before)} parameters did not change in {STEPS} steps")
    return {"losses": [round(each, 6) for each in losses]}


def _finite(value: float) -> bool:
    return value == value and abs(value) != float("inf")


def imported(report: Report) -> Any:
    """torch. Raises Absent where it is not in the image, and what its import raises."""
    if importlib.util.find_spec("torch") is None:
        raise Absent("torch is not installed in the image's Python")
    report.step("import torch")
    torch = importlib.import_module("torch")
    importlib.import_module("torch.distributed")
    return torch
