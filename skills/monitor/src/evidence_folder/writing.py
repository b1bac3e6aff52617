"""The folder itself: made beside its place, private, within its limits, and put there as a whole at the end."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from evidence_folder.cleaning import clean_cut, clean_object
from evidence_folder.cutting import Cut
from evidence_folder.limits import Limits

FORMAT = 1
PART = re.compile(r"[\w@+=,-][\w.@+=,-]{0,250}")
"""A part of a file's name that may be taken over from outside."""
MAX_LEFT_OUT = 1000
RESERVED_BYTES = 1 << 20
"""For evidence.json, which comes last."""


@dataclass
class EvidenceFolder:
    """Threads may write into it. What does not fit, or has no name that a file may have, goes to `left_out`."""

    output: Path
    limits: Limits
    dry_run: bool = False
    files: int = 0
    size_bytes: int = 0
    left_out: list[dict[str, str]] = field(default_factory=list)
    more_left_out: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        refuse_taken(self.output)
        self.part = self.output.with_name(f".{self.output.name}.{secrets.token_hex(4)}.tmp")
        if not self.dry_run:
            _make(self.part, self.output)

    def leave_out(self, what: str, why: str) -> None:
        with self._lock:
            if len(self.left_out) < MAX_LEFT_OUT:
                self.left_out.append({"what": shell.clean(what, 300), "why": clean_object(shell.clean(why, 600))})
            else:
                self.more_left_out += 1

    def text(self, name: str, cut: Cut) -> None:
        """A log or record: without secrets; what was cut out of it is told in the file, and in evidence.json."""
        with self._lock:  # one at a time: cleaning takes several times the memory of the text
            clean = clean_cut(cut)
        self._write(name, clean)
        if cut.missing:
            told = "more than " if cut.at_least else ""
            self.leave_out(
                f"{name}: {told}{cut.missing} bytes of its middle", "longer than the limit of a file (--max-file-mib)"
            )

    def document(self, name: str, value: Any) -> None:
        self._write(name, json.dumps(clean_object(value), indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n")

    def binary(self, name: str, data: bytes) -> None:
        """Of what cannot be cut, all."""
        self._write(name, data)

    def _write(self, name: str, data: bytes, reserved_bytes: int = RESERVED_BYTES) -> None:
        parts = name.split("/")
        if not all(PART.fullmatch(part) for part in parts):
            self.leave_out(name, "its name has characters that a file here may not have")
            return
        with self._lock:
            fits = self.size_bytes + len(data) + reserved_bytes <= self.limits.total_bytes
            if fits:
                self.files, self.size_bytes = self.files + 1, self.size_bytes + len(data)
        if not fits:
            self.leave_out(name, "the limit of the whole folder is reached (--max-total-mib)")
            return
        if not self.dry_run:
            _create(self.part, parts, data, self.output)

    def finish(self, head: dict[str, Any]) -> None:
        """Writes evidence.json and puts the folder in its place. `time` in the head: of the records that steps are read from, which
        lie behind the folder's end by as long as all the logs take. Raises SkillError."""
        left_out = [*self.left_out]
        if self.more_left_out:
            left_out.append({"what": f"{self.more_left_out} more", "why": "the list is longer than evidence.json holds"})
        document = {"format": FORMAT, "time": time.time(), **head, "left_out": left_out}
        self._write("evidence.json", json.dumps(document, indent=1).encode() + b"\n", reserved_bytes=0)
        if self.dry_run:
            return
        try:
            os.rename(self.part, self.output)  # takes the place of an empty folder, and of nothing else
        except OSError as error:
            self.drop()
            refuse_taken(self.output)
            raise shell.cannot_write(self.output, error, "another --output") from error

    def drop(self) -> None:
        """Nothing half-made stays."""
        if not self.dry_run:
            shutil.rmtree(self.part, ignore_errors=True)


def refuse_taken(output: Path) -> None:
    """Evidence that is there may be of what is gone now: nothing is overwritten. Raises SkillError conflict."""
    try:
        if output.is_symlink() or (os.path.lexists(output) and (not output.is_dir() or any(output.iterdir()))):
            message = f"{output} is there, and is not an empty folder"
            raise shell.SkillError("conflict", message, hint="another --output; the folder of an earlier call is kept")
    except OSError as error:
        raise shell.SkillError("permission", f"{output} cannot be read: {error.strerror}", hint="another --output") from error


def _make(part: Path, output: Path) -> None:
    try:
        part.mkdir(mode=0o700)
    except FileNotFoundError as error:
        raise shell.SkillError("not-found", f"there is no folder {output.parent}", hint=f"mkdir -p {output.parent}") from error
    except OSError as error:
        raise shell.cannot_write(output, error, "another --output, where you may write") from error


def _create(root: Path, parts: list[str], data: bytes, output: Path) -> None:
    path = root.joinpath(*parts)
    try:
        for folder in reversed([each for each in path.parents if each.is_relative_to(root)]):
            folder.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with open(handle, "wb") as file:
            file.write(data)
    except OSError as error:
        raise shell.cannot_write(output, error, "another --output, on a disk with room") from error
