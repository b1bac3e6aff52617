"""Is a checkpoint intact? Every byte is read; sizes alone are `unknown`, never a pass."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder import size_text
from checkpoint_format import DamagedError, Entry, algorithm_for, read_manifest, verify_file

MAX_PROBLEMS = 20


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


def verify(root: Path, entry: Entry, *, quick: bool = False) -> Verdict:
    """Read the manifest and every file it lists. `quick` compares sizes only, so the best answer is `unknown`."""
    folder = root / entry.name
    try:
        manifest = read_manifest(folder)
    except DamagedError as error:
        unreadable = isinstance(error.__cause__, OSError)
        return _gone(folder, Verdict(entry.name, entry.step, "unknown" if unreadable else "fail", problems=(str(error),)))
    answers = [_file(folder / name, listed, quick) for name, listed in sorted(manifest["files"].items())]
    failed = [problem for status, problem, _ in answers if status == "fail"]
    unknown = [problem for status, problem, _ in answers if status == "unknown"]
    status = "fail" if failed else "unknown" if unknown else "pass"
    used = {algorithm for _, _, algorithm in answers if algorithm}
    return _gone(
        folder,
        Verdict(
            name=entry.name,
            step=manifest["step"],
            status=status,
            algorithm=min(used) if used else None,  # crc32 < xxh3_128: the weaker one is the claim
            files=len(answers),
            bytes_read=0 if quick else sum(listed["size"] for listed in manifest["files"].values()),
            problems=tuple(failed + unknown),
        ),
    )


def _file(path: Path, listed: dict[str, Any], quick: bool) -> tuple[str, str, str | None]:
    """(status, problem, algorithm) of one file."""
    try:
        size = path.stat().st_size
        if size != listed["size"]:
            return "fail", f"{path.name}: {size} bytes, the manifest says {listed['size']}", None
        if quick:
            return "unknown", f"{path.name}: only its size was compared", None
        if algorithm_for(listed) is None:
            return "unknown", f"{path.name}: no digest of it that this Python can compute", None
        return "pass", "", verify_file(path, listed)
    except DamagedError as error:
        return "fail", str(error), None
    except FileNotFoundError:
        return "fail", f"{path.name}: missing", None
    except OSError as error:  # not allowed, or the disk fails: that says nothing about the bytes
        return "unknown", f"{path.name}: cannot be read: {error.strerror}", None


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
