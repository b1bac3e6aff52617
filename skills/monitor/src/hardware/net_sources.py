"""The logs that tell of the network: one file, stdin, a folder of logs, an evidence folder, a run folder's newest attempt."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import trainyard_shell as shell
from log_reading.source import job_logs, refuse_compressed
from run_folder.folder import MARKS, read_runner
from run_folder.lines import Tally, decoded, tail_lines
from run_folder.records import EVENT
from trainyard_files import Unusable, open_regular, read_object

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FILES = 4096
EVENTS_BYTES = 4 << 20
STDIN = "-"


@dataclass(frozen=True)
class Logs:
    """What is to be read, and what the records beside it say of the job."""

    files: tuple[Path, ...]
    root: Path | None
    """Names in the evidence are told from here; None: stdin."""
    world_size: int | None = None
    backend: str | None = None
    """Of torch's process group, where the trainer recorded it."""
    left_out: int = 0

    def opened(self) -> Iterator[tuple[str, BinaryIO]]:
        """(name, open file), one after the other. A file that cannot be read is a SkillError: it may be the one that matters."""
        if self.root is None:
            yield "stdin", sys.stdin.buffer
            return
        for path in self.files:
            name = str(path.relative_to(self.root)) if path != self.root else path.name
            with _open(path) as file:
                yield name, file


@contextmanager
def _open(path: Path) -> Iterator[BinaryIO]:
    try:
        file = open_regular(path)
    except Unusable as error:
        raise shell.SkillError("usage", str(error), hint=f"ls -l {path}") from error
    except OSError as error:
        raise shell.SkillError("permission", f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
    with file:
        yield file


def find_logs(text: str) -> Logs:
    """Raises SkillError not-found, usage, permission."""
    if text == STDIN:
        return Logs((), None)
    path = Path(text)
    if path.is_dir():
        return _of_folder(path)
    if not path.exists():
        hint = "a log, a folder of logs, a run folder, or - for stdin; a run on a cluster: -n NAMESPACE"
        raise shell.SkillError("not-found", f"{text} does not exist", hint=hint)
    refuse_compressed(path)
    return Logs((path,), path)


def _of_folder(path: Path) -> Logs:
    run = path / "run" if (path / "evidence.json").exists() else path
    is_run = any((run / mark).exists() for mark in MARKS) or (run / "logs").is_dir()
    newest = job_logs(run, read_runner(run)[0])[-1:] if is_run else []
    pods = sorted((path / "pods").glob("*/*.log"))
    files = pods or newest or _loose(path)
    if not files:
        raise shell.SkillError("not-found", f"{path} holds no log (*.log, *.txt)", hint=f"ls {path}")
    current = [file for file in files if not file.name.endswith(".previous.log")]
    files = current or files
    world, backend = recorded(run, path)
    return Logs(tuple(files[:MAX_FILES]), path, world, backend, max(0, len(files) - MAX_FILES))


def _loose(path: Path) -> list[Path]:
    """Logs of any name in the folder and the one below it: NCCL_DEBUG_FILE and `kubectl logs` make one a process or a pod."""
    found = [file for pattern in ("*.log", "*.txt", "*/*.log", "*/*.txt") for file in path.glob(pattern)]
    return sorted({file for file in found if file.is_file()})


def recorded(run: Path, evidence: Path | None = None) -> tuple[int | None, str | None]:
    """(ranks, backend) from the newest `start` of the trainer in a run folder, else from evidence.json."""
    lines = tail_lines(run / "events.jsonl", EVENTS_BYTES, tally := Tally(""))
    start = next((event for event in reversed(list(decoded(lines, EVENT, tally))) if event.type == "start"), None)
    world, backend = (start.world_size, start.backend) if start else (None, None)
    if world is None and evidence is not None:
        try:
            world = (read_object(evidence / "evidence.json", {"world_size": "a whole number"}) or {}).get("world_size")
        except (OSError, Unusable):
            world = None
    is_count = isinstance(world, int) and not isinstance(world, bool) and 0 < world <= 1 << 24
    return (world if is_count else None), (backend if isinstance(backend, str) else None)
