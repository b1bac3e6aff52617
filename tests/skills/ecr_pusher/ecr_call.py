"""push_image.py as a user calls it, and what the registry has afterwards, asked by another client."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.calling import SKILLS, Answer, call
from tests.components.aws.running import Aws

PROGRAM = SKILLS / "ecr-pusher" / "src" / "push_image.py"


@dataclass
class Pusher:
    aws: Aws
    folder: Path
    scratch: Path
    env: dict[str, str] = field(default_factory=dict)
    """On top of the root's."""

    def environment(self) -> dict[str, str]:
        return {**self.aws.environment, "TMPDIR": str(self.scratch), **self.env}

    def call(self, *words: object, **env: str) -> Answer:
        return call(PROGRAM, *words, env=self.environment() | env, cwd=self.folder)

    def start(self, *words: object) -> subprocess.Popen[str]:
        """In the background."""
        command = [sys.executable, str(PROGRAM), *map(str, words)]
        env = {**os.environ, **self.environment()}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            command, env=env, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )

    def ecr(self, region: str | None = None) -> Any:
        return self.aws.client("ecr", region)

    def tagged(self, name: str, region: str | None = None) -> dict[str, str]:
        """Tag -> digest, as DescribeImages has it."""
        images = self.ecr(region).describe_images(repositoryName=name)["imageDetails"]
        return {tag: each["imageDigest"] for each in images for tag in each.get("imageTags", [])}

    def forget_blob(self, digest: str) -> None:
        """The registry's storage loses a blob behind everybody's back."""
        for link in self.stored(f"blobs/**/_layers/sha256/{digest[7:]}/link"):
            link.unlink()

    def spoil_blob(self, digest: str) -> None:
        """Its last byte is another one."""
        for data in self.stored(f"blobs/**/sha256/{digest[7:9]}/{digest[7:]}/data"):
            content = data.read_bytes()
            data.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    def stored(self, pattern: str) -> Iterator[Path]:
        """Files of the registry's storage."""
        mark = f"TRAINYARD_TEST_SESSION={os.environ['TRAINYARD_TEST_SESSION']}".encode()
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                words = (process / "cmdline").read_bytes().decode().split("\0")
                if words[:2] == ["docker-registry", "serve"] and mark in (process / "environ").read_bytes():
                    yield from Path(words[2]).parent.glob(pattern)

    def requests(self, action: str) -> int:
        """Calls of one action since the reset."""
        return sum(each["action"] == action for each in self.aws.actions())
