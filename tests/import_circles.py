"""Which modules import each other in a circle. Imports inside functions and under TYPE_CHECKING count too."""

from __future__ import annotations

import ast
from pathlib import Path


def circles(root: Path, package: str = "") -> list[list[str]]:
    """Modules below `root`, dotted, in groups whose members all reach each other; `package`: the name that `root` itself has."""
    sources = {".".join(path.relative_to(root).with_suffix("").parts): path for path in sorted(root.rglob("*.py"))}
    names = {name.removesuffix(".__init__").removesuffix("__init__"): path for name, path in sources.items()}
    reached = {name: _imports(name, path, set(names), package) for name, path in names.items()}
    while any(_grow(name, reached) for name in reached):
        pass
    groups = {
        tuple(other for other in sorted(reached) if other == name or (other in reached[name] and name in reached[other]))
        for name in reached
    }
    return sorted(list(group) for group in groups if len(group) > 1)


def _grow(name: str, reached: dict[str, set[str]]) -> bool:
    before = len(reached[name])
    reached[name] = reached[name].union(*(reached[other] for other in reached[name]))
    return len(reached[name]) > before


def _imports(name: str, path: Path, known: set[str], package: str) -> set[str]:
    """Those of `known` that the module names in an import."""
    inside = name if path.name == "__init__.py" else name.rpartition(".")[0]
    wanted = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            wanted |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(inside.split(".")[: len(inside.split(".")) + 1 - node.level]) if node.level else ""
            whole = ".".join(filter(None, [base, node.module]))
            wanted |= {whole} | {".".join(filter(None, [whole, alias.name])) for alias in node.names}
    wanted = {each.removeprefix(f"{package}.") if package else each for each in wanted}
    return (wanted & known) - {name, ""}
