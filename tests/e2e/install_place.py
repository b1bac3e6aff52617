"""A checkout with two small skills in a path with spaces, and an empty home folder: where the tests of install.sh run it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DEADLINE_S = 300
ASSISTANTS = {
    "opencode": ".config/opencode/skills",
    "claude": ".claude/skills",
    "codex": ".agents/skills",
    "cursor": ".cursor/skills",
    "copilot": ".copilot/skills",
    "gemini": ".gemini/skills",
    "kiro": ".kiro/skills",
}


@dataclass(frozen=True)
class Place:
    """A checkout with two skills and a folder that is none, and an empty home."""

    checkout: Path
    home: Path

    def install(self, *options: str, cwd: str = "/", **environment: str) -> subprocess.CompletedProcess[str]:
        inherited = {key: value for key, value in os.environ.items() if key not in ("XDG_CONFIG_HOME", "PYTHON")}
        return subprocess.run(
            [str(self.checkout / "install.sh"), *options],
            cwd=cwd,
            env={**inherited, "HOME": str(self.home), "PYTHON": sys.executable, **environment},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def folders(self) -> list[Path]:
        return [self.home / name for name in (".config/opencode/skills", ".claude/skills", ".agents/skills")]

    def links(self) -> dict[str, Path]:
        return {f"{folder.parent.name}/{link.name}": link.resolve() for folder in self.folders() for link in folder.glob("*")}

    def everything(self) -> set[str]:
        """But the commands, which test_command.py is about."""
        there = (str(path.relative_to(self.home)) for path in self.home.rglob("*"))
        return {name for name in there if not name.startswith((".local", ".config/opencode/command"))}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    checkout, home = tmp_path / "a check out", tmp_path / "the home"
    for skill in ("local-runner", "monitor"):
        (checkout / "skills" / skill).mkdir(parents=True)
        (checkout / "skills" / skill / "SKILL.md").write_text("a skill\n")
        (checkout / "skills" / skill / "src").mkdir()
        (checkout / "skills" / skill / "src" / "the program.py").write_text("print('hello')\n")
    (checkout / "skills" / "kit").mkdir()
    for name in ("install", "commands"):
        shutil.copytree(ROOT / name, checkout / name)
    for name in ("install.sh", "constraints.txt"):
        shutil.copy(ROOT / name, checkout / name)
    home.mkdir()
    return Place(checkout, home)
