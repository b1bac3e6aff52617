"""test_image.py called as users do, on images that are made of the base image and some files: one layer each, no RUN."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.calling import SKILLS, Answer, call

PROGRAM = SKILLS / "image-tester" / "src" / "test_image.py"
BASE = "python:3.11-slim"


@dataclass
class Images:
    """Images of one Docker, each made when it is first asked for."""

    docker: Any
    folder: Path
    made: set[str] = field(default_factory=set)

    def image(self, name: str, files: Mapping[str, str | bytes], *lines: str, base: str = BASE, copy: str = "COPY . /") -> str:
        """`files` lie at `/` of the image; `lines` are more of its Dockerfile."""
        tag = f"image-tester/{name}:v1"
        if tag not in self.made:
            context = self.folder / name
            for path, content in files.items():
                (context / path).parent.mkdir(parents=True, exist_ok=True)
                raw = content if isinstance(content, bytes) else textwrap.dedent(content).encode()
                (context / path).write_bytes(raw)
                (context / path).chmod(0o755)
            context.mkdir(exist_ok=True)
            dockerfile = self.folder / f"{name}.Dockerfile"
            dockerfile.write_text("\n".join([f"FROM {base}", *([copy] if files else []), *lines, ""]))
            done = self.docker.build(context, f"--file={dockerfile}", tag=tag)
            assert done.returncode == 0, done.stderr
            self.made.add(tag)
        return tag

    def test(self, image: str, *words: object, **more: Any) -> Answer:
        """`test_image.py run`."""
        return self.call("run", image, *words, **more)

    def call(self, *words: object, **more: Any) -> Answer:
        return call(PROGRAM, *words, env=self.docker.environment(), **{"timeout_s": 170, **more})

    def containers(self) -> list[str]:
        """Ids of all containers of this skill."""
        return self.docker.run("ps", "-aq", "--filter", "label=trainyard.dev/skill=image-tester").stdout.split()


def site(
    name: str, version: str = "1.0", *, module: str = "", scripts: str = "", files: Mapping[str, str] | None = None
) -> dict[str, str]:
    """A distribution in /opt/site with one module of its own name, or of `module`'s text."""
    own = name.replace("-", "_")
    info = f"opt/site/{own}-{version}.dist-info"
    found = {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"opt/site/{own}.py": module or "VALUE = 1\n",
    }
    found[f"{info}/RECORD"] = f"{own}.py,,\n" + "".join(f"{each},,\n" for each in files or {})
    if scripts:
        found[f"{info}/entry_points.txt"] = f"[console_scripts]\n{scripts}\n"
    return {**found, **{f"opt/site/{path}": text for path, text in (files or {}).items()}}


def statuses(answer: Answer) -> dict[str, str]:
    return {each["id"]: each["status"] for each in answer.document["checks"]}
