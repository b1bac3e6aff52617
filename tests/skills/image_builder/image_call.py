"""The two programs of image-builder, called as users do, on project folders made here."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.calling import SKILLS, Answer, call

SRC = SKILLS / "image-builder" / "src"
ANALYZER, SELECTOR = SRC / "conflict_analyzer.py", SRC / "base_image_selector.py"
DAY = ("--as-of", "2026-11-29")
"""The tables are of that day; what they say of ends of patch holds on it."""


def project(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return folder


def check(folder: Path, *words: object) -> Answer:
    return call(ANALYZER, "check", folder, *DAY, *words, timeout_s=60)


def select(folder: Path, *words: object) -> Answer:
    return call(SELECTOR, "select", folder, *DAY, *words, timeout_s=60)


def severities(answer: Answer) -> dict[str, str]:
    """Id -> severity of what was found; the worst of each."""
    return {each["id"]: each["severity"] for each in reversed(answer.data["findings"])}


def statuses(answer: Answer) -> set[tuple[str, str]]:
    return {(each["id"], each["status"]) for each in answer.document["checks"]}


def module(name: str) -> object:
    """A module of the skill, for what is asked thousands of times."""
    sys.path.insert(0, str(SRC))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(SRC))
