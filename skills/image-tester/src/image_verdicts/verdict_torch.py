"""torch's build against the GPU and driver of the instance type, and what it computes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from image_verdicts.verdict_of import NEEDS, Scene, Verdict, failed, of, passed, warned
from trainyard_gpus import Target, builds, driver_of, has_kernels, runs_on
from trainyard_shell import Check

ANOTHER_BUILD = "conflict_analyzer.py check of image-builder names the build that has them"


def standard(scene: Scene) -> Iterator[Verdict]:
    """torch.build, torch.kernels, torch.driver, cuda.run."""
    yield of(scene, "torch", "torch.build", lambda found: _build(scene, found))
    yield of(scene, "torch", "torch.kernels", lambda found: _kernels(scene, found))
    yield of(scene, "torch", "torch.driver", lambda found: _driver(scene, found))
    yield of(scene, "cuda", "cuda.run", lambda found: _run(scene, found))


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


def _run(scene: Scene, found: dict[str, Any]) -> Verdict:
    """Another GPU than the job's proves nothing about its kernels."""
    device, capability, target = found.get("device"), found.get("capability"), scene.asked.target
    sm = capability[0] * 10 + capability[1] if isinstance(capability, list) and len(capability) == 2 else None
    if target and target.sm and sm != target.sm:
        summary = f"{device} (SM {sm}) computes what the CPU does; {target.instance_type} has {target.gpu} (SM {target.sm})"
        return Verdict(Check("cuda.run", "unknown", summary, None, NEEDS["gpu"]), "gpu")
    return passed("cuda.run", f"{device} computes what the CPU does")


def architectures(found: dict[str, Any], kind: str = "sm_") -> list[int]:
    """`sm_90` -> 90; kind compute_: PTX, which the driver compiles."""
    return sorted({sm for sm, _ in _built(found, kind)})


def _built(found: dict[str, Any], kind: str) -> list[tuple[int, str]]:
    """With the letter behind: `a` runs on that SM alone, `f` on its family (CUDA's guide, compute capabilities)."""
    names = found.get("architectures")
    matches = [re.fullmatch(rf"{kind}(\d{{2,3}})([af]?)", str(each)) for each in names] if isinstance(names, list) else []
    return [(int(each[1]), each[2]) for each in matches if each]


def _kernels(scene: Scene, found: dict[str, Any]) -> Verdict:
    target, cuda = scene.asked.target, found.get("cuda")
    if target is None or target.sm is None:
        return Verdict(Check("torch.kernels", "skipped", "no GPU was named", None, "--instance-type T"))
    if not cuda:
        return Verdict(Check("torch.kernels", "skipped", "torch is a CPU build"))
    if architectures(found):
        return _by_build(target, str(cuda), found)
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


def _by_build(target: Target, cuda: str, found: dict[str, Any]) -> Verdict:
    sm = target.sm
    assert sm is not None
    evidence = f"torch was compiled for {', '.join(found['architectures'])}"
    if any(sm == built if letter == "a" else runs_on(built, sm) for built, letter in _built(found, "sm_")):
        return passed("torch.kernels", f"torch has kernels for {target.gpu} (SM {sm})", evidence)
    if any(built <= sm for built, letter in _built(found, "compute_") if not letter):
        summary = (
            f"torch has no kernels for {target.gpu} (SM {sm}); the driver compiles its PTX, which takes minutes at each start"
        )
        return warned("torch.kernels", summary, ANOTHER_BUILD, evidence)
    return _no_kernels(target, cuda, evidence)


def _no_kernels(target: Target, cuda: str, evidence: str) -> Verdict:
    summary = f"torch of CUDA {cuda} has no kernels for {target.gpu} (SM {target.sm})"
    return failed("torch.kernels", summary, ANOTHER_BUILD, evidence)


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
