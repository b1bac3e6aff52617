"""From a file of torch.save to safetensors, without torch and without unpickling: weights only, by construction."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import shown, size_text
from checkpoint_formats.any_path import recognise
from checkpoint_formats.file_kinds import Found
from checkpoint_formats.files_out import check_free, placed
from checkpoint_formats.tensors import PLAIN_FILES, TensorList, readable
from tensor_reading.layout import ELEMENT_BYTES, LayoutError, Tensor
from tensor_reading.safetensors_file import name_problem, write_file
from tensor_reading.values import MAX_REPEATED_BYTES, is_plain, need_numpy
from torch_reading.file import verify_torch_file
from torch_reading.pickle_names import Suspicion

SCRIPT = "manage_checkpoints.py"
NOT_IN_SAFETENSORS = ("C128", "F8_E4M3FNUZ", "F8_E5M2FNUZ")
MAX_GROWTH = 16
"""The output may be so many times the input, and what values.py lets a view repeat."""


@dataclass(frozen=True)
class Conversion:
    """What would be written."""

    found: Found
    tensors: list[Tensor]
    lost: list[tuple[str, str]]
    """(name, why) of the tensors that were asked for and are not written."""
    others: list[tuple[str, str]]
    """(name, what) of what was not asked for: no tensors, or outside of the prefix."""
    shared: int
    """Tensors that share their storage with another one: each is written whole."""
    verified: bool
    """Was a checksum compared?"""

    @property
    def size_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)

    def data(self, out: Path, limit: int) -> dict[str, Any]:
        return {
            "in": str(self.found.path),
            "kind": self.found.kind,
            "out": str(out),
            "tensors": len(self.tensors),
            "size": size_text(self.size_bytes),
            "size_bytes": self.size_bytes,
            "total_left_out": len(self.left_out),
            "shared": self.shared,
            "left_out": [{"name": shown(name), "is": shown(why)} for name, why in self.left_out[:limit]],
        }

    @property
    def left_out(self) -> list[tuple[str, str]]:
        return [*self.lost, *self.others]

    def checks(self) -> list[shell.Check]:
        crc = shell.Check("convert.input", "pass", "the CRC-32 of every member is equal")
        no_crc = shell.Check(
            "convert.input", "warn", "the input has no checksum: its structure fits, its values are not proven"
        )
        checks = [crc if self.verified else no_crc]
        if self.lost:
            words = f"{len(self.lost)} tensors are left out, first: {shown(self.lost[0][0])}, {shown(self.lost[0][1])}"
            fix = "keep the input: the output does not hold all of its tensors"
            checks.append(shell.Check("convert.complete", "fail", shell.clean(words, 500), None, fix))
        return checks


def plan(source: Path, prefix: str, accepted: tuple[str, ...]) -> Conversion:
    """Read and judge the input. SkillError for what is damaged, names code, or holds no tensor."""
    found = recognise(source)
    if found.kind not in PLAIN_FILES:
        what = f"{shown(str(source))} is {'not known' if found.kind == 'unknown' else found.kind}: {found.problem or found.evidence[0]}"
        raise shell.SkillError("usage", what, hint=f"manage_checkpoints.py inspect {shown(str(source))}")
    verdict = verify_torch_file(source)
    code = next((each for each in verdict.suspicions if each.runs_code), None)
    if verdict.status == "fail" and code is None:
        raise shell.SkillError("usage", f"{shown(str(source))} is damaged: {verdict.problem}", hint="take another copy")
    _refuse(source, list(verdict.suspicions), accepted)
    listed = readable(found)
    return _chosen(found, listed, prefix, verdict.status == "pass")


def _refuse(source: Path, suspicions: list[Suspicion], accepted: tuple[str, ...]) -> None:
    """SkillError that names what the pickle would import, unless each name was accepted; one that runs code cannot be."""
    names = [each for each in suspicions if each.runs_code or each.name not in accepted]
    if not names:
        return
    checks = [
        shell.Check("pickle.names", "fail" if each.runs_code else "unknown", shell.clean(f"{each.name}: {each.why}", 400))
        for each in names[:50]
    ]
    runs_code = any(each.runs_code for each in names)
    hint = (
        "do not load this file anywhere"
        if runs_code
        else f"if you trust where it comes from: --accept {shown(names[0].name, 200)}"
    )
    what = f"the pickle in {shown(str(source))} names {shown(names[0].name, 200)}: {names[0].why}; nothing was run"
    raise shell.SkillError("usage", what, hint=hint, checks=checks)


def _chosen(found: Found, listed: TensorList, prefix: str, verified: bool) -> Conversion:
    chosen: list[Tensor] = []
    lost, others = list[tuple[str, str]](), list(listed.others)
    for tensor in listed.tensors:
        name = tensor.name[len(prefix) :]
        if not tensor.name.startswith(prefix) or not name:
            others.append((tensor.name, f"tensor outside of {prefix}"))
        elif not tensor.blocks or tensor.dtype in NOT_IN_SAFETENSORS:
            lost.append((tensor.name, tensor.note or f"tensor of {tensor.dtype}, which safetensors has not"))
        elif problem := name_problem(name):
            lost.append((tensor.name, problem))
        else:
            chosen.append(replace(tensor, name=name))
    if not chosen:
        why = f": {shown(lost[0][0])} is left out, {shown(lost[0][1])}" if lost else ""
        what = f"no tensor to write in {shown(str(found.path))}{why}"
        raise shell.SkillError("usage", what, hint="manage_checkpoints.py tensors PATH")
    _check_names(chosen)
    _check_size(found, chosen)
    if not all(is_plain(tensor) for tensor in chosen):
        need_numpy()
    return Conversion(found, chosen, lost, others, _shared(chosen), verified)


def _check_names(chosen: list[Tensor]) -> None:
    seen: set[str] = set()
    for tensor in chosen:
        if tensor.name in seen:
            what = f"two tensors would be called {shown(tensor.name)}"
            raise shell.SkillError("usage", what, hint="--prefix takes one part of the file")
        seen.add(tensor.name)


def _check_size(found: Found, chosen: list[Tensor]) -> None:
    """Views repeat elements (stride 0) and share storages: a small file can describe any amount of output."""
    allowed = MAX_GROWTH * found.size_bytes + MAX_REPEATED_BYTES
    total = sum(tensor.size_bytes for tensor in chosen)
    if total > allowed:
        largest = max(chosen, key=lambda tensor: tensor.size_bytes)
        what = (
            f"it would become {size_text(total)} from {size_text(found.size_bytes)}: views that repeat elements, "
            f"{shown(largest.name)} alone {size_text(largest.size_bytes)}"
        )
        raise shell.SkillError("usage", what, hint="--prefix takes one part of the file")


def _shared(tensors: list[Tensor]) -> int:
    """How many tensors begin inside another one's bytes."""
    end, shared = 0, 0
    blocks = [(tensor.blocks[0], ELEMENT_BYTES[tensor.dtype]) for tensor in tensors if tensor.elements]
    for block, item in sorted(blocks, key=lambda each: each[0].begin):
        shared += block.begin < end
        end = max(end, block.begin + block.span_elements * item)
    return shared


def write(conversion: Conversion, out: Path) -> list[str]:
    """Write the file; returns what was made. SkillError when it cannot be."""
    with placed(out, folder=False) as temporary:
        try:
            write_file(temporary, conversion.tensors, {"format": "pt"})
        except LayoutError as error:
            raise shell.SkillError(
                "usage", f"{shown(str(conversion.found.path))}: {error}", hint="take another copy"
            ) from error
    return [f"wrote {out}"]


# --- the verb ---


def answer(source: str, out: str, prefix: str, accepted: tuple[str, ...], dry_run: bool, limit: int) -> shell.Result:
    check_free(Path(out))
    planned = plan(Path(source), prefix, accepted)
    data = planned.data(Path(out), limit)
    checks, truncated = planned.checks(), len(planned.left_out) > limit
    if dry_run:
        return shell.Result(data, checks=checks, truncated=truncated)
    changed = write(planned, Path(out))
    next_ = [f"{SCRIPT} compare {source} {out}" + (f" --prefix-a {prefix}" if prefix else "")]
    return shell.Result(data, checks=checks, changed=changed, next=next_, truncated=truncated)
