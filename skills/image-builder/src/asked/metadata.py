"""pyproject.toml, uv.lock and setup.py: what they ask for, with the line. setup.py is read as a tree and never run."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import dataclass, field
from typing import Any

import trainyard_files
from asked.files import Folder, line_of
from asked.versions import specifiers
from asked.wants import NoRequirement, Place, Want, want
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

LOCKED = re.compile(
    r'^\[\[package\]\]\nname = "([^"\n]{1,200})"\nversion = "([^"\n]{1,200})"\n(?:source = (\{[^\n]*\})\n)?', re.MULTILINE
)
MAX_LOCK_BYTES = 8 << 20
INDEX = re.compile(r"https?://[^\s\"']+")


@dataclass
class Metadata:
    """What one file says."""

    file: str
    name: str | None = None
    wants: list[Want] = field(default_factory=list)
    extras: dict[str, list[Want]] = field(default_factory=dict)
    python: str | None = None
    """Specifier of the Python versions."""
    python_line: int = 1
    indexes: list[tuple[str, Place]] = field(default_factory=list)
    wrong: list[tuple[Place, str]] = field(default_factory=list)
    computed: bool = False
    """setup.py: the list is computed, so what it holds is unknown."""


def pyproject(folder: Folder, name: str = "pyproject.toml") -> Metadata | None:
    """None where there is none; one that is no TOML is noted in the folder."""
    text = folder.text(name)
    if text is None:
        return None
    try:
        trainyard_files.check_nesting(text.encode())
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, trainyard_files.Unusable, RecursionError, ValueError) as error:
        folder.refuse(name, f"it is not TOML: {error}")
        return None
    found = Metadata(name)
    project, tool = _table(document, "project"), _table(document, "tool")
    found.name = _text(project.get("name"))
    _requirements(found, project.get("dependencies"), found.wants, text)
    for extra, lines in _table(project, "optional-dependencies").items():
        _requirements(found, lines, found.extras.setdefault(str(extra), []), text)
    found.python = _text(project.get("requires-python"))
    _poetry(found, _table(_table(tool, "poetry"), "dependencies"), text)
    found.python_line = line_of(text, "requires-python") if "requires-python" in text else line_of(text, "python =")
    found.indexes = [
        (url, Place(name, line_of(text, url))) for url in INDEX.findall(text) if re.search(r"/(?:whl|simple)(?:/|$)", url)
    ]
    return found


def _table(value: dict[str, Any], name: str) -> dict[str, Any]:
    inside = value.get(name)
    return inside if isinstance(inside, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _requirements(found: Metadata, lines: Any, into: list[Want], text: str) -> None:
    for line in lines if isinstance(lines, list) else []:
        if isinstance(line, str):
            place = Place(found.file, line_of(text, line[:80].partition('"')[0]))
            try:
                into.append(want(line, place))
            except NoRequirement as error:
                found.wrong.append((place, str(error)))


def _poetry(found: Metadata, lines: dict[str, Any], text: str) -> None:
    """`torch = "^2.4"`, or a table with `version`; `python` is the interpreter."""
    start = line_of(text, "[tool.poetry.dependencies]")
    for name, value in lines.items():
        said = value.get("version") if isinstance(value, dict) else value
        if not isinstance(said, str) or not re.fullmatch(r"[A-Za-z0-9._-]{1,200}", name):
            continue
        allowed = specifiers(caret(said))
        if name == "python":
            found.python = found.python or (str(allowed) if allowed is not None else None)
        elif allowed is not None:
            place = Place(found.file, line_of(text, name, start))
            found.wants.append(Want(canonicalize_name(name), name, place, allowed, text=said))


def caret(text: str) -> str:
    """Poetry's `^1.2` and `~1.2` as PEP 440 has them; a bare version is exact."""
    parts = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        match = re.fullmatch(r"([\^~])?\s*(\d+(?:\.\d+)*)", part)
        if part == "*":
            continue
        if not match:
            parts.append(part)
        elif match[1]:
            numbers = [int(number) for number in match[2].split(".")]
            keep = (
                next((i for i, number in enumerate(numbers) if number), len(numbers) - 1)
                if match[1] == "^"
                else min(1, len(numbers) - 1)
            )
            parts.append(f">={match[2]},<{'.'.join(map(str, [*numbers[:keep], numbers[keep] + 1]))}")
        else:
            parts.append(f"=={match[2]}")
    return ",".join(parts)


def lock(folder: Folder, name: str = "uv.lock") -> list[Want]:
    """The versions that uv has chosen. It writes the file itself, so its lines are as regular as these patterns."""
    text = folder.text(name, MAX_LOCK_BYTES)
    found = []
    at, line = 0, 1
    for match in LOCKED.finditer((text or "").replace("\r\n", "\n")):
        line += (text or "").count("\n", at, match.start())
        at = match.start()
        allowed = specifiers(f"=={match[2]}")
        if allowed is not None and "virtual" not in (match[3] or "") and "editable" not in (match[3] or ""):
            url = next(iter(INDEX.findall(match[3] or "")), "")
            place = Place(name, line + 1)
            found.append(
                Want(canonicalize_name(match[1]), match[1], place, allowed, text=match[2], indexes=(url,) if url else ())
            )
    return found


def setup_py(folder: Folder, name: str = "setup.py") -> Metadata | None:
    """`install_requires` and `python_requires` where they are written out, or a name at the top of the file is."""
    text = folder.text(name)
    if text is None:
        return None
    tree = parsed(folder, name, text)
    if tree is None:
        return None
    known = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = Metadata(name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "setup":
            for keyword in node.keywords:
                value = known.get(keyword.value.id, keyword.value) if isinstance(keyword.value, ast.Name) else keyword.value
                _keyword(found, keyword.arg, value)
    return found


def _keyword(found: Metadata, name: str | None, value: ast.expr) -> None:
    if name == "python_requires" and isinstance(value, ast.Constant):
        found.python, found.python_line = _text(value.value), value.lineno
    elif name == "install_requires" and not isinstance(value, ast.List | ast.Tuple):
        found.computed = True
    elif name == "install_requires" and isinstance(value, ast.List | ast.Tuple):
        for item in value.elts:
            if not isinstance(item, ast.Constant) or not isinstance(item.value, str):
                found.computed = True
                continue
            try:
                found.wants.append(want(item.value, Place(found.file, item.lineno)))
            except NoRequirement as error:
                found.wrong.append((Place(found.file, item.lineno), str(error)))


def parsed(folder: Folder, name: str, text: str) -> ast.Module | None:
    """The tree of a Python file; what is none is noted in the folder."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's file is not ours to report
            return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        folder.refuse(name, f"it is not Python that {ast.__name__} of this Python reads: {error}")
        return None


def allowed_python(text: str | None) -> SpecifierSet | None:
    return specifiers(text) if text else None
