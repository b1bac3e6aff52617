"""What `verify --record` found, and whether it still speaks of the files that lie there: verified.json in the checkpoint folder.

A record holds for as long as no file of the step has changed its size or its times. It says what was true when it was made:
a disk that rots since then changes no time.
"""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trainyard_shell as shell
from trainyard_files import replace_file
from checkpoint_format import VERIFIED, canonical, read_json

if TYPE_CHECKING:
    from checkpoint_folder.verdict import Verdict

MAX_BYTES = 64 << 20
NOT_VERIFIED = "not verified"


def marks(folder: Path) -> dict[str, list[int]]:
    """Name -> size and times of every file in a step's folder. {} where it cannot be looked into."""
    try:
        return {entry.name: _mark(entry.stat(follow_symlinks=False)) for entry in os.scandir(folder)}
    except OSError:
        return {}


def _mark(status: os.stat_result) -> list[int]:
    # The time of change too: unlike that of modification nobody can set it.
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def read_records(root: Path) -> dict[str, dict[str, Any]]:
    """Folder name -> record; {} where the file is missing or not ours."""
    try:
        content = read_json(root / VERIFIED, MAX_BYTES)
    except (OSError, ValueError):
        return {}
    steps = content.get("steps") if isinstance(content, dict) and content.get("format") == 1 else None
    known = steps.items() if isinstance(steps, dict) else ()
    return {name: record for name, record in known if _is_record(record)}


def _is_record(record: Any) -> bool:
    return (
        isinstance(record, dict)
        and record.get("status") in ("pass", "fail")
        and type(record.get("time")) in (int, float)
        and isinstance(record.get("files"), dict)
    )


def told(root: Path, name: str, records: dict[str, dict[str, Any]]) -> tuple[str, str | None]:
    """(what `list` says of a step, the problem that was found then)."""
    record = records.get(name)
    if record is None or not record["files"] or record["files"] != marks(root / name):
        return NOT_VERIFIED, None
    when = _utc(record["time"])
    if record["status"] == "fail":
        return f"failed {when}", f"verify found on {when}: {shell.clean(str(record.get('problem')), 300)}"
    return f"{when} {shell.clean(str(record.get('algorithm')), 20)}", None


def _utc(seconds: float) -> str:
    try:
        return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "an unknown time"


def record(root: Path, verdicts: Iterable[tuple[Verdict, dict[str, list[int]]]]) -> None:
    """Add verdicts, each with the marks from before its files were read, and drop what is gone. Raises OSError."""
    steps = {name: old for name, old in read_records(root).items() if os.path.isdir(root / name)}
    for verdict, before in verdicts:
        steps.pop(verdict.name, None)
        if verdict.status in ("pass", "fail") and before and before == marks(root / verdict.name):
            steps[verdict.name] = {
                "status": verdict.status,
                "time": time.time(),
                "algorithm": verdict.algorithm,
                "problem": verdict.problems[0] if verdict.problems else None,
                "files": before,
            }
    replace_file(root / VERIFIED, canonical({"format": 1, "steps": steps}) + b"\n")
