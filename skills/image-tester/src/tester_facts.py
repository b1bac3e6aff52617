"""The facts of a tested image that travel on: versions, libraries, user, size. What was not found is null."""

from __future__ import annotations

from typing import Any

from image_verdicts.verdict_of import Scene, Verdict
from image_verdicts.verdict_torch import architectures
from tester_answer import Outcome
from trainyard_gpus import driver_of


def facts(scene: Scene) -> dict[str, Any]:
    """`torch` and `trainyard` are what the engines' checks ask for (hyperpodjob refuses torch 2.12 and newer)."""
    answers, image = scene.answers, scene.image
    torch, python, user = answers.data("torch"), answers.data("python"), answers.data("user")
    cuda = torch.get("cuda")
    packages = {each.name: outcome.data.get("version") for each, outcome in _pairs(scene) if outcome.data.get("version")}
    installed = python.get("packages") or {}
    return {
        "torch": torch.get("version") or installed.get("torch"),
        "cuda": cuda,
        "driver_min": driver_of(str(cuda)) if cuda else None,
        "architectures": architectures(torch),
        "python": python.get("version"),
        "python_path": answers.begin.get("executable"),
        "libc": python.get("libc"),
        "trainyard": answers.data("trainyard").get("version") or installed.get("trainyard"),
        "nccl": answers.data("nccl").get("version"),
        "libfabric": answers.data("libfabric").get("version"),
        "ofi_nccl": answers.data("ofi_nccl").get("version"),
        "arch": image.arch,
        "os": image.os,
        "user": image.user or "root",
        "uid": user.get("uid"),
        "workdir": image.folder,
        "size_bytes": image.size_bytes,
        "packages": packages,
    }


def _pairs(scene: Scene) -> list[tuple[Any, Outcome]]:
    return list(zip(scene.asked.packages, scene.answers.of("imports"), strict=False))


def unproven(verdicts: list[Verdict]) -> list[dict[str, str]]:
    """What this machine cannot show, by the check's id and what would show it."""
    return [
        {"id": each.check.id, "needs": each.needs, "summary": each.check.summary}
        for each in verdicts
        if each.needs and each.check.status == "unknown"
    ]


def probes(scene: Scene) -> list[dict[str, Any]]:
    """Every probe with its step, time and findings, for who wants to read more than the checks."""
    names = [each.name for each in scene.asked.packages]
    return [
        {
            "id": each.id,
            "item": names[each.index] if each.id == "imports" and each.index < len(names) else None,
            "state": each.state,
            "step": each.step or None,
            "seconds": each.seconds,
            "data": each.data,
            "error": each.text or None,
        }
        for found in scene.answers.outcomes.values()
        for each in found
    ]
