"""Is a checkpoint of any format intact? One verdict a part, one for the whole: intact, damaged or unknown.

`intact` needs a checksum that was compared over every byte of weights and state. A format without one can be found damaged,
never intact: sizes and headers that fit are `unknown`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.verdict import verify as verify_step
from checkpoint_folder.words import size_text
from checkpoint_format import ANY_RUN, Entry, read_json
from checkpoint_formats.folder_parts import Part, weight_map
from checkpoint_formats.found import Found
from tensor_reading.layout import LayoutError
from tensor_reading.safetensors_file import read_header
from torch_reading.file import FileVerdict, verify_torch_file
from torch_reading.pickle_values import PickleError, Suspicion

WORDS = {"pass": "intact", "fail": "damaged", "unknown": "unknown"}
NO_CHECKSUM = "header, offsets and size fit; safetensors has no checksum: whether the values are right is not known"


@dataclass(frozen=True)
class PartVerdict:
    """The answer for one part, named from the path that was asked about."""

    name: str
    role: str
    answer: FileVerdict

    def row(self) -> dict[str, Any]:
        return {
            "part": shell.clean(self.name, 300),
            "role": self.role,
            "status": self.answer.status,
            "compared": self.answer.how,
            "bytes_read": self.answer.bytes_read,
            "problem": shell.clean(self.answer.problem, 400) if self.answer.problem else None,
        }


@dataclass(frozen=True)
class WholeVerdict:
    """The answer for a checkpoint."""

    verdict: str
    """intact | damaged | unknown"""
    parts: tuple[PartVerdict, ...]
    suspicions: tuple[tuple[str, Suspicion], ...]
    """(part, what its pickle names)"""

    @property
    def runs_code(self) -> bool:
        return any(suspicion.runs_code for _, suspicion in self.suspicions)


def verify_found(found: Found) -> WholeVerdict:
    """Verify every part. Reads every byte where the format has checksums; progress goes to stderr."""
    parts = tuple(_parts(found))
    suspicions = tuple(dict.fromkeys((part.name, each) for part in parts for each in part.answer.suspicions))
    return WholeVerdict(_whole(parts), parts, suspicions)


def _whole(parts: tuple[PartVerdict, ...]) -> str:
    statuses = {part.answer.status for part in parts}
    if "fail" in statuses:
        return "damaged"
    return "intact" if "pass" in statuses and "unknown" not in statuses else "unknown"


def _parts(found: Found, prefix: str = "") -> Iterator[PartVerdict]:
    described = found.kind == "dcp" and not found.problem and any(part.name == ".metadata" for part in found.parts)
    for missing in found.missing if not described else ():
        yield PartVerdict(prefix + missing, "missing", FileVerdict("fail", "missing"))
    if found.problem:
        status = "unknown" if found.kind == "unknown" and not found.named_like else "fail"
        yield PartVerdict(prefix + found.path.name, found.kind, FileVerdict(status, found.problem, suspicions=found.suspicions))
    if found.kind == "trainyard-step":
        yield from _trainyard(found, prefix)
    elif described:
        yield from _dcp(found, prefix)
    elif found.kind == "unknown":
        if not found.problem:
            yield PartVerdict(prefix + found.path.name, "unknown", FileVerdict("unknown", found.evidence[0]))
    elif not (found.problem and found.path.is_file()):
        folder = found.path.parent if found.path.is_file() else found.path
        for part in found.parts:
            shell.progress(f"reading {prefix}{part.name}")
            yield PartVerdict(prefix + part.name, part.role, _part(folder, part, found))
        if found.kind in ("huggingface", "huggingface-bin", "dcp-safetensors"):
            yield from _folder_rules(found, prefix)
    for inside in found.inside:
        yield from _parts(inside, f"{prefix}{inside.path.name}/")


def _trainyard(found: Found, prefix: str) -> Iterator[PartVerdict]:
    path = found.path.resolve()
    answer = verify_step(path.parent, Entry(path.name, "step", found.step), owner=ANY_RUN)
    status = "unknown" if answer.status == "skipped" else answer.status
    problem = "; ".join(answer.problems[:5]) or None
    yield PartVerdict(prefix + path.name, "step", FileVerdict(status, problem, answer.algorithm, answer.bytes_read))


def _part(folder: Path, part: Part, found: Found) -> FileVerdict:
    try:
        if part.format == "safetensors":
            read_header(folder / part.name)
            return FileVerdict("unknown", NO_CHECKSUM, "structure")
        if part.format == "torch" or (found.kind.startswith("torch") or found.kind in ("pickle", "lightning")):
            return verify_torch_file(folder / part.name)
        if part.format == "json":
            read_json(folder / part.name)
    except LayoutError as error:
        return FileVerdict("fail", str(error))
    except ValueError as error:
        return FileVerdict("fail", f"no JSON: {error}"[:200])
    except OSError as error:
        return FileVerdict("unknown", f"cannot be read: {error.strerror}")
    return FileVerdict("skipped", "holds no tensors, and nothing to compare it with")


def _dcp(found: Found, prefix: str) -> Iterator[PartVerdict]:
    from checkpoint_formats.dcp_folder import METADATA, incomplete, read_dcp, verify_file

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


def _folder_rules(found: Found, prefix: str) -> Iterator[PartVerdict]:
    """What only several files together can be wrong about."""
    from checkpoint_formats.tensors import tensors_of
    from tensor_reading.layout import uncovered

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


def checks(found: Found, whole: WholeVerdict, limit: int) -> list[shell.Check]:
    """One check for the whole, one for each part that is not fine, one for each pickle with names that are not harmless."""
    read = sum(part.answer.bytes_read for part in whole.parts)
    counts = {
        status: sum(part.answer.status == status for part in whole.parts) for status in ("pass", "fail", "unknown", "skipped")
    }
    first = next((part for status in ("fail", "unknown") for part in whole.parts if part.answer.status == status), None)
    compared = ", ".join(sorted({part.answer.how for part in whole.parts if part.answer.how and part.answer.status == "pass"}))
    summary = f"{found.kind}: {size_text(read)} in {counts['pass']} part(s) read and compared: {compared}"
    if whole.verdict != "intact":
        summary = f"{first.name}: {first.answer.problem}" if first else "nothing in it could be compared"
    status = {"intact": "pass", "damaged": "fail", "unknown": "unknown"}[whole.verdict]
    fix = {"fail": "take another copy, or an older checkpoint", "unknown": None, "pass": None}[status]
    all_checks = [shell.Check("checkpoint.intact", status, shell.clean(summary, 500), None, fix)]
    all_checks += pickle_checks([(part, suspicion) for part, suspicion in whole.suspicions], limit)
    return all_checks


def pickle_checks(found: list[tuple[str, Suspicion]], limit: int) -> list[shell.Check]:
    """One check for each name that is not known to be harmless, those that would run code first."""
    parts: dict[Suspicion, list[str]] = {}
    for part, suspicion in found:
        parts.setdefault(suspicion, []).append(part)
    all_checks = []
    for suspicion, named_by in sorted(parts.items(), key=lambda item: (not item[0].runs_code, item[0].name))[:limit]:
        more = f" and {len(named_by) - 1} more" if len(named_by) > 1 else ""
        text = shell.clean(f"{named_by[0]}{more}: its pickle names {suspicion.name}: {suspicion.why}", 500)
        fix = (
            "do not load it anywhere"
            if suspicion.runs_code
            else "load it only if you trust where it comes from; `convert --accept NAME` takes the tensors without running it"
        )
        all_checks.append(shell.Check("pickle.names", "fail" if suspicion.runs_code else "warn", text, None, fix))
    return all_checks
