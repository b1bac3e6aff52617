"""What `inspect` and `tensors` print of what was found."""

from __future__ import annotations

from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import shown, size_text
from checkpoint_formats.found import Found
from checkpoint_formats.part_verdicts import pickle_checks
from tensor_reading.layout import Tensor


def found_data(found: Found, limit: int) -> dict[str, Any]:
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


def found_checks(found: Found, limit: int) -> list[shell.Check]:
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


def by_dtype(chosen: list[Tensor]) -> list[dict[str, Any]]:
    kinds = sorted({tensor.dtype for tensor in chosen})
    return [
        {
            "dtype": kind,
            "tensors": sum(tensor.dtype == kind for tensor in chosen),
            "bytes": sum(tensor.size_bytes for tensor in chosen if tensor.dtype == kind),
        }
        for kind in kinds
    ]
