"""A project folder, read within bounds: nothing outside it, no links out of it, nothing huge, nothing that would wait."""

from __future__ import annotations

import codecs
import os
from dataclasses import dataclass, field
from pathlib import Path

import trainyard_files
import trainyard_shell as shell

MAX_FILES, MAX_DEPTH = 20_000, 24
MAX_FILE_BYTES = 1 << 20
MAX_LINE_CHARS = 20_000
SKIPPED = {
    ".git",
    ".hg",
    ".svn",
    ".venv",
    "venv",
    ".trainyard",
    "__pycache__",
    "node_modules",
    "site-packages",
    ".tox",
    ".mypy_cache",
}


@dataclass
class Folder:
    """The project's folder and what could not be read in it."""

    path: Path
    unread: dict[str, str] = field(default_factory=dict)
    """File -> why."""

    def text(self, name: str, limit_bytes: int = MAX_FILE_BYTES) -> str | None:
        """The text of a file in the folder; None where there is none, or it cannot be read, which is noted."""
        try:
            raw = trainyard_files.read_regular(self._real(name), limit_bytes)
            # PowerShell's `pip freeze > requirements.txt` is UTF-16, which pip reads too.
            text = raw.decode("utf-16" if raw.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8-sig")
            if "\0" in text or max(map(len, text.splitlines()), default=0) > MAX_LINE_CHARS:
                raise trainyard_files.Unusable("it is not text that somebody wrote: NUL bytes, or a line without an end")
            return text
        except (FileNotFoundError, NotADirectoryError):
            return None
        except UnicodeDecodeError as error:
            self.refuse(name, f"it is not UTF-8 text (byte {error.start})")
        except trainyard_files.Unusable as error:
            self.refuse(name, str(error).replace(str(self.path), "").lstrip("/"))
        except (OSError, ValueError) as error:
            self.refuse(name, getattr(error, "strerror", None) or str(error))
        return None

    def refuse(self, name: str, why: str) -> None:
        self.unread[shell.clean(name, 200)] = shell.clean(why, 200)

    def exists(self, name: str) -> bool:
        try:
            return self._real(name).is_file()
        except (OSError, ValueError):
            return False

    def inside(self, name: str) -> bool:
        """Whether the name, links followed, leads to somewhere in the folder, there or not."""
        return Path(os.path.realpath(self.path / name)).is_relative_to(self.path)

    def _real(self, name: str) -> Path:
        """The real path of a name. Raises Unusable for one that leads out of the folder; OSError."""
        if not self.inside(name):
            raise trainyard_files.Unusable("it leads out of the folder, so it is not in the build context either")
        return Path(os.path.realpath(self.path / name, strict=True))

    def names(self) -> list[str]:
        """All files, relative to the folder, sorted; links and the folders of tools are left out, and what exceeds the bounds."""
        found: list[str] = []
        waiting = [(self.path, "", 0)]
        while waiting:
            place, prefix, depth = waiting.pop()
            for entry in self._entries(place, prefix):
                if entry.is_dir(follow_symlinks=False):
                    if entry.name not in SKIPPED and not entry.name.endswith(".egg-info") and depth < MAX_DEPTH:
                        waiting.append((Path(entry.path), f"{prefix}{entry.name}/", depth + 1))
                elif entry.is_file(follow_symlinks=False):
                    found.append(prefix + entry.name)
            if len(found) > MAX_FILES:
                self.refuse(prefix or ".", f"more than {MAX_FILES} files; the rest was not looked at")
                break
        return sorted(found[:MAX_FILES])

    def _entries(self, place: Path, prefix: str) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(place) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            self.refuse(prefix or ".", error.strerror or str(error))
            return []


def open_folder(path: str) -> Folder:
    """The folder with something in it. Raises SkillError usage: no folder, an empty one; permission."""
    folder = Path(path)
    try:
        real = Path(os.path.realpath(folder, strict=True))
        if not real.is_dir():
            raise shell.SkillError("usage", f"{shell.clean(path, 200)} is not a folder", hint="name the project's folder")
        if not any(real.iterdir()):
            raise shell.SkillError("usage", f"{shell.clean(path, 200)} is empty", hint="name the project's folder")
    except PermissionError as error:
        raise shell.SkillError(
            "permission", f"{shell.clean(path, 200)} may not be read", hint="chmod, or another folder"
        ) from error
    except (OSError, ValueError) as error:
        message = f"no folder {shell.clean(path, 200)}: {getattr(error, 'strerror', None) or error}"
        raise shell.SkillError("usage", message, hint="name the project's folder") from error
    return Folder(real)


def line_of(text: str, needle: str, start: int = 1) -> int:
    """The line, from 1, in which `needle` first stands at or after line `start`; `start` where it does not."""
    lines = text.splitlines()
    return next((number for number in range(start, len(lines) + 1) if needle in lines[number - 1]), start)
