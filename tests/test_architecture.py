"""The picture in shared-docs/architecture.md is the one that the code has: its arrows are the imports and the calls."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "shared-docs" / "architecture.md").read_text()
SKILLS = {path.parent.name for path in ROOT.glob("skills/*/SKILL.md")}
DEPLOYER = ROOT / "skills" / "training-job-deployer" / "src"
PROGRAM = re.compile(r'\("([a-z-]+)", "\w+\.py"\)')


def drawn(arrow: str) -> set[tuple[str, str]]:
    return set(re.findall(rf"^ +([\w-]+) {arrow} ([\w-]+)$", PAGE, re.MULTILINE))


def parts() -> dict[str, str]:
    """Module or folder of the deployer -> the part that it belongs to, as the table says."""
    rows = re.findall(r"^\| (\w+) \|[^|]+\|([^|]+)\|$", PAGE, re.MULTILINE)
    return {name.rstrip("/"): part for part, names in rows for name in re.findall(r"`([\w/]+)`", names)}


def imported(node: ast.AST) -> Iterator[str]:
    """Modules that are loaded when the program runs: those for types only are left out."""
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield str(node.module)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


def arrows_between_parts(source: Path, part_of: dict[str, str]) -> set[tuple[str, str]]:
    found = set()
    for path in source.rglob("*.py"):
        own = part_of.get(path.relative_to(source).parts[0].removesuffix(".py"))
        found |= {(own, part_of.get(name.partition(".")[0])) for name in imported(ast.parse(path.read_text()))}
    return {(one, other) for one, other in found if one and other and one != other}


def test_the_deployer_is_as_drawn() -> None:
    assert arrows_between_parts(DEPLOYER, parts()) == drawn("-->")


def test_each_module_of_the_deployer_has_a_part() -> None:
    modules = {path.relative_to(DEPLOYER).parts[0].removesuffix(".py") for path in DEPLOYER.rglob("*.py")}
    assert {name for name in modules if not name.startswith("trainyard_")} == set(parts())


def test_no_arrow_runs_back() -> None:
    reached = dict[str, set[str]]()
    for one, other in drawn("-->"):
        reached.setdefault(one, set()).add(other)
    left = set(reached) | {other for others in reached.values() for other in others}
    while ground := {part for part in left if not reached.get(part, set()) & left}:
        left -= ground
    assert left == set()


def test_a_skill_starts_the_programs_that_are_drawn() -> None:
    called = {
        (skill, other)
        for skill in SKILLS
        for path in (ROOT / "skills" / skill / "src").rglob("*.py")
        for other in PROGRAM.findall(path.read_text())
        if other in SKILLS
    }
    assert called == drawn("==>")


@pytest.mark.parametrize(("text", "expected"), [("import b", {("one", "two")}), ("if TYPE_CHECKING:\n    import b", set())])
def test_an_import_is_seen(tmp_path: Path, text: str, expected: set[tuple[str, str]]) -> None:
    """Control."""
    (tmp_path / "a.py").write_text(text)
    assert arrows_between_parts(tmp_path, {"a": "one", "b": "two"}) == expected
