"""What a script imports at its top level is there; nothing of it is run. Its own modules are read too: those in its folder.

Left out is what may well be missing: imports below `try`, `if` or `def`, and scripts that say themselves where modules lie.
"""

from __future__ import annotations

import ast
import glob
import importlib.util
import os
from collections.abc import Iterator

MAX_FILES, MAX_SOURCE_BYTES = 300, 1 << 20
ELSEWHERE = (b"sys.path", b"meta_path", b"addsitedir", b"sys.modules")


def unfound(path: str, source: bytes, folder: str) -> list[str]:
    """`FILE:LINE: No module named 'NAME'` for each module that `path`, or a module of `folder` behind it, asks for in vain."""
    seen, waiting, missing = {path}, [(path, source)], []
    while waiting:
        file, text = waiting.pop()
        if any(word in text for word in ELSEWHERE):
            return []
        for name, line, base in _imported(text, file):
            there = _file_of(name, base, folder)
            if there is None:
                missing.append(f"{file}:{line}: No module named '{name}'")
            elif there and there not in seen and len(seen) < MAX_FILES:
                seen.add(there)
                waiting.append((there, _read(there)))
    return missing


def _imported(source: bytes, path: str) -> Iterator[tuple[str, int, str]]:
    """Name, line, and for a relative import the folder that it begins in."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError, RecursionError):
        return
    for node in body:
        if isinstance(node, ast.Import):
            for each in node.names:
                yield each.name, node.lineno, ""
        elif isinstance(node, ast.ImportFrom) and node.module:
            base = path
            for _ in range(node.level):
                base = os.path.dirname(base)
            yield node.module, node.lineno, base if node.level else ""


def _file_of(name: str, base: str, folder: str) -> str | None:
    """The file of a module of `folder`, "" for one of somebody else, None where there is none."""
    first, *rest = name.split(".")
    if base:
        return _below(base, [first, *rest])
    try:
        found = importlib.util.find_spec(first)
    except (ImportError, ValueError, AttributeError):
        return ""
    if found is None:
        return None
    places = list(found.submodule_search_locations or [])
    own = [each for each in (places or [found.origin or ""]) if os.path.dirname(each) == folder]
    if not own or len(places) > 1:
        return ""
    return _below(folder, [first, *rest]) if rest else found.origin if str(found.origin).endswith(".py") else ""


def _below(folder: str, names: list[str]) -> str | None:
    """As the import system finds it: a package, a module, one that is compiled, a folder."""
    stem = os.path.join(folder, *names)
    for each in (os.path.join(stem, "__init__.py"), stem + ".py"):
        if os.path.isfile(each):
            return each
    return "" if os.path.isdir(stem) or glob.glob(glob.escape(stem) + ".*") else None


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(MAX_SOURCE_BYTES)
    except OSError:
        return b""
