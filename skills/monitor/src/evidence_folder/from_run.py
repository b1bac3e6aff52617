"""The evidence of a run on this machine: its run folder's records and logs, and what the kernel says."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evidence_folder.cutting import Cut, cut_file
from evidence_folder.kernel_log import kernel_log
from evidence_folder.stacks_now import stacks_here
from evidence_folder.writing import EvidenceFolder
from flight_recorder.folder import newest_files
from run_folder.lines import Tally, decoded, head_lines, tail_lines
from run_folder.records import EVENT, EventLine
from trainyard_files import Unusable, parse, read_object, read_regular

RECORDS = (
    "runner.json",
    "runner-spec.json",
    "run.json",
    "trainyard-program.json",
    "events.jsonl",
    "steps.jsonl",
    "supervisor.log",
    "checkpoints/latest",
    "checkpoints/tiers.json",
)
"""Of the run folder, as shared-docs/run-folder.md names its files. launch.key is a secret and stays; so do checkpoints and reports."""
ATTEMPT = re.compile(r"attempt-(\d{4,9})\.")
RANK_FILE = re.compile(r"rank-\d{4,7}\.jsonl")
MAX_RANKS = 1024
MAX_LOGS = 100
"""Files of logs/: those of the newest attempts, and of the first."""
FOLDERS = {"stacks": ".txt", "flight": ".bin"}
"""Folders of the run folder, a file each rank: those of the newest attempt are taken."""


def collect_run(path: Path, folder: EvidenceFolder) -> dict[str, Any]:
    """Fills the folder; returns the head of its evidence.json."""
    head = head_of(path)
    taken = stacks_here(head["run_id"], path, folder)
    read_at = time.time()
    for name in [*RECORDS, *_logs(path, folder)]:
        take_file(folder, path, name, f"run/{name}")
    take_dumps(path, folder, taken)
    take_ranks(path, folder)
    kernel_log(folder)
    return {**head, "stacks": sorted(taken), "time": read_at}


def take_dumps(path: Path, folder: EvidenceFolder, taken: set[int]) -> None:
    """stacks/ and flight/, but no older stacks of ranks whose stacks were `taken` just now."""
    for name, ending in FOLDERS.items():
        for rank, file in sorted(newest_files(path, name).items()):
            if name != "stacks" or rank not in taken:
                take_whole(folder, path, str(file.relative_to(path)), f"{name}/rank-{rank:04d}{ending}")


def take_ranks(path: Path, folder: EvidenceFolder) -> None:
    """What each rank wrote of its own pace."""
    names = [name for name in _names(path / "ranks", folder) if RANK_FILE.fullmatch(name)]
    for name in names[:MAX_RANKS]:
        take_file(folder, path, f"ranks/{name}", f"run/ranks/{name}")


def head_of(path: Path) -> dict[str, Any]:
    """What the records say of the run; null where they do not."""
    runner, spec = _object(path / "runner.json"), _object(path / "runner-spec.json")
    world, per_node = world_of(path)
    return {
        "run": _text(runner.get("name")) or _text(spec.get("name")) or path.resolve().name,
        "run_id": _text(runner.get("run_id")) or _text(spec.get("run_id")),
        "engine": "local",
        "job": None,
        "namespace": None,
        "world_size": world,
        "procs_per_node": per_node,
        "pods": [],
    }


def world_of(path: Path) -> tuple[int | None, int | None]:
    """World size, and processes of this node, from the newest `start` of the trainer."""
    file, tally = path / "events.jsonl", Tally("events.jsonl")
    starts = [
        line
        for line in decoded([*head_lines(file, 64 << 10), *tail_lines(file, 1 << 20, tally)], EVENT, tally)
        if _is_start(line)
    ]
    world = starts[-1].world_size if starts else None
    return (world, world) if isinstance(world, int) and not isinstance(world, bool) else (None, None)


def _is_start(line: EventLine) -> bool:
    return line.type == "start"


def take_file(folder: EvidenceFolder, root: Path, name: str, to: str) -> None:
    """A file of the run folder, if it is there. A document stays one when secrets are removed from it."""
    try:
        _refuse_outside(root, name)
        document = _document(root / name) if name.endswith(".json") else None
        if document is not None:
            folder.document(to, document)
        else:
            folder.text(to, cut_file(root / name, folder.limits.file_bytes))
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, Unusable) as error:
        folder.leave_out(to, str(error))


def take_whole(folder: EvidenceFolder, root: Path, name: str, to: str) -> None:
    """What is no text, or none that may be cut."""
    try:
        _refuse_outside(root, name)
        data = read_regular(root / name, folder.limits.file_bytes)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, Unusable) as error:
        folder.leave_out(to, str(error))
        return
    if name.endswith(".txt"):
        folder.text(to, Cut(data))
    else:
        folder.binary(to, data)


def _refuse_outside(root: Path, name: str) -> None:
    """A link in a run folder, which the job can write, leads to any file of this machine. Raises Unusable, OSError."""
    real, home = (root / name).resolve(strict=True), root.resolve()
    if not real.is_relative_to(home):
        raise Unusable(f"{name} is a link to a place outside the run folder")


def _document(path: Path) -> Any:
    """None where it is no JSON: then it is taken as the text that it is."""
    try:
        return parse(read_regular(path))
    except Unusable:
        return None


def _logs(path: Path, folder: EvidenceFolder) -> Iterator[str]:
    """Newest attempt first: should the room end, the oldest are missing."""
    names = sorted(_names(path / "logs", folder), key=_attempt, reverse=True)
    first = [name for name in names if _attempt(name) == 0]
    kept = list(dict.fromkeys([*names[: MAX_LOGS - len(first[:4])], *first[:4]]))
    if len(names) > len(kept):
        folder.leave_out(f"run/logs: {len(names) - len(kept)} of {len(names)} files", "those of older attempts")
    yield from (f"logs/{name}" for name in kept)


def _attempt(name: str) -> int:
    found = ATTEMPT.match(name)
    return int(found[1]) if found else -1


def _names(path: Path, folder: EvidenceFolder) -> list[str]:
    try:
        return sorted(entry.name for entry in path.iterdir() if not entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        folder.leave_out(path.name, str(error))
        return []


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_object(path) or {}
    except (OSError, Unusable):
        return {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
