"""A checkpoint folder as it lies on disk: find it, read its small files, tell what each name in it is."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trainyard_shell as shell
from checkpoint_folder.holder import Holder, read_holder
from checkpoint_folder.words import shown
from whose import reason
from checkpoint_format import LATEST, LOCK, OWN_FILES, TIERS, Entry, committed, read_tiers, scan, step_of

MARKS = ("runner.json", "run.json", "steps.jsonl", "runner-spec.json")
"""A folder with one of these is a run folder; its checkpoints are in checkpoints/."""


@dataclass(frozen=True)
class CheckpointFolder:
    """One look at a folder: names, manifests and sizes; no shard has been read."""

    root: Path
    entries: list[Entry]
    tiers: dict[str, Any] | None
    """tiers.json, None where it is missing or no such file."""
    pointer: str | None
    """What `latest` says, None where there is none."""
    holder: Holder

    @property
    def steps(self) -> list[Entry]:
        """Everything with a step's name, damaged or not, oldest first."""
        return [entry for entry in self.entries if entry.kind == "step"]

    @property
    def committed(self) -> list[Entry]:
        """Steps whose manifest verifies and whose files have their sizes, oldest first."""
        return committed(self.entries)

    def entry_of(self, step: int) -> Entry:
        """The entry of a step; SkillError `not-found` that names the steps there are."""
        for entry in self.steps:
            if step_of(entry.name) == step:
                return entry
        there = ", ".join(str(step_of(entry.name)) for entry in self.steps[-5:]) or "none"
        raise shell.SkillError(
            "not-found",
            f"no step {step} in {self.root}; the newest there: {there}",
            hint=f"manage_checkpoints.py list {self.root}",
        )


def locate(text: str) -> Path:
    """The checkpoint folder that FOLDER names: itself, or checkpoints/ in a run folder. SkillError says what it is instead."""
    path = Path(text)
    try:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            hint = (
                f"this verb takes Trainyard's checkpoint folders; manage_checkpoints.py inspect {shown(text)} says what the file is, "
                "`tensors` and `convert` read it"
            )
            raise shell.SkillError("not-found", f"{shown(text)} is a file, not a folder", hint=hint)
        names = {entry.name for entry in os.scandir(path)}
        if "checkpoints" in names and not _is_checkpoint_folder(names) and (path / "checkpoints").is_dir():
            path, names = path / "checkpoints", {entry.name for entry in os.scandir(path / "checkpoints")}
    except FileNotFoundError:
        hint = "give the folder that holds step_00000000 or so, or its run folder"
        raise shell.SkillError("not-found", f"no folder {shown(text)}", hint=hint) from None
    except PermissionError as error:
        said = f"{shown(text)} cannot be read: {reason(error)}"
        raise shell.SkillError("permission", said, hint=f"ls -ld {shown(text)}") from error
    except (OSError, ValueError) as error:  # a name too long, a NUL in it, a disk that fails
        raise shell.SkillError("not-found", f"{shown(text)} cannot be used: {error}", hint="check the path") from error
    if names and not _is_checkpoint_folder(names):
        mark = next((mark for mark in MARKS if mark in names), None)
        what = (
            f"a run folder ({mark}) without checkpoints yet"
            if mark
            else "not a checkpoint folder: no step, latest or lock.json in it"
        )
        hint = (
            f"give the folder that holds step_00000000 or so; manage_checkpoints.py inspect {shown(text)} says what this one is"
        )
        raise shell.SkillError("not-found", f"{shown(text)} is {what}", hint=hint)
    return path


def _is_checkpoint_folder(names: set[str]) -> bool:
    """Empty folders count: a run that has not saved yet looks like that."""
    return bool(names & OWN_FILES) or any(step_of(name.partition(".")[0]) is not None for name in names)


def is_ours(folder: str) -> bool:
    """Is it a checkpoint folder, or would `list` say more about it? A run folder, a folder of steps, or an empty one."""
    try:
        names = set(os.listdir(folder))
    except OSError:
        return True
    if not names or {TIERS, LOCK} & names or any(step_of(name.partition(".")[0]) is not None for name in names):
        return True
    return bool(set(MARKS) & names)


def look(text: str) -> CheckpointFolder:
    """Find the folder and read its names, manifests and small files. SkillError when it cannot be read."""
    root = locate(text)
    try:
        return CheckpointFolder(root, scan(root), read_tiers(root), read_pointer(root), read_holder(root))
    except OSError as error:  # a disk or a server that fails says nothing about the checkpoints
        code = "permission" if isinstance(error, PermissionError) else "unreachable"
        raise shell.SkillError(
            code, f"{shown(str(root))} cannot be read: {reason(error)}", hint=f"ls -la {shown(str(root))}"
        ) from error


def read_pointer(root: Path) -> str | None:
    """The line in `latest`; None when there is none, or none that could be a name."""
    path = root / LATEST
    try:
        if not path.is_file() or path.stat().st_size > 255:
            return None
        return path.read_text(encoding="utf-8", errors="replace").strip() or None
    except OSError:
        return None
