"""The verdict on a checkpoint as the verbs print it; checkpoint_judgement decides. Sizes alone are `unknown`, never a pass."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.words import size_text
from checkpoint_format import ANY_RUN, MANIFEST, DamagedError, Entry, Owner, read_manifest
from checkpoint_judgement import judge

MAX_PROBLEMS = 20
STATUS = {"intact": "pass", "damaged": "fail", "unknown": "unknown"}


@dataclass(frozen=True)
class Verdict:
    """The answer for one checkpoint."""

    name: str
    step: int | None
    status: str
    """pass | fail | unknown | skipped (it went away while we looked)"""
    algorithm: str | None = None
    """The weakest digest that was used: xxh3_128 or crc32; None when no byte was compared."""
    files: int = 0
    bytes_read: int = 0
    problems: tuple[str, ...] = ()
    is_ours: bool = True
    """False: no checkpoint of this format, or a step of another run."""

    def row(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "status": self.status,
            "algorithm": self.algorithm,
            "files": self.files,
            "bytes_read": self.bytes_read,
            "problems": list(self.problems[:MAX_PROBLEMS]),
            "name": self.name,
        }

    def check(self) -> shell.Check:
        if self.status == "pass":
            summary = f"{self.files} files, {size_text(self.bytes_read)} read, {self.algorithm} equal"
            return shell.Check(f"checkpoint.{self.name}", "pass", summary)
        summary = self.problems[0] if self.problems else "not compared"
        fix = {
            "fail": "`latest` names the newest one that is intact",
            "unknown": "verify without --quick, as a user who may read it",
        }
        evidence = "; ".join(self.problems[:MAX_PROBLEMS])
        return shell.Check(f"checkpoint.{self.name}", self.status, summary, evidence, fix.get(self.status))

    def warning(self) -> shell.Check:
        """Of a newer step that was passed over: an older one verifies, so the answer is yes."""
        check = self.check()
        return shell.Check(check.id, "warn", check.summary, check.evidence)


def verify(root: Path, entry: Entry, *, quick: bool = False, owner: Owner | None = None) -> Verdict:
    """The judgement of one step. `quick` compares sizes only; `owner` ANY_RUN: the caller named this step, whoever wrote it."""
    folder = root / entry.name
    # mypy takes the copy's Owner for the package's, where that is installed
    found = judge(folder, owner, quick=quick)  # type: ignore[arg-type,unused-ignore]
    files = found.manifest["files"] if found.manifest else {}
    return _gone(
        folder,
        Verdict(
            name=entry.name,
            step=found.manifest["step"] if found.manifest else entry.step,
            status=STATUS[found.status],
            algorithm=found.algorithm,
            files=len(files),
            bytes_read=0 if quick else sum(listed["size"] for listed in files.values()),
            problems=tuple(shell.clean(problem, 400) for problem in found.problems),
            is_ours=found.is_ours,
        ),
    )


def unlisted(folder: Path) -> list[str]:
    """Names in a step's folder that its manifest does not list; [] where the manifest cannot be read."""
    try:
        listed = {*read_manifest(folder, ANY_RUN)["files"], MANIFEST}
        return sorted({entry.name for entry in os.scandir(folder)} - listed)
    except (DamagedError, OSError):
        return []


def _gone(folder: Path, verdict: Verdict) -> Verdict:
    """A run that lives removes what no tier names; a folder that went away while it was read is not damaged."""
    if verdict.status == "pass" or os.path.lexists(folder):
        return verdict
    return Verdict(verdict.name, verdict.step, "skipped", problems=(f"{verdict.name}: removed while it was read",))


def newest_intact(root: Path, steps: Iterable[Entry], *, quick: bool = False) -> tuple[Verdict | None, list[Verdict]]:
    """(the newest step that verifies, those skipped on the way down); with `quick` the newest whose sizes are right."""
    skipped: list[Verdict] = []
    for entry in sorted(steps, key=lambda entry: entry.step or 0, reverse=True):
        verdict = verify(root, entry, quick=quick)
        if verdict.status == "pass" or (quick and verdict.status == "unknown" and verdict.files):
            return verdict, skipped
        skipped.append(verdict)
    return None, skipped
