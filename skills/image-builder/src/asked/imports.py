"""Imports of a project's own files, read as trees: what it needs where it declares nothing, and which of its files hide a package."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

from asked.files import Folder
from asked.metadata import parsed
from image_tables import table
from asked.wants import Place, Want, want

MAX_FILES = 400
ASIDE = re.compile(r"(?:^|/)(?:\.[^/]+|tests?|docs?|examples?|benchmarks?|setup\.py|conftest\.py|noxfile\.py)(?:/|$)")
"""What an image's job does not run."""
TORCH = re.compile(r"^[ \t]*(?:import|from)[ \t]+torch\b", re.MULTILINE)


def imported(folder: Folder, files: Iterable[str]) -> list[Want]:
    """A want without versions for each package that the project's Python files import, at the first place that does."""
    files = [name for name in files if name.endswith(".py")]
    found: dict[str, Want] = {}
    children = _children(files)
    for name in [each for each in files if not ASIDE.search(each)][:MAX_FILES]:
        text = folder.text(name)
        tree = parsed(folder, name, text) if text else None
        own = _own(children, name)
        for module, line in _modules(tree) if tree else ():
            package = table("package_rules")["modules"].get(module, module)
            if module not in own and module not in sys.stdlib_module_names and package:
                found.setdefault(str(package), replace(want(str(package), Place(name, line)), text=""))  # no edit of code
    return [found[name] for name in sorted(found)]


def imports_torch(folder: Folder, files: Iterable[str]) -> str | None:
    """The first file that imports torch; None: no file does."""
    names = [name for name in files if name.endswith(".py") and not ASIDE.search(name)]
    return next((name for name in names[:MAX_FILES] if TORCH.search(folder.text(name) or "")), None)


def _children(files: Iterable[str]) -> dict[str, set[str]]:
    """Folder -> the modules and packages in it."""
    found: dict[str, set[str]] = defaultdict(set)
    for name in files:
        parts = name.split("/")
        for depth, part in enumerate(parts):
            found["/".join(parts[:depth])].add(part.removesuffix(".py"))
    return found


def _own(children: dict[str, set[str]], importer: str) -> set[str]:
    """Modules of the project that this file finds: those beside it, above it, and in src/."""
    parts = importer.split("/")[:-1]
    places = ["/".join(parts[:depth]) for depth in range(len(parts) + 1)] + ["src"]
    return set().union(*(children.get(place, ()) for place in places))


def _modules(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Top-level names of absolute imports, without those in a `try` that expects them to fail, and those for type checkers."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0], node.lineno
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
        elif not (isinstance(node, ast.Try) and any(_expected(each) for each in node.handlers)):
            waiting += ast.iter_child_nodes(node)


def _expected(handler: ast.ExceptHandler) -> bool:
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)} if handler.type else {"Exception"}
    return bool(names & {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def top_modules(files: Iterable[str]) -> dict[str, str]:
    """Modules and packages that lie at the top of the folder, where `python train.py` looks first -> their file."""
    found = {}
    for name in files:
        head, _, rest = name.partition("/")
        if not rest and name.endswith(".py"):
            found[name.removesuffix(".py")] = name
        elif rest == "__init__.py":
            found[head] = name
    return found
