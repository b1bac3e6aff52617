"""torch's build against the GPU and driver of the instance type, and what it computes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from image_verdicts.verdict_of import Scene, Verdict, failed, of, passed, warned
from trainyard_gpus import Target, builds, driver_of, has_kernels, runs_on
from trainyard_shell import Check


def standard(scene: Scene) -> Iterator[Verdict]:
    """torch.build, torch.kernels, torch.driver, cuda.run."""
    yield of(scene, "torch", "torch.build", lambda found: _build(scene, found))
    yield of(scene, "torch", "torch.kernels", lambda found: _kernels(scene, found))
    yield of(scene, "torch", "torch.driver", lambda found: _driver(scene, found))
    yield of(scene, "cuda", "cuda.run", lambda found: passed("cuda.run", f"{found.get('device')} computes what the CPU does"))


def full(scene: Scene) -> Iterator[Verdict]:
    """train.step, allreduce, checkpoint, job.run."""
    yield of(
        scene,
        "train",
        "train.step",
        lambda found: passed("train.step", f"forward, backward and AdamW work; losses {found.get('losses')}"),
    )
    yield of(
        scene,
        "ranks",
        "allreduce",
        lambda found: passed("allreduce", f"{found.get('ranks')} ranks under torchrun add up over {found.get('backend')}"),
    )
    yield of(
        scene,
        "checkpoint",
        "checkpoint",
        lambda found: passed("checkpoint", f"{found.get('tensors')} tensors come back bit for bit"),
    )


def _build(scene: Scene, found: dict[str, Any]) -> Verdict:
    cuda, target = found.get("cuda"), scene.asked.target
    said = f"torch {found.get('version')}, CUDA {cuda or 'none'}"
    if target and target.gpu and not cuda:
        return failed(
            "torch.build",
            f"{said}: a CPU build, and {target.instance_type} has {target.gpu}",
            "install torch of a CUDA index, or a base image with CUDA",
        )
    if not found.get("gloo"):
        return failed("torch.build", f"{said}: without gloo", "a torch that was built with torch.distributed")
    if cuda and not found.get("nccl_backend"):
        return failed("torch.build", f"{said}: without the NCCL backend", "a torch that was built with NCCL")
    return passed("torch.build", said)


def architectures(found: dict[str, Any]) -> list[int]:
    """`sm_90a` -> 90; `compute_90` is PTX, which the driver compiles."""
    names = found.get("architectures")
    matches = [re.fullmatch(r"sm_(\d{2,3})[af]?", str(each)) for each in names] if isinstance(names, list) else []
    return sorted({int(each[1]) for each in matches if each})


def _kernels(scene: Scene, found: dict[str, Any]) -> Verdict:
    target, cuda = scene.asked.target, found.get("cuda")
    if target is None or target.sm is None:
        return Verdict(Check("torch.kernels", "skipped", "no GPU was named", None, "--instance-type T"))
    if not cuda:
        return Verdict(Check("torch.kernels", "skipped", "torch is a CPU build"))
    built = architectures(found)
    if built:
        return _by_build(target, str(cuda), built)
    known = has_kernels(str(cuda), target)
    evidence = f"torch does not say its architectures; table of {builds()['date']}"
    if known is None:
        return Verdict(
            Check(
                "torch.kernels",
                "unknown",
                f"whether CUDA {cuda} has kernels for SM {target.sm} is not known",
                evidence,
                "a base image of the table",
            )
        )
    if not known:
        return _no_kernels(target, str(cuda), evidence)
    return passed("torch.kernels", f"CUDA {cuda} has kernels for {target.gpu} (SM {target.sm})", evidence)


def _by_build(target: Target, cuda: str, built: list[int]) -> Verdict:
    assert target.sm is not None
    evidence = f"torch was compiled for {', '.join(f'sm_{each}' for each in built)}"
    if any(runs_on(each, target.sm) for each in built):
        return passed("torch.kernels", f"torch has kernels for {target.gpu} (SM {target.sm})", evidence)
    return _no_kernels(target, cuda, evidence)


def _no_kernels(target: Target, cuda: str, evidence: str) -> Verdict:
    fix = "conflict_analyzer.py check of image-builder names the build that has them"
    return failed("torch.kernels", f"torch of CUDA {cuda} has no kernels for {target.gpu} (SM {target.sm})", fix, evidence)


def _driver(scene: Scene, found: dict[str, Any]) -> Verdict:
    """No driver is here: the oldest that loads this CUDA line is named, for the nodes."""
    cuda = found.get("cuda")
    if not cuda:
        return Verdict(Check("torch.driver", "skipped", "torch is a CPU build"))
    driver = driver_of(str(cuda))
    if driver is None:
        return warned("torch.driver", f"no driver is known for CUDA {cuda}", "a newer table, or an older CUDA")
    given = scene.asked.driver
    if given is None:
        return Verdict(
            Check(
                "torch.driver",
                "skipped",
                f"CUDA {cuda} needs a driver of at least {driver} on the nodes",
                None,
                "--driver V, as nvidia-smi prints it on a node",
            )
        )
    if _numbers(given) < _numbers(driver):
        return failed(
            "torch.driver",
            f"driver {given} is older than {driver}, which CUDA {cuda} needs",
            "a newer driver on the nodes, or torch of an older CUDA line",
        )
    return passed("torch.driver", f"driver {given} loads CUDA {cuda} (at least {driver})")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in re.findall(r"\d+", text))
