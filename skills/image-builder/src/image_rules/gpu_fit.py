"""The CUDA build of torch against the GPU of the instance type and the driver of the nodes."""

from __future__ import annotations

from collections.abc import Iterator

from conflicts.findings import Finding, passed, skipped
from trainyard_gpus import TABLE, builds_for, driver_of, has_kernels, kernels
from conflicts.scene import Scene, torch_row
from image_tables import date_of, table
from asked.versions import version
from packaging.version import Version


def findings(scene: Scene) -> Iterator[Finding]:
    yield from _kernels(scene)
    yield from _driver(scene)


def _kernels(scene: Scene) -> Iterator[Finding]:
    torch, goal = scene.torch, scene.target
    if goal is None or goal.sm is None:
        yield skipped("gpu.kernels", "no --instance-type" if goal is None else f"{goal.instance_type} has no GPU")
        return
    if torch is None and (scene.torch_is_unknown or not scene.named("torch")):
        nobody = f"nothing is known of the torch in {scene.image}" if scene.torch_is_unknown else "no torch is asked for"
        yield skipped("gpu.kernels", nobody)
        return
    if torch is None or torch.cuda is None:
        text = f"nobody knows which CUDA build of torch meets the {goal.gpu} of {goal.instance_type}"
        yield Finding("gpu.kernels", "unknown", text, scene.image_place, instead="pin torch, or a base image of the table")
        return
    runs = has_kernels(torch.cuda, goal)
    said = f"torch {torch.version} for {'CUDA ' if torch.cuda != 'cpu' else ''}{torch.cuda}"
    if runs:
        yield passed("gpu.kernels", f"{said} has kernels for {goal.gpu} (sm_{goal.sm})", torch.cuda_why)
        return
    row = kernels(torch.cuda) if torch.cuda != "cpu" else {"sm": []}
    has = (
        f"its kernels: {', '.join(f'sm_{sm}' for sm in row['sm'])}"
        if row and row["sm"]
        else "it has none"
        if row
        else "the table does not have it"
    )
    of = "" if "." not in goal.instance_type else f" of {goal.instance_type}"
    text = f"{said} has no kernels for the {goal.gpu} (sm_{goal.sm}){of}"
    if runs is None:
        text = f"whether {said} has kernels for the {goal.gpu} (sm_{goal.sm}) is not known"
    status = "fail" if runs is False else "unknown"
    place = torch.place or scene.image_place
    yield Finding("gpu.kernels", status, text, place, f"{torch.cuda_why}; {has} (table of {date_of(TABLE)})", _instead(scene))


def _instead(scene: Scene) -> str:
    """The builds that this torch has and the GPU takes, else the lines of torch that have one."""
    assert scene.torch is not None and scene.target is not None
    row = torch_row(scene.torch.version)
    builds = [cuda for cuda in builds_for(scene.target) if row and cuda in row["builds"]]
    if builds:
        tags = " or ".join(f"cu{cuda.replace('.', '')}" for cuda in builds)
        return f"torch {scene.torch.line} of PyTorch's index for {tags}"
    has = builds_for(scene.target)
    newest = has_kernels(max(table(TABLE)["kernels"], key=Version), scene.target)
    range_ = f"{has[0]} or newer" if newest else f"{has[-1]} or older"
    return f"a torch for CUDA {range_}: base_image_selector.py select FOLDER --instance-type {scene.target.instance_type}"


def _driver(scene: Scene) -> Iterator[Finding]:
    torch = scene.torch
    if torch is None or torch.cuda in (None, "cpu"):
        return
    needs = driver_of(str(torch.cuda))
    have = version(scene.driver)
    if needs is None or have is None:
        yield skipped("gpu.driver", f"CUDA {torch.cuda} needs driver {needs} or newer on the nodes (--driver judges)")
        return
    if have >= (version(needs) or have):
        yield passed("gpu.driver", f"driver {scene.driver} loads CUDA {torch.cuda}", f"it needs {needs} or newer")
        return
    why = f"{torch.cuda_why}; CUDA {str(torch.cuda).partition('.')[0]}.x needs driver {needs} or newer (minor-version compatibility)"
    text = f"driver {scene.driver} does not load CUDA {torch.cuda}"
    yield Finding(
        "gpu.driver",
        "fail",
        text,
        torch.place or scene.image_place,
        why,
        "a newer driver on the nodes, or a torch for an older CUDA line",
    )
