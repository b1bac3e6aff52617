"""What `inspect` and `tensors` say of a file or folder: what it is, and what is in it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import shown, size_text
from checkpoint_formats.any_path import pickle_checks, recognise
from checkpoint_formats.file_kinds import Found, problem_of
from checkpoint_formats.tensors import listed_tensors, newest_inside
from tensor_reading.layout import LayoutError, Tensor
from torch_reading.file import open_torch_file
from torch_reading.pickle_names import Suspicion
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
    for each in (found, *found.inside):
        if each.problem and (each is not found or found.kind != "unknown"):
            text = each.problem if each is found else f"{each.path.name}: {each.problem}"
            checks.append(shell.Check("checkpoint.readable", each.problem_status, shell.clean(text, 400)))
        if each.missing:
            name = shell.clean(f"{each.path.name}: {len(each.missing)} missing, first: {each.missing[0]}", 400)
            checks.append(shell.Check("checkpoint.complete", "fail", name, None, "copy it again from where it was written"))
    named = [(each.path.name, suspicion) for each in (found, *found.inside) for suspicion in each.suspicions]
    problems, more = _pickles(found)
    checks += problems[:limit]
    checks += pickle_checks([*named, *more], limit)
    return checks


def _pickles(found: Found) -> tuple[list[shell.Check], list[tuple[str, Suspicion]]]:
    """What is wrong with the files of torch.save that are parts of a folder, and what their pickles name. No tensor is read."""
    problems, named = [], list[tuple[str, Suspicion]]()
    for each in (found, *found.inside):
        for part in each.parts if each.path.is_dir() and each.kind != "trainyard-step" else ():
            path = each.path / part.name
            if part.format != "torch" or not path.is_file():
                continue
            try:
                named += [(part.name, suspicion) for suspicion in open_torch_file(path).suspicions]
            except (LayoutError, PickleError) as error:
                named += [(part.name, suspicion) for suspicion in error.suspicions]
                status = problem_of(error)["problem_status"]
                problems.append(shell.Check("checkpoint.readable", status, shell.clean(f"{part.name}: {error}", 400)))
    return problems, named


def tensors(path: str, prefix: str, others: bool, limit: int) -> shell.Result:
    found = newest_inside(recognise(Path(path)))
    listed = listed_tensors(found)
    counted = _counted((tensor for tensor in listed.tensors if tensor.name.startswith(prefix)), limit)
    data: dict[str, Any] = {
        "path": str(found.path),
        "kind": found.kind,
        "step": found.step,
        **{key: counted[key] for key in ("total", "elements", "size", "size_bytes")},
        "total_others": len(listed.others),
        "dtypes": counted["dtypes"],
        "tensors": counted["tensors"],
    }
    if others:
        data["others"] = [{"name": shown(name), "is": shown(kind)} for name, kind in listed.others[:limit]]
    checks = [
        shell.Check("pickle.names", "warn", shell.clean(f"{each.name}: {each.why}", 400)) for each in listed.suspicions[:limit]
    ]
    return shell.Result(data, checks=checks, truncated=max(counted["total"], len(listed.others) * others) > limit)


def _counted(chosen: Iterable[Tensor], limit: int) -> dict[str, Any]:
    """Totals and the first rows, in one pass: there may be a million."""
    rows: list[dict[str, Any]] = []
    total = elements = 0
    by_dtype: dict[str, list[int]] = {}
    for tensor in chosen:
        total, elements = total + 1, elements + tensor.elements
        kind = by_dtype.setdefault(tensor.dtype, [0, 0])
        kind[0], kind[1] = kind[0] + 1, kind[1] + tensor.size_bytes
        if len(rows) < limit:
            note = {"note": tensor.note} if tensor.note else {}
            row = {"tensor": shown(tensor.name), "dtype": shown(tensor.dtype), "shape": list(tensor.shape)}
            rows.append({**row, "bytes": tensor.size_bytes, **note})
    size = sum(size for _, size in by_dtype.values())
    return {
        "total": total,
        "elements": elements,
        "size": size_text(size),
        "size_bytes": size,
        "dtypes": [{"dtype": shown(kind), "tensors": count, "bytes": size} for kind, (count, size) in sorted(by_dtype.items())],
        "tensors": rows,
    }
