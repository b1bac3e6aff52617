"""What the image starts, found in the project, with the reason."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass

from asked.imports import ASIDE
from asked.metadata import parsed
from image_project import Project

USUAL = ("train.py", "main.py", "run.py", "src/train.py", "src/main.py", "scripts/train.py", "finetune.py", "pretrain.py")
ELSEWHERE = re.compile(
    r"(?:^|/)(?:extensions?|contrib|third_party|external|tutorials?|evaluat\w*|docker|devtools|agent_\w+|cicd)/"
)
"""Folders whose programs are not what the project is for."""
HELPER = re.compile(r"util|config|args|data|helper|common|tokeniz|tok_|_test|test_|convert|callback|loss")
MAX_FILES = 400


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
    names = [name for name in project.files if name.endswith(".py") and not ASIDE.search(name) and not ELSEWHERE.search(name)]
    names.sort(key=lambda name: (name.count("/"), name))
    programs = [name for name in names[:MAX_FILES] if _is_program(project, name)]
    training = [name for name in programs if _trains(name)]
    highest = [name for name in training if name.count("/") == training[0].count("/") and _is_central(project, name)]
    for found, why in (
        (training, "the only program with `train` in its name"),
        (highest, "the only program with `train` in its name so far up"),
        (programs, "the only file with `if __name__ == '__main__'`"),
    ):
        if len(found) == 1:
            return Found(found[0], f"{found[0]} is {why}")
    programs = training or programs
    told = f"{len(programs)} files could be meant: {', '.join(programs[:4])}" if programs else "no Python file is a program"
    return Found(None, f"{told}; --entry FILE names one")


def _is_central(project: Project, name: str) -> bool:
    """At the top, in a package at the top, or where programs usually lie: not one of many examples."""
    folder = name.rpartition("/")[0]
    return folder in ("", "src", "scripts", "tools") or f"{folder}/__init__.py" in project.files


def _trains(name: str) -> bool:
    """`train_gpt.py`, `my_train/main.py`; no helper such as train_utils.py."""
    folder, _, file = name.rpartition("/")
    if "train" in file or "finetun" in file:
        return not HELPER.search(file)
    return "train" in folder.rpartition("/")[2] and file in ("main.py", "run.py", "__main__.py", "launch.py")


def _is_program(project: Project, name: str) -> bool:
    """With a guard; at the top of the folder a file that says by its name that it trains needs none."""
    text = project.folder.text(name) or ""
    if "/" not in name and _trains(name):
        return True
    tree = parsed(project.folder, name, text) if "__main__" in text else None
    return any(isinstance(node, ast.If) and "__name__" in ast.dump(node.test) for node in tree.body) if tree else False
