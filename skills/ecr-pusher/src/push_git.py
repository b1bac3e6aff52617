"""What git says of a project: read only, no hooks, no pager, no question, within a deadline.

`safe.directory` stays as the user has it: git itself refuses a folder of another user.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import trainyard_shell as shell

DEADLINE_S = 20.0
MAX_ANSWER_BYTES = 1 << 20
QUIET = ("--no-pager", "-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "core.pager=cat")
ELSEWHERE = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY")
OR_NAME_IT = "name the tag: --tag 1.4.0"


@dataclass(frozen=True)
class Commit:
    """What is checked out."""

    sha: str
    branch: str | None
    """None: no branch is checked out."""
    tags: tuple[str, ...]
    """That point at it, the newest version last."""
    dirty: bool
    """Whether files differ from it, or are not known to git and not ignored."""


def commit(folder: str) -> Commit:
    """Of the project in `folder`. Raises SkillError dependency (no git), usage (no repository, no commit), timeout."""
    if not Path(folder).is_dir():
        raise shell.SkillError("usage", f"--project {folder!r} is not a folder", hint="the folder of the project")
    program = shutil.which("git")
    if program is None:
        raise shell.SkillError("dependency", "there is no program git on this machine", hint=f"install git, or {OR_NAME_IT}")
    code, sha, said = _git(program, folder, "rev-parse", "--verify", "--quiet", "HEAD^{commit}")
    if code:
        raise shell.SkillError("usage", _why_not(program, folder, said), hint=f"--project FOLDER with its git, or {OR_NAME_IT}")
    code, branch, _ = _git(program, folder, "symbolic-ref", "--quiet", "--short", "HEAD")
    _, tags, _ = _git(program, folder, "tag", "--points-at", "HEAD", "--sort=version:refname")
    status, changes, said = _git(
        program, folder, "status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=dirty"
    )
    if status:
        raise shell.SkillError("usage", f"git status failed: {said}", hint=OR_NAME_IT)
    return Commit(sha.strip(), branch.strip() if not code else None, tuple(tags.split()), bool(changes.strip()))


def _why_not(program: str, folder: str, said: str) -> str:
    code, _, why = _git(program, folder, "rev-parse", "--git-dir")
    if code == 0:
        return f"{folder} has no commit yet"
    if "dubious ownership" in why:
        return f"git refuses {folder}: it belongs to another user (git config safe.directory)"
    return f"{folder} is not a git project: {why or said}"


def _git(program: str, folder: str, *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr), both bounded."""
    # A hook of git has GIT_DIR set, to its own project.
    env = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    env |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            done = subprocess.run(
                [program, *QUIET, "-C", folder, *words],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env=env,
                timeout=DEADLINE_S,
            )
        except subprocess.TimeoutExpired as error:
            message = f"`git {words[0]}` in {folder} did not end within {DEADLINE_S:g} s"
            raise shell.SkillError("timeout", message, hint=OR_NAME_IT, retryable=True) from error
        except OSError as error:
            raise shell.SkillError(
                "dependency", f"{program} cannot be started: {error.strerror or error}", hint=OR_NAME_IT
            ) from error
        return done.returncode, _read(out), shell.clean(_read(err).strip(), 300)


def _read(file: object) -> str:
    file.seek(0)  # type: ignore[attr-defined]
    return str(file.read(MAX_ANSWER_BYTES).decode(errors="replace"))  # type: ignore[attr-defined]


def sanitised(text: str) -> str:
    """The text as part of a tag: what the grammar does not allow becomes a dash."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip(".-") or "project"
