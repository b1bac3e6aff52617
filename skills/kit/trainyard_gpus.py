"""Instance type -> GPU -> SM -> CUDA builds with kernels for it -> driver. The table is assets/gpu_builds.yaml, dated.

`make kit` copies this file into the src/ of each skill that uses it, and gpu_builds.yaml beside it into their assets/; edit them in skills/kit/ only.
"""

from __future__ import annotations

import difflib
import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell
import trainyard_yaml
from packaging.version import Version

TABLE = "gpu_builds"
PLACE = Path(__file__).resolve().parent.parent / "assets" / f"{TABLE}.yaml"
SIZE = re.compile(r"(?:ml\.)?([a-z0-9-]+)\.(?:metal(?:-[a-z0-9]+)?|(?:\d+|x|)x?large|nano|micro|small|medium)", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the image shall run on."""

    instance_type: str
    gpu: str | None
    """None: no accelerator."""
    sm: int | None = None
    """Compute capability, major * 10 + minor."""
    first_cuda: str | None = None
    last_cuda: str | None = None
    efa: bool = False


@functools.cache
def builds() -> dict[str, Any]:
    """The table. A damaged one is a bug of ours, so nothing is caught here."""
    found: dict[str, Any] = trainyard_yaml.read(PLACE)
    return found


def target(name: str) -> Target:
    """The GPU of an instance type, with or without `ml.`, of a GPU's own name (`H100`) or architecture (`sm_90`).

    Raises SkillError usage for one that the table does not have, or that no CUDA image is for; the message names it.
    """
    rows = builds()
    by_name = {gpu.lower(): gpu for gpu in rows["gpus"]}
    if name.lower() in by_name:
        return _with_gpu(name, by_name[name.lower()], efa=False)
    if (arch := re.fullmatch(r"sm_?(\d{2,3})", name, re.ASCII)) and (same := _of_sm(int(arch[1]))):
        return _with_gpu(name, same, efa=False)
    match = SIZE.fullmatch(name)
    family = match[1] if match else ""
    gpu = rows["families"].get(family)
    if gpu is None:
        raise _unknown(name, family)
    if gpu in ("neuron", "arm64"):
        why = "has Neuron devices, which CUDA images do not use" if gpu == "neuron" else "is arm64; the table has x86_64 only"
        raise shell.SkillError("usage", f"{shell.clean(name, 60)} {why}", hint="another --instance-type, such as p5.48xlarge")
    if gpu == "cpu":
        return Target(instance_type=name, gpu=None)
    return _with_gpu(name, gpu, efa=family in rows["efa"])


def _of_sm(sm: int) -> str | None:
    """A GPU of that architecture, for one that is not in the table."""
    return next((gpu for gpu, row in builds()["gpus"].items() if row["sm"] == sm), None)


def _with_gpu(name: str, gpu: str, *, efa: bool) -> Target:
    return Target(instance_type=name, gpu=gpu, efa=efa, **builds()["gpus"][gpu])


def _unknown(name: str, family: str) -> shell.SkillError:
    families = builds()["families"]
    near = difflib.get_close_matches(family or name, families, n=3, cutoff=0.5)
    what = "instance type or GPU" if family not in families else "size of that instance type"
    message = f"no {what} {shell.clean(name, 60)!r} in the table of {builds()['date']}"
    hint = f"the nearest families: {', '.join(near)}; or " if near else ""
    hint += f"a GPU: {', '.join(builds()['gpus'])}; or the architecture of another GPU, such as sm_120"
    return shell.SkillError("usage", message, hint=hint)


def kernels(cuda: str) -> dict[str, Any] | None:
    """The row of a CUDA build (`13.0`), None where the table has none. A build between two rows has the older one's kernels."""
    rows = builds()["kernels"]
    if cuda in rows:
        return dict(rows[cuda])
    older = [row for row in rows if Version(row) < Version(cuda) and row.partition(".")[0] == cuda.partition(".")[0]]
    return {**rows[max(older, key=Version)], "evidence": "known"} if older else None


def runs_on(built: int, device: int) -> bool:
    """A kernel for SM `built` runs on a device of the same major number and at least its minor."""
    return built // 10 == device // 10 and built <= device


def has_kernels(cuda: str, goal: Target) -> bool | None:
    """Whether torch's wheel of this CUDA build runs on the target's GPU; None where the table does not say."""
    if goal.sm is None:
        return True
    if cuda == "cpu":
        return False
    row = kernels(cuda)
    if row is None:
        return None
    if any(runs_on(sm, goal.sm) for sm in row["sm"]):
        return True
    return None if any(runs_on(sm, goal.sm) for sm in row["unsure"]) else False


def driver_of(cuda: str) -> str | None:
    """The oldest Linux driver that loads this CUDA's line."""
    drivers: dict[str, str] = builds()["drivers"]
    return drivers.get(cuda.partition(".")[0])


def builds_for(goal: Target) -> list[str]:
    """The CUDA builds of the table that have kernels for the target, oldest first."""
    return [cuda for cuda in builds()["kernels"] if has_kernels(cuda, goal)]
