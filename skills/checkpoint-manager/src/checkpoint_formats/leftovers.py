"""What lies in a checkpoint's folder and is not a part of it: judged where its form is known, else listed as not judged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from checkpoint_formats.file_kinds import UNKNOWN, Found, PartVerdict, recognise_file
from torch_reading.file import FileVerdict, verify_torch_file

MAX_FILES = 20_000
MAX_TEXT_BYTES = 16 << 20
READ_BYTES = 1 << 20


def leftovers(found: Found, judged: set[str]) -> Iterator[PartVerdict]:
    """One answer for each file below the folder whose name, relative to it, is not in `judged`."""
    covered = {each.path.name for each in found.inside if each.kind == "trainyard-step"}
    count = 0
    for path in _files(found.path):
        name = str(path.relative_to(found.path))
        if name in judged or found.kind == "trainyard-step" or name.partition("/")[0] in covered:
            continue
        count += 1
        if count > MAX_FILES:
            yield PartVerdict("(more files)", "other", FileVerdict("unknown", f"more than {MAX_FILES} files: not judged"))
            return
        yield PartVerdict(name, "other", judge(path))


def _files(folder: Path) -> Iterator[Path]:
    """Every name below that is not a folder; a link to a folder counts as a name."""
    for parent, folders, files in os.walk(folder):
        folders.sort()
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        yield from (Path(parent) / name for name in sorted([*files, *links]))


def judge(path: Path) -> FileVerdict:
    """The answer for a file that nothing else asked about."""
    try:
        if not path.exists():
            return FileVerdict("fail", "a link to nothing")
        if not path.is_file():
            return FileVerdict("unknown", "not a regular file: not judged")
        found = recognise_file(path)
        if found.kind.startswith("torch") or found.kind in ("pickle", "lightning"):
            return verify_torch_file(path)
        if found.kind == UNKNOWN and found.problem is None and found.named_like is None and _is_text(path):
            return FileVerdict("skipped", "text: holds no tensors, and nothing to compare it with")
    except OSError as error:
        return FileVerdict("unknown", f"cannot be read: {error.strerror}")
    if found.kind == UNKNOWN and path.stat().st_size == 0:
        return FileVerdict("skipped", "empty")
    if found.problem and found.named_like:
        return FileVerdict(found.problem_status, found.problem, suspicions=found.suspicions)
    return FileVerdict("unknown", f"not judged: {found.problem or found.evidence[0]}", suspicions=found.suspicions)


def _is_text(path: Path) -> bool:
    """All of it, and not too much of it."""
    if path.stat().st_size > MAX_TEXT_BYTES:
        return False
    try:
        text = path.read_bytes().decode()
    except UnicodeDecodeError:
        return False
    return "\0" not in text
