"""Is a folder intact, where no file of it says so alone: a Trainyard step, a DCP folder, files that an index holds together."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

import trainyard_shell as shell
from checkpoint_folder.verdict import unlisted
from checkpoint_folder.verdict import verify as verify_step
from checkpoint_format import ANY_RUN, Entry
from checkpoint_formats.dcp_folder import METADATA, incomplete, read_dcp, verify_file
from checkpoint_formats.file_kinds import Found, PartVerdict
from checkpoint_formats.folder_parts import series_of, weight_map
from checkpoint_formats.tensors import tensors_of
from tensor_reading.layout import LayoutError, NotReadError, uncovered
from tensor_reading.safetensors_file import read_header
from torch_reading.file import FileVerdict, open_torch_file
from torch_reading.pickle_values import PickleError, TooLargeError


def trainyard_step(found: Found, prefix: str) -> Iterator[PartVerdict]:
    path = found.path.resolve()
    answer = verify_step(path.parent, Entry(path.name, "step", found.step), owner=ANY_RUN)
    status = "unknown" if answer.status == "skipped" else answer.status
    problem = "; ".join(answer.problems[:5]) or None
    yield PartVerdict(prefix + path.name, "step", FileVerdict(status, problem, answer.algorithm, answer.bytes_read))
    words = "not listed in the manifest: no restore reads it, and it is not judged"
    for name in unlisted(path):
        yield PartVerdict(prefix + name, "other", FileVerdict("skipped", words))


def dcp(found: Found, prefix: str) -> Iterator[PartVerdict]:
    try:
        folder = read_dcp(found.path)
    except (LayoutError, PickleError) as error:
        status = "unknown" if isinstance(error, TooLargeError) else "fail"
        yield PartVerdict(prefix + METADATA, "index", FileVerdict(status, str(error), suspicions=tuple(error.suspicions)))
        return
    problems = incomplete(folder)
    first = FileVerdict("fail", problems[0]) if problems else FileVerdict("pass", None, "against the data files")
    yield PartVerdict(prefix + METADATA, "index", replace(first, suspicions=tuple(folder.suspicions)))
    for name in sorted(folder.by_file):
        shell.progress(f"reading {prefix}{name}")
        yield PartVerdict(prefix + name, "data of one rank", verify_file(folder, name))
    for part in found.parts:
        if part.name != METADATA and part.name not in folder.by_file:
            problem = f"{METADATA} names nothing in it"
            yield PartVerdict(prefix + part.name, part.role, FileVerdict("unknown", f"{problem}: not judged"))


def folder_rules(found: Found, prefix: str) -> Iterator[PartVerdict]:
    """What only several files together can be wrong about."""
    try:
        if found.kind == "dcp-safetensors":
            problems = [problem for tensor in tensors_of(found).tensors if (problem := uncovered(tensor))]
            if problems:
                yield PartVerdict(prefix + found.path.name, "tensors", FileVerdict("fail", problems[0]))
    except NotReadError as error:
        yield PartVerdict(prefix + found.path.name, "tensors", FileVerdict("unknown", str(error)))
    except (LayoutError, PickleError, OSError, shell.SkillError) as error:
        yield PartVerdict(prefix + found.path.name, "tensors", FileVerdict("fail", str(error)[:400]))
    if found.kind != "dcp-safetensors":
        yield from _shards(found, prefix)


def _shards(found: Found, prefix: str) -> Iterator[PartVerdict]:
    """Each tensor in one shard of its series, and where the index says."""
    held = {part.name: _names(found.path / part.name) for part in found.parts if part.role == "weights"}
    for index in (part for part in found.parts if part.role == "index"):
        wrong = _index_problem(found.path / index.name, held)
        if wrong:
            yield PartVerdict(prefix + index.name, "index", FileVerdict("fail", wrong))
    series: dict[str, dict[str, str]] = {}
    for file, names in sorted(held.items()):
        known = series.setdefault(series_of(file), {})
        twice = next((name for name in names or () if name in known), None)
        if twice is not None:
            problem = f"{twice[:200]} is there twice: in {known[twice]} and in {file}"
            yield PartVerdict(prefix + file, "weights", FileVerdict("fail", problem))
        if series_of(file) != file:
            known.update(dict.fromkeys(names or (), file))


def _names(path: Path) -> Collection[str] | None:
    """The tensors in a file of weights; None where it cannot be read, which is said by the part itself."""
    try:
        if path.name.endswith(".safetensors"):
            return read_header(path).tensors.keys()
        return {tensor.name for tensor in open_torch_file(path).contents().tensors}
    except (LayoutError, PickleError, OSError):
        return None


def _index_problem(index: Path, held: dict[str, Collection[str] | None]) -> str | None:
    """A tensor that the index places in a file that does not hold it."""
    placed: dict[str, set[str]] = {}
    try:
        for name, file in weight_map(index).items():
            placed.setdefault(file, set()).add(name)
    except (LayoutError, OSError):
        return None  # missing, as an index that can be read
    for file, names in sorted(placed.items()):
        there = held.get(file)
        absent = [name for name in names if name not in there] if there is not None else []
        if absent:
            return f"places {min(absent)[:200]} in {file}, which does not hold it"
    return None
