"""Imports of a project's own files, read as trees: what it needs where it declares nothing, and which of its files hide a package."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator

from asked.files import Folder
from asked.metadata import parsed
from image_tables import table
from asked.wants import Place, Want
from packaging.utils import canonicalize_name

MAX_FILES = 400


def imported(folder: Folder, files: Iterable[str]) -> list[Want]:
    """A want without versions for each package that the project's Python files import, at the first place that does."""
    files = [name for name in files if name.endswith(".py")]
    own = {part.removesuffix(".py") for name in files for part in name.split("/")}
    found: dict[str, Want] = {}
    for name in files[:MAX_FILES]:
        text = folder.text(name)
        tree = parsed(folder, name, text) if text else None
        for module, line in _modules(tree) if tree else ():
            if module not in own and module not in sys.stdlib_module_names:
                package = str(table("package_rules")["modules"].get(module, module))
                found.setdefault(package, Want(canonicalize_name(package), package, Place(name, line), text=module))
    return [found[name] for name in sorted(found)]


def _modules(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Top-level names of absolute imports, without those in a `try` that expects them to fail."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield node.module.partition(".")[0], node.lineno
        elif not (isinstance(node, ast.Try) and any("ImportError" in ast.dump(each) for each in node.handlers)):
            waiting += ast.iter_child_nodes(node)


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
