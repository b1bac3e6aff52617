"""Is a machine with one GPU ready for Trainyard? The CUDA paths, each tried and measured, within eight minutes and without downloads.

    python benchmarks/gpu_check.py                  a table; --json prints one document
    python benchmarks/gpu_check.py --device cpu     the same logic in small on a CPU: proves this script, nothing about a GPU

Needs torch 2.11 or newer and this repository; NumPy for what saves and restores (else those checks are skipped and say so). Each check
runs in a process of its own with a limit, so that one that hangs or crashes costs its own verdict only. Exit code 0: every check
passed or warned, apart from what this GPU lacks by design; 1: one failed, or proved nothing. Less is better in every ratio.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path[0] = str(ROOT)  # instead of benchmarks/, whose modules have everyday names

from benchmarks.gpu_finding import MARK, Finding  # noqa: E402 - when run by its path

BUDGET_S = 470.0
"""Eight minutes, less what starting and ending takes."""
LEAST_S = 0.1
LIMITS_S = {
    "machine": 60,
    "resume": 60,
    "scaler": 45,
    "fp8": 60,
    "blocked": 90,
    "memory": 45,
    "profiler": 45,
    "pinned": 30,
    "nccl": 35,
}
"""Check -> seconds it may take; in this order, the most telling first. Together within the budget."""


def main() -> int:
    options = _options()
    if options.child:
        from benchmarks import gpu_child

        return gpu_child.run(options.child.split(","), options.device)
    started = time.monotonic()
    findings = list(_findings(options, started))
    document = {
        "ok": is_ready(findings),
        "device": options.device,
        "seconds": round(time.monotonic() - started, 1),
        "checks": [asdict(finding) for finding in findings],
    }
    print(json.dumps(document) if options.json else _table(findings, options.device))
    return 0 if document["ok"] else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--only", default=",".join(LIMITS_S), help="checks, with commas between (default: all)")
    parser.add_argument("--budget-s", type=float, default=BUDGET_S, help="seconds for everything (default: %(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set((options.child or options.only).split(",")) - set(LIMITS_S):
        parser.error(f"no check {min(unknown)!r}; there are {', '.join(LIMITS_S)}")
    return options


def _findings(options: argparse.Namespace, started: float) -> Iterator[Finding]:
    """The checks one after the other. On a CPU all in one process: it cannot be left broken by a fault of the device."""
    names = [name for name in LIMITS_S if name in options.only.split(",")]
    if options.device == "cuda" and (reason := no_gpu()):
        yield from (Finding(name, "skipped", reason, because="device") for name in names)
        return
    for group in [names] if options.device == "cpu" else [[name] for name in names]:
        left_s = options.budget_s - (time.monotonic() - started)
        limit_s = min(left_s, float(sum(LIMITS_S[name] for name in group)))
        if limit_s < LEAST_S:
            yield from (Finding(name, "skipped", "the time for all checks was used up", because="time") for name in group)
            continue
        yield from _in_child(group, options.device, limit_s)


def no_gpu() -> str | None:
    """Why there is no GPU to try, without importing torch; None where there is one."""
    if os.path.exists("/dev/kfd"):
        return None  # ROCm: torch says the rest
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int(0)
    except OSError:
        return "no NVIDIA driver on this machine (libcuda.so.1); --device cpu tries the logic of this script"
    if (error := driver.cuInit(0)) or (error := driver.cuDeviceGetCount(ctypes.byref(count))) or not count.value:
        return f"the NVIDIA driver shows no GPU (error {error}; CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')})"
    return None


def _in_child(names: list[str], device: str, limit_s: float) -> Iterator[Finding]:
    """The findings that a child process hands over; what it does not answer has failed."""
    command = [sys.executable, str(Path(__file__).resolve()), "--child", ",".join(names), "--device", device]
    # Deterministic products of cuBLAS want this before CUDA is begun; one process needs no network interface.
    environment = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "GLOO_SOCKET_IFNAME": "lo", **os.environ}
    # A job in which this was started must lend neither its folder nor its ranks.
    environment = {name: value for name, value in environment.items() if not name.startswith(("TRAINYARD_", "TORCHELASTIC_"))}
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        environment.pop(name, None)
    started = time.monotonic()
    child = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace",
        start_new_session=True,
    )  # fmt: skip
    try:
        out, err = child.communicate(timeout=limit_s)
        ended = f"its process ended with {child.returncode}"
    except subprocess.TimeoutExpired:
        _kill(child)
        out, err = child.communicate()
        ended = f"no answer within {limit_s:.0f} s"
    found = {}
    for line in out.splitlines():
        if line.startswith(MARK):
            finding = Finding(**json.loads(line.removeprefix(MARK)))
            found[finding.check] = finding
    last = next((line for line in reversed(err.splitlines()) if line.strip()), "")[:300]
    for name in names:
        lost = Finding(name, "fail", f"{ended}: {last}" if last else ended, seconds=round(time.monotonic() - started, 1))
        yield replace(found[name], summary=" ".join(found[name].summary.split())[:400]) if name in found else lost


def _kill(child: subprocess.Popen[str]) -> None:
    """With what it started: a loader's workers hold the same pipe."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def is_ready(findings: list[Finding]) -> bool:
    """What was skipped proves nothing, unless the hardware lacks it by design."""
    good = [each for each in findings if each.verdict in ("pass", "warn")]
    excused = [each for each in findings if each.verdict == "skipped" and each.because == "hardware"]
    return bool(good) and len(good) + len(excused) == len(findings)


def _table(findings: list[Finding], device: str) -> str:
    lines = [] if device == "cuda" else ["on a CPU, in small: this tries the script, and says nothing about a GPU"]
    for each in findings:
        ratios = ", ".join(f"{name} {value:g}" for name, value in each.ratios.items())
        lines.append(f"{each.verdict:8}{each.check:10}{each.seconds:6.1f} s  {each.summary}{f' [{ratios}]' if ratios else ''}")
    counts = {verdict: sum(each.verdict == verdict for each in findings) for verdict in ("pass", "warn", "fail", "skipped")}
    return "\n".join([*lines, ", ".join(f"{count} {verdict}" for verdict, count in counts.items())])


if __name__ == "__main__":
    sys.exit(main())
