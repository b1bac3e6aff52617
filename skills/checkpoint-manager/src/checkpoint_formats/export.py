"""From a verified Trainyard step to the layout of Hugging Face: model weights in safetensors, one file or several with an index."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.look import look
from checkpoint_folder.verdict import Verdict, newest_intact, verify
from checkpoint_folder.words import shown, size_text
from checkpoint_format import ANY_RUN, Entry, read_manifest, step_inside
from checkpoint_formats.any_path import recognise
from checkpoint_formats.digest_file import SUMS, written
from checkpoint_formats.files_out import check_free, placed
from checkpoint_formats.tensors import readable
from tensor_reading.layout import LayoutError, Tensor
from tensor_reading.safetensors_file import name_problem, write_file
from tensor_reading.values import is_plain, need_numpy

SCRIPT = "manage_checkpoints.py"
METADATA = {"format": "pt"}
"""transformers refuses a file that does not say which framework wrote it."""
UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class Export:
    """What would be written."""

    step: Path
    verdict: Verdict
    files: dict[str, list[Tensor]]
    """File name -> its tensors."""
    left_out: int
    """Tensors of the step that are not exported."""
    skipped: list[Verdict]
    """Newer steps that do not verify."""

    @property
    def size_bytes(self) -> int:
        return sum(tensor.size_bytes for tensors in self.files.values() for tensor in tensors)

    def checks(self) -> list[shell.Check]:
        return [self.verdict.check(), *(each.warning() for each in self.skipped)]

    def data(self, out: Path) -> dict[str, Any]:
        return {
            "step": self.verdict.step,
            "path": str(self.step),
            "out": str(out),
            "verified": self.verdict.algorithm,
            "tensors": sum(len(tensors) for tensors in self.files.values()),
            "left_out": self.left_out,
            "size": size_text(self.size_bytes),
            "size_bytes": self.size_bytes,
            "files": [
                {"file": name, "tensors": len(tensors), "size_bytes": sum(tensor.size_bytes for tensor in tensors)}
                for name, tensors in self.files.items()
            ],
        }


def size_of(text: str) -> int:
    """Bytes of `5GB`, `500MB`, `1GiB`. SkillError for anything else."""
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?) ?([A-Za-z]{0,3})", text)
    size = int(float(match[1]) * UNITS[match[2].upper()]) if match and match[2].upper() in UNITS else 0
    if size < 1:
        raise shell.SkillError("usage", f"{shown(text, 40)!r} is not a size", hint="--max-shard-size 5GB")
    return size


def plan(source: str, step: int | None, prefix: str, max_shard_bytes: int) -> Export:
    """Verify the step, choose and place the tensors. SkillError unless every byte of the step is as it was written."""
    folder, verdict, skipped = _verified(source, step)
    listed = readable(recognise(folder))
    chosen = [replace(tensor, name=tensor.name[len(prefix) :]) for tensor in listed.tensors if tensor.name.startswith(prefix)]
    if not chosen or any(not tensor.name for tensor in chosen):
        begin = sorted({tensor.name.partition(".")[0] + "." for tensor in listed.tensors})[:10]
        hint = f"--prefix with one of {', '.join(shown(each, 40) for each in begin)}"
        raise shell.SkillError("usage", f"no tensor of {folder.name} begins with {prefix!r}", hint=hint)
    if bad := next((tensor for tensor in chosen if name_problem(tensor.name)), None):
        what = f"{shown(prefix + bad.name)} would be called {shown(bad.name)}, {name_problem(bad.name)}"
        raise shell.SkillError("usage", what, hint="--prefix with less of the name, or none")
    _refuse_other_types(folder, prefix)
    if not all(is_plain(tensor) for tensor in chosen):
        need_numpy()
    chosen.sort(key=lambda tensor: tensor.name)
    return Export(folder, verdict, _files(chosen, max_shard_bytes), len(listed.tensors) - len(chosen), skipped)


def _refuse_other_types(folder: Path, prefix: str) -> None:
    """A type that stands in the file as another one would be taken for that one. SkillError."""
    for name, entry in sorted(read_manifest(folder, ANY_RUN)["tensors"].items()):
        if name.startswith(prefix) and "as" in entry:
            hint = "load them in a script with trainyard.load_weights, and save them there"
            raise shell.SkillError("usage", f"{shown(name)} is {shown(str(entry['as']), 40)}, which is not exported", hint=hint)


def _verified(source: str, step: int | None) -> tuple[Path, Verdict, list[Verdict]]:
    """(folder, its verdict, the newer steps that do not verify). SkillError."""
    path = Path(source)
    skipped: list[Verdict] = []
    if path.is_dir() and step_inside(path.resolve().name) is not None:
        path = path.resolve()
        verdict = verify(path.parent, Entry(path.name, "step", step_inside(path.name)), owner=ANY_RUN)
    else:
        found = look(source)
        if step is not None:
            verdict = verify(found.root, found.entry_of(step), owner=ANY_RUN)
        else:
            newest, skipped = newest_intact(found.root, found.steps)
            if newest is None:
                raise shell.SkillError(
                    "not-found",
                    f"no step in {found.root} verifies",
                    hint=f"manage_checkpoints.py verify {shown(source)} --all",
                    checks=[each.check() for each in skipped],
                )
            verdict = newest
        path = found.root / verdict.name
    if verdict.status != "pass":
        hint = f"manage_checkpoints.py latest {shown(str(path.parent))}"
        raise shell.SkillError("usage", f"{path.name} does not verify", hint=hint, checks=[verdict.check()])
    return path, verdict, skipped


def _files(tensors: list[Tensor], max_shard_bytes: int) -> dict[str, list[Tensor]]:
    """Tensors in order, a new file where the next one would make the last too large."""
    groups: list[list[Tensor]] = [[]]
    size = 0
    for tensor in tensors:
        if groups[-1] and size + tensor.size_bytes > max_shard_bytes:
            groups.append([])
            size = 0
        groups[-1].append(tensor)
        size += tensor.size_bytes
    if len(groups) == 1:
        return {"model.safetensors": groups[0]}
    return {f"model-{number:05d}-of-{len(groups):05d}.safetensors": group for number, group in enumerate(groups, start=1)}


def write(export: Export, out: Path, config: Path | None) -> list[str]:
    """Write everything beside `out`, then rename; returns what was made. SkillError when it cannot be."""
    with placed(out, folder=True) as folder:
        for name, tensors in export.files.items():
            shell.progress(f"writing {name}")
            try:
                write_file(folder / name, tensors, METADATA)
            except LayoutError as error:
                raise shell.SkillError(
                    "conflict", f"the step changed while it was read: {error}", hint="the same call"
                ) from error
        if len(export.files) > 1:
            _write_new(folder / "model.safetensors.index.json", _index(export))
        if config is not None:
            _write_new(folder / "config.json", config.read_bytes())
        _write_new(folder / SUMS, written(folder))
        made = sorted(path.name for path in folder.iterdir())
    return [f"wrote {out / name}" for name in made]


def _index(export: Export) -> bytes:
    placed_in = {tensor.name: name for name, tensors in export.files.items() for tensor in tensors}
    index = {"metadata": {"total_size": export.size_bytes}, "weight_map": dict(sorted(placed_in.items()))}
    return json.dumps(index, indent=2).encode()


def _write_new(path: Path, data: bytes) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


# --- the verb ---


def answer(
    step_or_folder: str, out: str, step: int | None, prefix: str, max_shard_size: str, config: str | None, dry_run: bool
) -> shell.Result:
    check_free(Path(out))
    planned = plan(step_or_folder, step, prefix, size_of(max_shard_size))
    data = planned.data(Path(out))
    checks = planned.checks()
    if dry_run:
        return shell.Result(data, checks=checks)
    changed = write(planned, Path(out), Path(config) if config else None)
    next_ = [f"{SCRIPT} verify {out}", f"{SCRIPT} compare {planned.step} {out} --prefix-a {prefix}"]
    return shell.Result(data, checks=checks, changed=changed, next=next_)
