"""What the image starts, and which Python it has: found in the project, each with the reason."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from asked.metadata import parsed
from asked.versions import specifiers
from image_project import Project

USUAL = ("train.py", "main.py", "run.py", "src/train.py", "src/main.py", "scripts/train.py", "finetune.py", "pretrain.py")
PYTHONS = ("3.12", "3.11", "3.13", "3.10", "3.14")
"""In the order of preference: what most packages have wheels for comes first."""
MAX_FILES = 200


@dataclass(frozen=True)
class Found:
    """An answer and why."""

    value: str | None
    reason: str


def entry_point(project: Project) -> Found:
    """A Python file, relative to the folder; None where several could be meant."""
    for name in USUAL:
        if name in project.files:
            return Found(name, f"{name} is there")
    programs = [name for name in project.files[:MAX_FILES] if name.endswith(".py") and _is_program(project, name)]
    training = [name for name in programs if "train" in name.rpartition("/")[2]]
    for found, why in (
        (training, "the only program with `train` in its name"),
        (programs, "the only file with `if __name__ == '__main__'`"),
    ):
        if len(found) == 1:
            return Found(found[0], f"{found[0]} is {why}")
    told = f"{len(programs)} files could be meant: {', '.join(programs[:4])}" if programs else "no Python file is a program"
    return Found(None, told)


def _is_program(project: Project, name: str) -> bool:
    if re.search(r"(?:^|/)(?:tests?|docs?|examples?|setup\.py|conftest\.py)(?:/|$)", name):
        return False
    text = project.folder.text(name)
    tree = parsed(project.folder, name, text) if text and "__main__" in text else None
    return any(isinstance(node, ast.If) and "__name__" in ast.dump(node.test) for node in tree.body) if tree else False


def python_version(project: Project) -> Found:
    """`3.12`: what .python-version, requires-python or conda's environment says; else what most packages have wheels for."""
    said = project.folder.text(".python-version")
    if said and (match := re.match(r"\s*(?:cpython-)?(3\.\d{1,2})", said)):
        return Found(match[1], f".python-version:1 asks for {match[1]}")
    for each in project.named("python"):
        if match := re.search(r"==(3\.\d{1,2})", str(each.allowed)):
            return Found(match[1], f"{each.place} asks for it")
    for metadata in project.metadata:
        allowed = specifiers(metadata.python) if metadata.python else None
        if allowed is not None:
            fits = next((each for each in PYTHONS if any(allowed.contains(f"{each}.{patch}") for patch in (0, 9, 99))), None)
            if fits:
                return Found(fits, f"{metadata.file}:{metadata.python_line} takes {metadata.python}, and {fits} fits")
    return Found(PYTHONS[0], "the project does not say; most packages have wheels for it")
