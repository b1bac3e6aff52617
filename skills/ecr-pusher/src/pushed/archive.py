"""The members of a tar from outside: names that stay inside it, links followed within it, headers of bounded size."""

from __future__ import annotations

import os
import posixpath
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import trainyard_files as files
import trainyard_shell as shell
from pushed.layer import Part, cannot_read
from pushed.image import MAX_BLOB_BYTES, unusable

MAX_MEMBERS = 20_000
MAX_HEADER_BYTES = 1 << 20
MAX_LINKS = 8
LONG = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
PACKED = {b"\x1f\x8b": "gunzip", b"\x28\xb5\x2f\xfd": "zstd -d", b"BZh": "bunzip2", b"\xfd7zXZ": "unxz"}


class TooLong(tarfile.HeaderError):
    """A header whose text would fill the memory: tarfile reads names and pax records of any length."""


class Member(tarfile.TarInfo):
    """A member whose name may be long, but not of a gigabyte."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in LONG and self.size > MAX_HEADER_BYTES:
            raise TooLong("a header is longer than a megabyte")
        return super()._proc_member(tar)  # type: ignore[misc, no-any-return]

    def _no_holes(self, *_: object) -> tarfile.TarInfo:
        """tarfile reads the map of a sparse file until a line ends, however many gigabytes that takes."""
        raise TooLong("it has sparse files")

    _proc_sparse = _proc_gnusparse_00 = _proc_gnusparse_01 = _proc_gnusparse_10 = _no_holes


def members(tar: tarfile.TarFile, what: str) -> Iterator[tarfile.TarInfo]:
    """One after the other, and forgotten by `tar`. Raises SkillError usage for what is no tar, is cut short, or goes on for ever."""
    for count in range(MAX_MEMBERS + 1):
        try:
            member = tar.next()
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise unusable(what, f"it is not a whole tar archive: {error}") from error
        if member is None:
            return
        if count == MAX_MEMBERS:
            raise unusable(what, f"it has more than {MAX_MEMBERS} members")
        tar.members.clear()  # type: ignore[attr-defined]
        if not 0 <= member.size <= MAX_BLOB_BYTES:
            raise unusable(what, f"the size of its member {member.name[:80]!r} is not valid")
        yield member


def inside(name: str, what: str) -> str:
    """The name as a path inside the archive. Raises SkillError usage for one that leads out of it."""
    path = posixpath.normpath(name)
    if not name or name.startswith("/") or path == ".." or path.startswith("../") or "\0" in name:
        raise unusable(what, f"the name {name[:80]!r} leads out of the archive")
    return path


def is_file(member: tarfile.TarInfo) -> bool:
    return member.type in (tarfile.REGTYPE, tarfile.AREGTYPE)


def link_target(member: tarfile.TarInfo, what: str) -> str:
    """The path inside the archive that a link names: `docker save` of Docker before 25 stores equal layers as links."""
    if member.issym():
        return inside(posixpath.join(posixpath.dirname(inside(member.name, what)), member.linkname), what)
    return inside(member.linkname, what)


class Names:
    """Which names are links, and where they lead."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.links: dict[str, str] = {}

    def link(self, member: tarfile.TarInfo) -> None:
        self.links[inside(member.name, self.what)] = link_target(member, self.what)

    def resolve(self, name: str) -> str:
        """The name of a file, through links. Raises SkillError usage where they go in a circle."""
        path = inside(name, self.what)
        for _ in range(MAX_LINKS):
            if path not in self.links:
                return path
            path = self.links[path]
        raise unusable(self.what, f"the link {name[:80]!r} leads nowhere")


class TarFiles:
    """The files of an archive on the disk, read where they lie."""

    def __init__(self, file: BinaryIO, what: str) -> None:
        self.what, self.names, self.parts = what, Names(what), dict[str, Part]()
        _need_plain(file, what)
        try:
            tar = tarfile.open(fileobj=file, mode="r:", tarinfo=Member)  # noqa: SIM115  # closed below
        except (tarfile.TarError, EOFError, ValueError) as error:
            raise unusable(what, f"it is not a tar archive: {error}") from error
        with tar:
            for member in members(tar, what):
                if member.issym() or member.islnk():
                    self.names.link(member)
                elif is_file(member):
                    self.parts[inside(member.name, what)] = Part(file, member.offset_data, member.size)

    def find(self, name: str) -> Part | None:
        return self.parts.get(self.resolve(name))

    def resolve(self, name: str) -> str:
        return self.names.resolve(name)

    def close(self) -> None:
        """The archive's file is its opener's."""


def _need_plain(file: BinaryIO, what: str) -> None:
    head = file.read(6)
    file.seek(0)
    for magic, program in PACKED.items():
        if head.startswith(magic):
            raise shell.SkillError("usage", f"{what} is compressed as a whole", hint=f"unpack it first: {program}")


class FolderFiles:
    """The files of an OCI layout that is a folder: index.json, and blobs by their digest. Links are not followed."""

    def __init__(self, folder: Path, what: str) -> None:
        self.folder, self.what = folder, what
        self.opened: dict[str, Part] = {}

    def find(self, name: str) -> Part | None:
        if name not in self.opened:
            path = self.folder / inside(name, self.what)
            if path.is_symlink() or path.parent.is_symlink() or path.parent.parent.is_symlink():
                raise unusable(self.what, f"{name[:100]} is a symbolic link")
            try:
                file = files.open_regular(path)
            except (FileNotFoundError, NotADirectoryError):
                return None
            except files.Unusable as error:
                raise unusable(self.what, str(error)) from error
            except OSError as error:
                raise cannot_read(path, error) from error
            self.opened[name] = Part(file, 0, os.fstat(file.fileno()).st_size)
        return self.opened[name]

    def resolve(self, name: str) -> str:
        return inside(name, self.what)

    def close(self) -> None:
        for part in self.opened.values():
            part.file.close()


@contextmanager
def opened(path: Path, what: str) -> Iterator[TarFiles | FolderFiles]:
    """An archive or a folder. Raises SkillError not-found, permission, usage."""
    if path.is_dir():
        folder = FolderFiles(path, what)
        try:
            yield folder
        finally:
            folder.close()
        return
    try:
        file = files.open_regular(path)
    except files.Unusable as error:
        raise shell.SkillError("usage", str(error), hint="an archive, or the folder of an OCI layout") from error
    except OSError as error:
        raise cannot_read(path, error) from error
    with file:
        try:
            archive = TarFiles(file, what)
        except OSError as error:
            raise cannot_read(path, error) from error
        yield archive
