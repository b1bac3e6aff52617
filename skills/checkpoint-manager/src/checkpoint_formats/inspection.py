"""What `inspect` and `tensors` say of a file or folder: what it is, and what is in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import shown, size_text
from checkpoint_formats.any_path import pickle_checks, recognise
from checkpoint_formats.file_kinds import Found
from checkpoint_formats.tensors import newest_inside, tensors_of
from tensor_reading.layout import LayoutError, Tensor
from torch_reading.pickle_values import PickleError

SCRIPT = "manage_checkpoints.py"


def inspect(path: str, limit: int) -> shell.Result:
    found = recognise(Path(path))
    next_ = [] if found.kind == "unknown" else [f"{SCRIPT} verify {path}", f"{SCRIPT} tensors {path}"]
    rows = max(len(found.parts), len(found.inside), len(found.missing))
    return shell.Result(_data(found, limit), checks=_checks(found, limit), next=next_, truncated=rows > limit)


def _data(found: Found, limit: int) -> dict[str, Any]:
    return {
        "path": str(found.path),
        "kind": found.kind,
        "named_like": found.named_like,
        "step": found.step,
        "step_from": found.step_from,
        "size": size_text(found.size_bytes),
        "size_bytes": found.size_bytes,
        "total_parts": len(found.parts),
        "total_inside": len(found.inside),
        "evidence": [shell.clean(each, 300) for each in found.evidence],
        "missing": [shell.clean(each, 300) for each in found.missing[:limit]],
        "parts": [
            {"part": shown(part.name), "role": part.role, "size": size_text(part.size_bytes), "size_bytes": part.size_bytes}
            for part in found.parts[:limit]
        ],
        "inside": [
            {
                "name": shown(each.path.name),
                "kind": each.kind,
                "step": each.step,
                "size": size_text(each.size_bytes),
                "missing": len(each.missing),
            }
            for each in found.inside[:limit]
        ],
    }


def _checks(found: Found, limit: int) -> list[shell.Check]:
    checks = []
    if found.kind == "unknown":
        checks.append(shell.Check("checkpoint.kind", "unknown", shell.clean(found.evidence[0], 400)))
    elif found.problem:
        checks.append(shell.Check("checkpoint.readable", "fail", shell.clean(found.problem, 400)))
    for each in (found, *found.inside):
        if each.missing:
            name = shell.clean(f"{each.path.name}: {len(each.missing)} missing, first: {each.missing[0]}", 400)
            checks.append(shell.Check("checkpoint.complete", "fail", name, None, "copy it again from where it was written"))
    named = [(each.path.name, suspicion) for each in (found, *found.inside) for suspicion in each.suspicions]
    checks += pickle_checks(named, limit)
    return checks


def tensors(path: str, prefix: str, others: bool, limit: int) -> shell.Result:
    found = newest_inside(recognise(Path(path)))
    try:
        listed = tensors_of(found)
    except (LayoutError, PickleError, OSError, ValueError) as error:
        raise shell.SkillError("usage", f"{path} is damaged: {error}", hint=f"{SCRIPT} verify {path}") from error
    chosen = [tensor for tensor in listed.tensors if tensor.name.startswith(prefix)]
    size = sum(tensor.size_bytes for tensor in chosen)
    data: dict[str, Any] = {
        "path": str(found.path),
        "kind": found.kind,
        "step": found.step,
        "total": len(chosen),
        "elements": sum(tensor.elements for tensor in chosen),
        "size": size_text(size),
        "size_bytes": size,
        "total_others": len(listed.others),
        "dtypes": _by_dtype(chosen),
        "tensors": [
            {
                "tensor": shown(tensor.name),
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "bytes": tensor.size_bytes,
                **({"note": tensor.note} if tensor.note else {}),
            }
            for tensor in chosen[:limit]
        ],
    }
    if others:
        data["others"] = [{"name": shown(name), "is": shown(kind)} for name, kind in listed.others[:limit]]
    checks = [
        shell.Check("pickle.names", "warn", shell.clean(f"{each.name}: {each.why}", 400)) for each in listed.suspicions[:limit]
    ]
    return shell.Result(data, checks=checks, truncated=max(len(chosen), len(listed.others) * others) > limit)


def _by_dtype(chosen: list[Tensor]) -> list[dict[str, Any]]:
    kinds = sorted({tensor.dtype for tensor in chosen})
    return [
        {
            "dtype": kind,
            "tensors": sum(tensor.dtype == kind for tensor in chosen),
            "bytes": sum(tensor.size_bytes for tensor in chosen if tensor.dtype == kind),
        }
        for kind in kinds
    ]
