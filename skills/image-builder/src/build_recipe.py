"""One build as data: which folder, which Dockerfile, with what. Every way of building takes it, and each attempt is another recipe."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path

from build_context.ignore import Ignore, written
from dockerfiles.stages import Dockerfile, parse


@dataclass(frozen=True)
class Recipe:
    """The build's own copy: nothing in it is read from the user's Dockerfile again, and nothing of it is written there."""

    folder: Path
    context_digest: str
    """Of the folder as the ignore file leaves it."""
    dockerfile: str
    """Its text."""
    dockerfile_name: str
    """Relative to the folder, for messages; `Dockerfile (generated)`."""
    generated: bool
    ignore: Ignore
    build_args: tuple[tuple[str, str], ...] = ()
    secrets: tuple[str, ...] = ()
    """`id=NAME,src=FILE`: named, their values are in no command line."""
    target: str | None = None
    platform: str | None = None
    files: tuple[tuple[str, bytes], ...] = ()
    """Files that are in the context besides the folder's, or in the place of them."""
    options: tuple[str, ...] = field(default=())
    """no-cache, network=host"""

    @property
    def parsed(self) -> Dockerfile:
        return parse(self.dockerfile, self.dockerfile_name, dict(self.build_args))

    @property
    def bases(self) -> list[str]:
        """The images that the stages begin with, in order; a stage's name is none."""
        docker = self.parsed
        found = [each.image for each in docker.stages if docker.parent(each) is None and each.image != "scratch"]
        return list(dict.fromkeys(found))

    @property
    def user(self) -> str | None:
        """Of the image, where the Dockerfile says it."""
        docker = self.parsed
        return docker.user((docker.stage(self.target) if self.target else None) or docker.stages[-1])

    @property
    def ignore_file(self) -> bytes:
        return written(self.ignore)

    @property
    def source_digest(self) -> str:
        """The SHA-256 of all that decides about the image: the same source gives the same."""
        whole = hashlib.sha256(b"trainyard source 1\n")
        whole.update(self.context_digest.encode())
        parts = [self.dockerfile, list(self.build_args), self.target, self.platform, self.bases, sorted(self.secret_names)]
        whole.update(json.dumps(parts).encode())
        for name, data in sorted(self.files):
            whole.update(json.dumps([name, hashlib.sha256(data).hexdigest()]).encode())
        return whole.hexdigest()

    @property
    def attempt_key(self) -> str:
        """Two attempts with the same key would end in the same way."""
        return hashlib.sha256(json.dumps([self.source_digest, self.options, self.secrets]).encode()).hexdigest()

    @property
    def secret_names(self) -> list[str]:
        return [part.partition("=")[2] for each in self.secrets for part in each.split(",") if part.startswith("id=")]
