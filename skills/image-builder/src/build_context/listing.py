"""What goes into a build context: the files, folders and links that the ignore file leaves, sorted, within a limit."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import trainyard_shell as shell
from build_context.ignore import Ignore, Matched

MAX_ENTRIES = 300_000
MAX_DEPTH = 200
DEFAULT_LIMIT_BYTES = 2 << 30


@dataclass(frozen=True)
class Entry:
    """One path of the context."""

    path: str
    """Relative to the root, with slashes."""
    kind: str
    """file | folder | link"""
    mode: int
    """Permission bits."""
    size: int = 0
    stamp: tuple[int, int, int] = (0, 0, 0)
    """Of a file: mtime and ctime in ns, and the inode. What they and the size say unchanged is unchanged."""
    target: str = ""
    """Of a link."""


@dataclass(frozen=True)
class Listing:
    """The context of one folder."""

    root: Path
    entries: tuple[Entry, ...]
    left_out: tuple[str, ...] = ()
    """What a context cannot hold: pipes, sockets, devices."""

    @property
    def files(self) -> list[Entry]:
        return [each for each in self.entries if each.kind == "file"]

    @property
    def size_bytes(self) -> int:
        return sum(each.size for each in self.entries)


def listed(root: Path, ignore: Ignore, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> Listing:
    """Raises SkillError usage: over the limit, with the largest of what is in it; permission, with the path."""
    left_out: list[str] = []
    entries = list(_walk(root, "", None, ignore, left_out, 0))
    found = Listing(root, tuple(sorted(entries, key=lambda each: os.fsencode(each.path))), tuple(left_out))
    if found.size_bytes > limit_bytes or len(entries) > MAX_ENTRIES:
        raise _too_large(found, limit_bytes)
    return found


def _walk(root: Path, folder: str, above: Matched | None, ignore: Ignore, left_out: list[str], depth: int) -> Iterator[Entry]:
    """The entries below `folder`, those of a folder behind it; a folder that is left out appears where something in it is not."""
    if depth > MAX_DEPTH:
        raise shell.SkillError(
            "usage", f"folders deeper than {MAX_DEPTH}: {folder[:200]}", hint="is there a loop of mounts? .dockerignore"
        )
    for each in _scan(root, folder):
        path = folder + each.name
        is_out, matched = ignore.verdict(path, above)
        is_folder = each.is_dir(follow_symlinks=False)
        if is_out and not (is_folder and ignore.may_hold(path)):
            continue
        inside = list(_walk(root, f"{path}/", matched, ignore, left_out, depth + 1)) if is_folder else []
        if is_out and not inside:
            continue
        entry = _entry(root, path)
        if entry is None:
            left_out.append(shell.clean(path, 200))
            continue
        yield entry
        yield from inside


def _scan(root: Path, folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(root / folder) as entries:
            return list(entries)
    except OSError as error:
        raise _unreadable(folder or ".", error) from error


def _entry(root: Path, path: str) -> Entry | None:
    """None for a pipe, a socket or a device."""
    try:
        found = os.lstat(root / path)
        mode = stat.S_IMODE(found.st_mode)
        if stat.S_ISLNK(found.st_mode):
            return Entry(path, "link", 0o777, target=os.readlink(root / path))
    except OSError as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(found.st_mode):
        return Entry(path, "folder", mode)
    if not stat.S_ISREG(found.st_mode):
        return None
    return Entry(path, "file", mode, found.st_size, (found.st_mtime_ns, found.st_ctime_ns, found.st_ino))


def _unreadable(path: str, error: OSError) -> shell.SkillError:
    code = "permission" if isinstance(error, PermissionError) else "conflict"
    message = f"{shell.clean(path, 200)} cannot be read: {error.strerror or error}"
    return shell.SkillError(
        code, message, hint="chmod, or a line in .dockerignore that leaves it out", retryable=code == "conflict"
    )


def _too_large(found: Listing, limit_bytes: int) -> shell.SkillError:
    sizes: dict[str, int] = {}
    for each in found.files:
        top = each.path.partition("/")[0]
        sizes[top] = sizes.get(top, 0) + each.size
    largest = sorted(sizes.items(), key=lambda item: -item[1])[:5]
    told = ", ".join(f"{shell.clean(name, 60)} {size / 1e6:.0f} MB" for name, size in largest)
    message = f"the build context has {len(found.entries)} entries and {found.size_bytes / 1e6:.0f} MB, the limit is {limit_bytes / 1e6:.0f} MB; largest: {told}"
    data = {"largest": [{"path": shell.clean(name, 200), "size_bytes": size} for name, size in largest]}
    hint = "leave data and checkpoints out with .dockerignore (a volume or S3 holds them at run time), or --context-limit MB"
    return shell.SkillError("usage", message, hint=hint, data=data)


def size_text(count: int) -> str:
    """For people: `876 bytes`, `12.3 kB`, `4.5 MB`."""
    return f"{count} bytes" if count < 1000 else f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"
