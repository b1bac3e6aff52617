"""The files that stand in several places, byte for byte: compare them, or copy them with --write.

Run without third-party packages: `python tests/kit_copies.py [--write]`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


TABLES = {
    "gpu_builds.yaml": "trainyard_gpus",
    "instance-types.yaml": "trainyard_instances",
    "node_faults.yaml": "trainyard_faults",
}
"""Table of the kit -> the module that reads it."""
ALWAYS = (
    "trainyard_calls",
    "trainyard_hiding",
    "trainyard_output",
    "trainyard_python",
    "trainyard_secrets",
    "trainyard_shell",
    "trainyard_tables",
)


def used_by(skill: Path, module: str, kit: Path) -> bool:
    """Whether a file of the skill imports a module of the kit, or one that imports it."""
    return module in needed_by(skill, kit)


def needed_by(skill: Path, kit: Path) -> set[str]:
    """All that the skill imports, and what the kit's modules among that import."""
    needed = {*ALWAYS}.union(*(imported(path) for path in sources(skill) if not (kit / path.name).exists()))
    parts = {path.stem: imported(path) for path in kit.glob("*.py")}
    while more := set().union(*(parts[name] for name in needed & parts.keys())) - needed:
        needed |= more
    return needed


def sources(skill: Path) -> list[Path]:
    """Every module of a skill: in src/, and in the folders of src/, which are packages without an `__init__.py`."""
    return sorted((skill / "src").rglob("*.py"))


def imported(path: Path) -> set[str]:
    return set(re.findall(r"^\s*(?:import|from) (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE))


def copies() -> dict[Path, list[Path]]:
    """Source file -> the places that hold a copy of it: each module of the kit in the skills that use it."""
    skills = sorted(path.parent for path in (ROOT / "skills").glob("*/SKILL.md"))
    kit = ROOT / "skills" / "kit"
    needed = {skill: needed_by(skill, kit) for skill in skills}
    runtime = ROOT / "training" / "trainyard"
    inspected = sorted(runtime.glob("checkpoint_*.py"))
    supervised = sorted([*runtime.glob("hang_*.py"), *runtime.glob("death_*.py")])
    return {
        **{
            source: [skill / "src" / source.name for skill in skills if source.stem in needed[skill]]
            for source in sorted(kit.glob("*.py"))
        },
        **{
            source: [skill / "assets" / source.name for skill in skills if TABLES[source.name] in needed[skill]]
            for source in sorted(kit.glob("*.yaml"))
        },
        **{source: [ROOT / "skills" / "checkpoint-manager" / "src" / source.name] for source in inspected},
        runtime / "whose.py": [ROOT / "skills" / "checkpoint-manager" / "src" / "whose.py"],
        **{source: [ROOT / "skills" / "local-runner" / "src" / source.name] for source in supervised},
    }


def differing() -> list[tuple[Path, Path]]:
    """(source, copy) for every copy that is missing or differs."""
    return [
        (source, copy)
        for source, places in copies().items()
        for copy in places
        if not copy.exists() or copy.read_bytes() != source.read_bytes()
    ]


def main() -> int:
    pairs = differing()
    for source, copy in pairs:
        if "--write" in sys.argv:
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
        print(f"{'copied' if '--write' in sys.argv else 'differs'}: {copy.relative_to(ROOT)}")
    return 1 if pairs and "--write" not in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
