"""The programs of image-builder, called as users do, on project folders made here."""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

from tests.calling import SKILLS, Answer, call

SRC = SKILLS / "image-builder" / "src"
ANALYZER, SELECTOR = SRC / "conflict_analyzer.py", SRC / "base_image_selector.py"
BUILDER, SMOKE = SRC / "build_image.py", SRC / "smoke_test.py"
DAY = ("--as-of", "2026-11-29")
"""The tables are of that day; what they say of ends of patch holds on it."""


def project(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return folder


def check(folder: Path, *words: object) -> Answer:
    """By the tables alone."""
    return call(ANALYZER, "check", folder, "--offline", *DAY, *words, timeout_s=60)


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


def build(*words: object, env: Mapping[str, str], timeout_s: float = 300) -> Answer:
    """build_image.py with FOLDER first, its logs and caches beside that; `env` says where the engine is."""
    return call(BUILDER, "build", *words, env={**own_places(Path(str(words[0])).parent), **env}, timeout_s=timeout_s)


def own_places(folder: Path) -> dict[str, str]:
    """Where the program keeps logs, what it knows of files, and its own copies while it builds."""
    (folder / "tmp").mkdir(exist_ok=True)
    places = {"XDG_STATE_HOME": "state", "XDG_CACHE_HOME": "cache", "TMPDIR": "tmp"}
    return {name: str(folder / place) for name, place in places.items()}


def wheel(folder: Path, name: str, version: str = "1.0", requires: tuple[str, ...] = ()) -> Path:
    """A wheel with an empty module."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    head = f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: {version}\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", "")
        archive.writestr(f"{about}/METADATA", head + "".join(f"Requires-Dist: {each}\n" for each in requires))
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", f"{name}.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    return path
