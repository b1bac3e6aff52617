"""uv, asked once within a deadline: what it is told, and what may not happen (it builds nothing and downloads no Python)."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import trainyard_shell as shell


FIXED = "pip compile - --quiet --color never --no-header --no-annotate --no-build --no-python-downloads"


class Answer(NamedTuple):
    """Of uv."""

    code: int | None
    """None: the time was over."""
    said: str
    complaint: str


@dataclass
class Asker:
    """uv with a deadline."""

    python: str
    platform: str
    deadline: float
    calls: int = 0

    def compile(
        self, lines: list[str], limits: list[str], options: list[str], excluded: set[str], indexes: tuple[str, ...]
    ) -> Answer:
        """Constraints hold for what is installed, and install nothing. What the disk refuses is a complaint too."""
        self.calls += 1
        try:
            return self._compile(lines, limits, options, excluded, indexes)
        except subprocess.TimeoutExpired:
            return Answer(None, "", "")
        except OSError as error:
            return Answer(1, "", f"{program()}: {error}")

    def _compile(
        self, lines: list[str], limits: list[str], options: list[str], excluded: set[str], indexes: tuple[str, ...]
    ) -> Answer:
        with tempfile.TemporaryDirectory(prefix="trainyard-resolve-") as place:
            words = [program() or "uv", *FIXED.split(), "--python", sys.executable]
            words += ["--python-version", self.python, "--python-platform", self.platform, *options]
            for option, content in (("--excludes", sorted(excluded)), ("--constraints", limits)):
                if content:
                    (Path(place) / f"{option[2:]}.txt").write_text("\n".join(content))
                    words += [option, f"{option[2:]}.txt"]
            # Addresses of indexes may hold passwords: they go by the environment, which others cannot read.
            env = {**os.environ, "UV_HTTP_TIMEOUT": "10", "UV_HTTP_RETRIES": "1"}
            env |= {"UV_INDEX": " ".join((*env.get("UV_INDEX", "").split(), *indexes))} if indexes else {}
            left_s = max(0.1, self.deadline - time.monotonic())
            asked = "\n".join(lines).encode()
            done = subprocess.run(words, cwd=place, env=env, input=asked, capture_output=True, timeout=left_s)
        return Answer(done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))


def program() -> str | None:
    """uv of this Python's environment, else of PATH."""
    beside = Path(sys.executable).parent / "uv"
    return str(beside) if beside.is_file() else shutil.which("uv")


def platform_of(glibc: str | None) -> str:
    """uv knows 2.17 and 2.28 to 2.40; Amazon Linux 2023, the newest of the table's images, has 2.34."""
    if glibc == "musl":
        return "x86_64-unknown-linux-musl"
    minor = int((glibc or "2.34").partition(".")[2])
    return f"x86_64-manylinux_2_{min(minor, 40) if minor >= 28 else 17}"


def told(text: str, limit: int) -> str:
    """uv's words on one line, without what an address may hold before its @."""
    return shell.clean(re.sub(r"//[^/@\s]+@", "//", " ".join(text.split())), limit)
