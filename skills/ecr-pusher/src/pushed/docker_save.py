"""An image of the local Docker, out of the stream of `docker save`: its layers are compressed while they come, so the plain image never lies on
the disk a second time.
"""

from __future__ import annotations

import os
import select
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO

import trainyard_docker as docker
import trainyard_shell as shell
from pushed.docker_archive import Packed, image
from pushed.layer import Part, Writer, compressed, kept, media_type, pieces
from pushed.image import MAX_MANIFEST_BYTES, Image, unusable
from pushed.archive import Member, Names, inside, is_file, members

QUIET_S = 300.0
"""Without a byte from `docker save` for so long it is given up; a daemon under load needs seconds."""
END_S = 30.0
PIPE_BYTES = 1 << 20


def read(name: str) -> Image:
    """The image. Raises SkillError not-found, dependency, unreachable, permission (the daemon), timeout."""
    found = docker.find()
    asked = docker.run(found.program, "image", "inspect", "--format", "{{.Id}}", name)
    if asked.code:
        raise _no_image(name, asked.err)
    # by its id: of a name without a tag `docker save` writes all tags
    words = [found.program, "save", asked.out.strip()]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        assert process.stdout is not None
        try:
            saved = Saved(_Pipe(process.stdout), f"the answer of `docker save {name}`", lambda: _failed(process, said, name))
            _wait(process)
        finally:
            process.kill()
            process.stdout.close()
            process.wait()
        return image(saved, None, saved.packed)


def _no_image(name: str, said: str) -> shell.SkillError:
    if "No such image" in said or "no such image" in said or "not found" in said:
        hint = "`docker images` prints their names; an archive is oci:PATH or docker-archive:PATH"
        return shell.SkillError("not-found", f"the local Docker has no image {name}", hint=hint)
    return shell.SkillError("unreachable", f"docker image inspect: {shell.clean(said.strip()[-500:])}", hint="`docker info`")


def _failed(process: subprocess.Popen[bytes], said: IO[bytes], name: str) -> shell.SkillError | None:
    """What `docker save` ended with, if it failed."""
    try:
        code = process.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        return None
    if code == 0:
        return None
    said.seek(0)
    text = shell.clean(said.read(4096).decode(errors="replace").strip())
    hint = "is the daemon still there (`docker info`)? Then the same call"
    return shell.SkillError(
        "unreachable", f"`docker save {name}` broke off: {text or f'exit {code}'}", hint=hint, retryable=True
    )


def _wait(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    while process.stdout.read(PIPE_BYTES):  # what stands behind the end of the tar
        pass


class _Pipe:
    """Reads with a deadline."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.descriptor, self.has_ended = stream.fileno(), False

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer at the end only."""
        parts, deadline = bytearray(), time.monotonic() + QUIET_S
        while len(parts) < size:
            ready, _, _ = select.select([self.descriptor], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                message = f"`docker save` sent nothing for {QUIET_S:g} s"
                raise shell.SkillError("timeout", message, hint="`docker info`, then the same call", retryable=True)
            data = os.read(self.descriptor, min(PIPE_BYTES, size - len(parts)))
            if not data:
                self.has_ended = True
                break
            parts += data
            deadline = time.monotonic() + QUIET_S
        return bytes(parts)


class Saved:
    """The files of a stream: small ones and compressed layers as they are, plain layers compressed."""

    def __init__(self, stream: _Pipe, what: str, failed: Callable[[], shell.SkillError | None]) -> None:
        self.what, self.names = what, Names(what)
        self.parts: dict[str, Part] = {}
        self.packed: Packed = {}
        self.small = Writer()
        try:
            with tarfile.open(fileobj=stream, mode="r|", tarinfo=Member, bufsize=PIPE_BYTES) as tar:  # type: ignore[call-overload]
                for member in members(tar, what):
                    self._take(tar, member)
        except (tarfile.TarError, EOFError, shell.SkillError) as error:
            if stream.has_ended and (why := failed()):
                raise why from error
            if isinstance(error, shell.SkillError):
                raise
            raise unusable(what, str(error)) from error
        if why := failed():
            raise why
        self.small.flush()

    def _take(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if member.issym() or member.islnk():
            self.names.link(member)
        if not is_file(member):
            return
        name, file = inside(member.name, self.what), tar.extractfile(member)
        assert file is not None
        if member.size <= MAX_MANIFEST_BYTES:
            data = file.read()
            self.parts[name] = Part(self.small.file, self.small.size, len(data))
            self.small.write(data)
            return
        shell.progress(f"{name.removesuffix('/layer.tar')[-64:][:12]}: {member.size / 1e6:.0f} MB from Docker")
        incoming = pieces(file.read)
        first = next(incoming, b"")
        kind = media_type(first)

        def all_of_it() -> Iterator[bytes]:
            yield first
            yield from incoming

        if kind:
            self.parts[name] = kept(all_of_it(), kind).reader  # type: ignore[assignment]
        else:
            self.packed[name] = compressed(all_of_it())

    def find(self, name: str) -> Part | None:
        return self.parts.get(self.resolve(name))

    def resolve(self, name: str) -> str:
        return self.names.resolve(name)
