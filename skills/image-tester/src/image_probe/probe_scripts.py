"""The entry point compiles and finds what it imports, and each console script has an interpreter and a module behind it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from importlib import metadata

from image_probe.probe_needs import unfound
from image_probe.probe_report import Failed, Report

MAX_SCRIPTS = 2000
SHOWN = 10
MAX_SOURCE_BYTES = 8 << 20


def entry(report: Report, item: dict[str, object]) -> dict[str, object]:
    """The program, script or module that the job starts with: it is there, this Python compiles it, and what it imports is there."""
    program = _program(report, str(item["program"]), str(item["folder"])) if item.get("program") else None
    if not (item.get("module") or item.get("path")):
        return {"program": program}
    path = _module_file(report, str(item["module"])) if item.get("module") else str(item["path"])
    full = os.path.join(str(item["folder"]), path)
    report.step("read " + full)
    try:
        with open(full, "rb") as file:
            source = file.read(MAX_SOURCE_BYTES)
    except FileNotFoundError:
        raise Failed(f"there is no {full} in the image; beside it: {_beside(full)}") from None
    except OSError as error:
        raise Failed(f"{full} cannot be read by user {os.getuid()}: {error.strerror}") from None
    report.step("compile " + full)
    try:
        compile(source, full, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise Failed(f"{full} does not compile with Python {sys.version.split()[0]}: {error}") from None
    report.step("look for what it imports")
    if missing := unfound(full, source, str(item["folder"]) if item.get("module") else os.path.dirname(full)):
        raise Failed("; ".join(missing[:SHOWN]))
    return {"path": full, "bytes": len(source), "program": program}


def _program(report: Report, name: str, folder: str) -> str:
    report.step("look for " + name)
    found = shutil.which(os.path.join(folder, name) if "/" in name else name)
    if found is None:
        raise Failed(f"the job's command begins with {name}, and there is no such program in the image")
    return found


def _module_file(report: Report, name: str) -> str:
    report.step("find module " + name)
    found = importlib.util.find_spec(name)
    if found is None:
        raise Failed(f"there is no module {name} in the image's Python")
    if found.submodule_search_locations is not None:
        found = importlib.util.find_spec(name + ".__main__")
    if found is None or not found.origin or not found.origin.endswith(".py"):
        raise Failed(f"{name} cannot be started with -m: it has no __main__.py")
    return found.origin


def _beside(path: str) -> str:
    folder = os.path.dirname(path)
    while folder and not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    try:
        names = sorted(os.listdir(folder or "/"))[:20]
    except OSError:
        names = []
    return f"{folder}: {', '.join(names) or 'nothing'}"[:500]


def console(report: Report, item: dict[str, object]) -> dict[str, object]:
    """Scripts beside the interpreter: the one in their first line exists, and so does the module of each that metadata names."""
    folder = os.path.join(sys.prefix, "bin")
    report.step("read " + folder)
    wrong, seen = _without_interpreter(folder)
    report.step("look up the modules of console scripts")
    for point in _points():
        module = point.value.partition(":")[0].partition(".")[0].strip()
        seen += 1
        try:
            missing = importlib.util.find_spec(module) is None
        except (ImportError, ValueError):
            missing = True
        if missing:
            wrong.append(f"{point.name}: its module {module} is not there")
    if wrong:
        raise Failed("; ".join(wrong[:20]))
    return {"scripts": seen}


def _without_interpreter(folder: str) -> tuple[list[str], int]:
    wrong: list[str] = []
    seen = 0
    names = sorted(os.listdir(folder))[:MAX_SCRIPTS] if os.path.isdir(folder) else []
    for name in names:
        try:
            with open(os.path.join(folder, name), "rb") as file:
                line = file.readline(512)
        except OSError:
            continue  # a folder, a link to nowhere of a package manager
        if line[:2] == b"#!" and b"python" in line:
            seen += 1
            words = line[2:].decode("utf-8", "replace").split()
            if words and not words[0].endswith("/env") and not os.path.exists(words[0]):
                wrong.append(f"{name}: its interpreter {words[0]} is not there")
    return wrong, seen


def _points() -> list[metadata.EntryPoint]:
    found: list[metadata.EntryPoint] = []
    for each in metadata.distributions():
        found += [point for point in each.entry_points if point.group == "console_scripts"]
    return found[:MAX_SCRIPTS]
