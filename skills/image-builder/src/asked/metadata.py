"""pyproject.toml: what it asks for, with the line; and how a Python file is read as a tree."""

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
from packaging.utils import canonicalize_name

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
    """The list is computed by a program, so what it holds is unknown."""
    groups: list[str] = field(default_factory=list)
    """Those of `extras` that are dependency groups (PEP 735)."""
    files: list[str] = field(default_factory=list)
    """Requirement files that it takes its list from."""
    commands: bool = False
    """Whether the project has commands of its own, which exist only when it is installed."""
    torch_indexes: dict[str, str] = field(default_factory=dict)
    """Extra ("" for all) -> the index that uv takes torch from."""

    @property
    def asks(self) -> bool:
        """Whether it has a list, be it one that is not known."""
        return bool(self.wants or self.files or self.computed)


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
    poetry = _table(tool, "poetry")
    found.name = text_of(project.get("name")) or text_of(poetry.get("name"))
    found.commands = bool(_table(project, "scripts") or _table(poetry, "scripts"))
    requirements(found, project.get("dependencies"), found.wants, text)
    for extra, lines in _table(project, "optional-dependencies").items():
        requirements(found, lines, found.extras.setdefault(str(extra), []), text)
    for group, lines in _table(document, "dependency-groups").items():
        requirements(found, lines, found.extras.setdefault(str(group), []), text)
        found.groups.append(str(group))
    dynamic(found, _table(_table(_table(tool, "setuptools"), "dynamic"), "dependencies").get("file"))
    hatch = _table(_table(_table(tool, "hatch"), "metadata"), "hooks")
    dynamic(found, _table(hatch, "requirements_txt").get("files"))
    found.python = text_of(project.get("requires-python"))
    _poetry(found, _table(poetry, "dependencies"), text)
    found.python_line = line_of(text, "requires-python") if "requires-python" in text else line_of(text, "python =")
    _indexes(found, _table(tool, "uv"), poetry, text)
    return found


def dynamic(found: Metadata, files: Any) -> None:
    """`file = "requirements.txt"`, or a list of names."""
    found.files += texts(files)


def _indexes(found: Metadata, uv: dict[str, Any], poetry: dict[str, Any], text: str) -> None:
    """The indexes that every package may come from, and the ones of torch alone: `[tool.uv.sources]` may tie them to an extra."""
    rows = [each for part in (uv.get("index"), poetry.get("source")) if isinstance(part, list) for each in part]
    rows = [each for each in rows if isinstance(each, dict) and isinstance(each.get("url"), str)]
    named = {each["name"]: each["url"] for each in rows if isinstance(each.get("name"), str)}
    open_ = [
        each["url"] for each in rows if not each.get("explicit") and each.get("priority") not in ("explicit", "supplemental")
    ]
    open_ += [url for key in ("index-url", "extra-index-url") for url in texts(uv.get(key))]
    found.indexes = [(url, Place(found.file, line_of(text, url))) for url in open_]
    sources = _table(uv, "sources").get("torch")
    for each in sources if isinstance(sources, list) else [sources]:
        if not isinstance(each, dict) or re.search(r"darwin|win32|Windows|Darwin", str(each.get("marker") or "")):
            continue
        if url := named.get(str(each.get("index"))):
            found.torch_indexes.setdefault(str(each.get("extra") or each.get("group") or ""), url)


def texts(value: Any) -> list[str]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _table(value: dict[str, Any], name: str) -> dict[str, Any]:
    inside = value.get(name)
    return inside if isinstance(inside, dict) else {}


def text_of(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def requirements(found: Metadata, lines: Any, into: list[Want], text: str) -> None:
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
        if isinstance(value, dict) and isinstance(value.get("git"), str):
            at = next((f"@{value[key]}" for key in ("rev", "tag", "branch") if isinstance(value.get(key), str)), "")
            requirements(found, [f"{name} @ git+{value['git']}{at}"], found.wants, text)
            continue
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
