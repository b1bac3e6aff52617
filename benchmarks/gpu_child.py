"""The process in which checks of gpu_check.py run: torch is imported here, and what a check raises becomes its finding."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

import torch

from benchmarks.gpu_finding import MARK, Finding, Skip

TRAINING = Path(__file__).resolve().parents[1] / "training"
LEAST_TORCH = (2, 11)
Check = Callable[[torch.device, Path], Finding]


def run(names: list[str], device_name: str) -> int:
    """Hand over one finding a check on stdout; all other prints go to stderr."""
    sys.path.insert(1, str(TRAINING))
    warnings.simplefilter("ignore")
    for name in names:
        started = time.monotonic()
        with contextlib.redirect_stdout(sys.stderr):
            finding = _try(name, device_name)
        print(MARK + json.dumps(asdict(replace(finding, seconds=round(time.monotonic() - started, 1)))), flush=True)
    return 0


def _try(name: str, device_name: str) -> Finding:
    try:
        device = _device(device_name)
        with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
            return _check(name)(device, Path(folder))
    except Skip as skip:
        return Finding(name, "skipped", str(skip), because=skip.because)
    except Exception as error:  # whatever it is, it is this check's verdict, and the next check is to run
        traceback.print_exc()
        return Finding(name, "fail", f"{type(error).__name__}: {error}")


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        built = "without CUDA" if not (torch.version.cuda or torch.version.hip) else "with CUDA, and sees no GPU"
        raise Skip(f"torch {torch.__version__} was built {built}", "device")
    return torch.device(name, 0) if name == "cuda" else torch.device(name)


def _check(name: str) -> Check:
    from benchmarks import gpu_arithmetic, gpu_saving

    checks: dict[str, Check] = {"machine": machine, **gpu_arithmetic.CHECKS}
    if name in checks:
        return checks[name]
    if find_spec("numpy") is None:
        raise Skip("NumPy is not installed, and Trainyard's runtime needs it: pip install numpy", "package")
    return gpu_saving.CHECKS[name]


def machine(device: torch.device, folder: Path) -> Finding:
    """What this is. Fails where torch is older than what the runtime is written for."""
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    absent = [name for name in ("numpy", "xxhash", "isal", "safetensors") if find_spec(name) is None]
    told = [f"torch {torch.__version__}", f"Python {platform.python_version()}"]
    if device.type == "cuda":
        found = torch.cuda.get_device_properties(device)
        told += [found.name, f"compute capability {found.major}.{found.minor}", f"{found.total_memory / 1e9:.0f} GB"]
    told += [f"not installed: {', '.join(absent)}"] if absent else []
    old = version < LEAST_TORCH
    return Finding("machine", "fail" if old else "pass", "; ".join(told + ["torch 2.11 or newer is needed"] * old))
