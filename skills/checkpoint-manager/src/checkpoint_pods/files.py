"""Files as they come out of a container: announced names and sizes, then bytes. Nothing else is written here."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import trainyard_shell as shell
from checkpoint_folder.words import size_text
from checkpoint_pods.call import Place, opened
from checkpoint_pods.inside import MARK

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,200}", re.ASCII)
MAX_LINE_BYTES = 16 << 20
PROGRESS_S = 5.0


class Receiver:
    """Takes the output of inside.py's `send` piece by piece and writes the files into `folder`, which it makes; none with `dry_run`.

    `allowed(name)` decides about every announced name. Raises SkillError as soon as something else comes than was announced.
    """

    def __init__(self, place: Place, folder: Path, allowed: Callable[[str], bool], *, dry_run: bool = False) -> None:
        self.place, self.folder, self.allowed, self.dry_run = place, folder, allowed, dry_run
        self.header: dict[str, Any] = {}
        self.files: list[tuple[str, int]] = []
        self._line = bytearray()
        self._waiting: list[tuple[str, int]] = []
        self._file: IO[bytes] | None = None
        self._left = 0
        self._received, self._told = 0, time.monotonic()

    def feed(self, part: bytes) -> None:
        with self._writing():
            self._take(memoryview(part))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise shell.cannot_write(self.folder, error, "free space, or another OUT_DIR; nothing is left behind") from error

    def _take(self, view: memoryview) -> None:
        while not self.header and view:
            view = self._header_line(view)
        while view:
            if self._file is None:
                raise self._wrong("sends more than it announced")
            count = min(len(view), self._left)
            self._file.write(view[:count])
            self._left -= count
            self._received += count
            view = view[count:]
            self._open_next()
        self._tell()

    def finish(self) -> None:
        """All is here. SkillError where the stream ended early, or the disk took not all of it."""
        with self._writing():
            self.close()
        if not self.header:
            raise self._wrong("sent no list of files")
        if self._left or self._waiting:
            raise self._wrong("stopped before all of it was sent; a file may have changed meanwhile")

    def close(self) -> None:
        file, self._file = self._file, None  # first: a full disk fails in close, and once is enough
        if file:
            file.close()

    @property
    def total_bytes(self) -> int:
        return sum(size for _, size in self.files)

    def _header_line(self, view: memoryview) -> memoryview:
        """Take bytes up to the end of a line; whatever an image prints before ours is skipped."""
        head, newline, _ = bytes(view).partition(b"\n")
        self._line += head
        if len(self._line) > MAX_LINE_BYTES:
            raise self._wrong("sends a line without end")
        if newline:
            line, self._line = self._line.decode("utf-8", "replace"), bytearray()
            if line.startswith(MARK):
                self._begin(opened(line, self.place))
        return view[len(head) + len(newline) :]

    def _begin(self, header: dict[str, Any]) -> None:
        self.files = announced(header, self.place, self.allowed)
        self.header = header
        if self.dry_run:
            return
        self.folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # of a run: its user's alone, where it is made here
        self.folder.mkdir(exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if self.total_bytes > free:
            message = f"{size_text(self.total_bytes)} do not fit: {size_text(free)} are free in {self.folder}"
            raise shell.SkillError("usage", message, hint="another OUT_DIR")
        self._waiting = list(self.files)
        self._open_next()

    def _open_next(self) -> None:
        """The next file that has bytes to come; empty ones are made on the way."""
        while not self._left:
            self.close()
            if not self._waiting:
                return
            name, self._left = self._waiting.pop(0)
            self._file = (self.folder / name).open("xb")

    def _tell(self) -> None:
        if time.monotonic() - self._told > PROGRESS_S:
            self._told = time.monotonic()
            shell.progress(f"{size_text(self._received)} of {size_text(self.total_bytes)}")

    def _wrong(self, what: str) -> shell.SkillError:
        return wrong(self.place, what)


def is_file_name(name: str) -> bool:
    """One plain name: it must not lead out of a folder."""
    return FILE_NAME.fullmatch(name) is not None


def announced(header: dict[str, Any], place: Place, allowed: Callable[[str], bool]) -> list[tuple[str, int]]:
    """(name, bytes) of the files that a container's first line tells of. Raises SkillError for what cannot be taken."""
    listed = header.get("files")
    if not isinstance(listed, list):
        raise wrong(place, "sent no list of files")
    files: list[tuple[str, int]] = []
    for each in listed:
        name, size = (each.get("name"), each.get("size")) if isinstance(each, dict) else (None, None)
        if not isinstance(name, str) or type(size) is not int or size < 0 or not allowed(name):
            raise wrong(place, f"announces a file {shell.clean(str(name), 80)!r} of {size} bytes")
        files.append((name, size))
    if len({name for name, _ in files}) != len(files):
        raise wrong(place, "announces a name twice")
    return files


def wrong(place: Place, what: str) -> shell.SkillError:
    return shell.SkillError("unreachable", f"pod {place.pod} {what}", hint="the same call again", retryable=True)
