"""Is a folder intact, where no file of it says so alone: a Trainyard step, a DCP folder, files that an index holds together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import trainyard_shell as shell
from checkpoint_folder.verdict import verify as verify_step
from checkpoint_format import ANY_RUN, Entry
from checkpoint_formats.dcp_folder import METADATA, incomplete, read_dcp, verify_file
from checkpoint_formats.file_kinds import Found, PartVerdict
from checkpoint_formats.folder_parts import weight_map
from checkpoint_formats.tensors import tensors_of
from tensor_reading.layout import LayoutError, uncovered
from tensor_reading.safetensors_file import read_header
from torch_reading.file import FileVerdict
from torch_reading.pickle_values import PickleError


def trainyard_step(found: Found, prefix: str) -> Iterator[PartVerdict]:
    path = found.path.resolve()
    answer = verify_step(path.parent, Entry(path.name, "step", found.step), owner=ANY_RUN)
    status = "unknown" if answer.status == "skipped" else answer.status
    problem = "; ".join(answer.problems[:5]) or None
    yield PartVerdict(prefix + path.name, "step", FileVerdict(status, problem, answer.algorithm, answer.bytes_read))


def dcp(found: Found, prefix: str) -> Iterator[PartVerdict]:
    try:
        folder = read_dcp(found.path)
    except (LayoutError, PickleError) as error:
        yield PartVerdict(prefix + METADATA, "index", FileVerdict("fail", str(error)))
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
            yield PartVerdict(prefix + part.name, part.role, FileVerdict("skipped", problem))


def folder_rules(found: Found, prefix: str) -> Iterator[PartVerdict]:
    """What only several files together can be wrong about."""
    try:
        if found.kind == "dcp-safetensors":
            problems = [problem for tensor in tensors_of(found).tensors if (problem := uncovered(tensor))]
            if problems:
                yield PartVerdict(prefix + found.path.name, "tensors", FileVerdict("fail", problems[0]))
            return
        for index in (part for part in found.parts if part.role == "index"):
            wrong = _index_problem(found.path / index.name)
            if wrong:
                yield PartVerdict(prefix + index.name, "index", FileVerdict("fail", wrong))
    except (LayoutError, PickleError, OSError, shell.SkillError):
        return  # said by the part itself


def _index_problem(index: Path) -> str | None:
    """A tensor that the index places in a safetensors file that does not hold it."""
    placed: dict[str, set[str]] = {}
    for name, file in weight_map(index).items():
        placed.setdefault(file, set()).add(name)
    for file, names in sorted(placed.items()):
        if file.endswith(".safetensors") and (index.parent / file).is_file():
            absent = names - set(read_header(index.parent / file).tensors)
            if absent:
                return f"places {min(absent)[:200]} in {file}, which does not hold it"
    return None
