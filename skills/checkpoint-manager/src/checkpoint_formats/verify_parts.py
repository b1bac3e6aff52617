"""Is a checkpoint intact? Every file of it is judged, or listed as not judged.

`intact` needs a checksum that was compared over every byte of weights and state. A format without one can be found damaged, never
intact: sizes and headers that fit are `unknown`, unless a file of digests lies beside them. `unsafe` is whole, and loading it would run
code. What lies in the folder and belongs to no part is looked at too: a binary file that nobody here can read leaves the answer open.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import trainyard_shell as shell
from checkpoint_formats.digest_file import SUMS, Sums, compared, read_sums
from checkpoint_formats.file_kinds import Found, Part, PartVerdict
from tensor_reading.layout import LayoutError, NotReadError
from torch_reading.file import FileVerdict, verify_torch_file
from torch_reading.pickle_names import Suspicion

NO_CHECKSUM = "header, offsets and size are consistent; safetensors has no checksum, so the values could not be checked"


@dataclass(frozen=True)
class WholeVerdict:
    """The answer for a checkpoint."""

    verdict: str
    """intact | damaged | unsafe | unknown"""
    parts: tuple[PartVerdict, ...]
    suspicions: tuple[tuple[str, Suspicion], ...]
    """(part, what its pickle names)"""


def verify_found(found: Found) -> WholeVerdict:
    """Verify every part. Reads every byte where the format has checksums; progress goes to stderr."""
    plain = tuple(_with_leftovers(found))
    suspicions = tuple(dict.fromkeys((part.name, each) for part in plain for each in part.answer.suspicions))
    parts = tuple(_unsafe(part) for part in plain)
    return WholeVerdict(_whole(plain, parts), parts, suspicions)


def _whole(plain: tuple[PartVerdict, ...], parts: tuple[PartVerdict, ...]) -> str:
    statuses = {part.answer.status for part in plain}
    if "fail" in statuses:
        return "damaged"
    if any(part.answer.status == "fail" for part in parts):
        return "unsafe"
    return "intact" if "pass" in statuses and "unknown" not in statuses else "unknown"


def _unsafe(part: PartVerdict) -> PartVerdict:
    """A part whose pickle names code fails, however right its bytes are."""
    code = next((each for each in part.answer.suspicions if each.runs_code), None)
    if code is None or part.answer.status == "fail":
        return part
    return replace(part, answer=replace(part.answer, status="fail", problem=f"its pickle names {code.name}: {code.why}"))


def _with_leftovers(found: Found) -> Iterator[PartVerdict]:
    judged: set[str] = set()
    for part in _parts(found):
        judged.add(part.name)
        yield part
    if found.path.is_dir():
        from checkpoint_formats.leftovers import leftovers

        yield from leftovers(found, judged)


def _parts(found: Found, prefix: str = "") -> Iterator[PartVerdict]:
    """The parts of a checkpoint, compared with the file of digests in its folder where there is one."""
    folder = found.path if found.path.is_dir() else found.path.parent
    sums = read_sums(folder)
    if sums is None or (found.path.is_file() and found.path.name not in sums.digests):
        yield from _own_parts(found, prefix)
        return
    yield from _with_sums(found, prefix, folder, sums)


def _with_sums(found: Found, prefix: str, folder: Path, sums: Sums) -> Iterator[PartVerdict]:
    listed = dict(sums.digests) if found.path.is_dir() else {found.path.name: sums.digests[found.path.name]}
    for part in _own_parts(found, prefix):
        digest = listed.pop(part.name.removeprefix(prefix), None)
        yield replace(part, answer=compared(folder / part.name.removeprefix(prefix), digest, part.answer)) if digest else part
    for name, digest in sorted(listed.items()):
        answer = compared(folder / name, digest, FileVerdict("skipped"))
        yield PartVerdict(prefix + name, "listed", answer)
    if found.path.is_dir():
        status = "fail" if sums.problem else "skipped"
        words = sums.problem or "the digests that the others were compared with"
        yield PartVerdict(prefix + SUMS, "digests", FileVerdict(status, words))


def _own_parts(found: Found, prefix: str) -> Iterator[PartVerdict]:
    described = found.kind == "dcp" and not found.problem and any(part.name == ".metadata" for part in found.parts)
    for missing in found.missing if not described else ():
        yield PartVerdict(prefix + missing, "missing", FileVerdict("fail", "missing"))
    if found.problem:
        status = "unknown" if found.kind == "unknown" and not found.named_like else found.problem_status
        yield PartVerdict(prefix + found.path.name, found.kind, FileVerdict(status, found.problem, suspicions=found.suspicions))
    if found.kind == "trainyard-step":
        from checkpoint_formats.folder_verdicts import trainyard_step

        yield from trainyard_step(found, prefix)
    elif described:
        from checkpoint_formats.folder_verdicts import dcp

        yield from dcp(found, prefix)
    elif found.kind == "unknown":
        if not found.problem and found.path.is_file():
            answer = FileVerdict("unknown", "; ".join(found.evidence), suspicions=found.suspicions)
            yield PartVerdict(prefix + found.path.name, "unknown", answer)
    elif not (found.problem and found.path.is_file()):
        yield from _files(found, prefix)
    for inside in found.inside:
        yield from _parts(inside, f"{prefix}{inside.path.name}/" if inside.path.is_dir() else prefix)


def _files(found: Found, prefix: str) -> Iterator[PartVerdict]:
    folder = found.path.parent if found.path.is_file() else found.path
    for part in found.parts:
        shell.progress(f"reading {prefix}{part.name}")
        yield PartVerdict(prefix + part.name, part.role, verify_part(folder, part, found.kind))
    if found.kind in ("huggingface", "huggingface-bin", "dcp-safetensors", "hf-trainer"):
        from checkpoint_formats.folder_verdicts import folder_rules

        yield from folder_rules(found, prefix)


def verify_part(folder: Path, part: Part, kind: str = "") -> FileVerdict:
    """The answer for one file, by its format."""
    try:
        if not (folder / part.name).is_file():
            return FileVerdict("fail", "missing, or not a regular file")
        if part.format == "safetensors":
            from tensor_reading.safetensors_file import read_header

            read_header(folder / part.name)
            return FileVerdict("unknown", NO_CHECKSUM, "structure")
        if part.format == "torch" or (kind.startswith("torch") or kind in ("pickle", "lightning")):
            return verify_torch_file(folder / part.name)
        if part.format == "json":
            from checkpoint_format import read_json

            read_json(folder / part.name)
    except NotReadError as error:
        return FileVerdict("unknown", str(error))
    except LayoutError as error:
        return FileVerdict("fail", str(error))
    except ValueError as error:
        return FileVerdict("fail", f"no JSON: {error}"[:200])
    except OSError as error:
        return FileVerdict("unknown", f"cannot be read: {error.strerror}")
    return FileVerdict("skipped", "holds no tensors, and nothing to compare it with")
