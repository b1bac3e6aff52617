"""The files that stand in several places, byte for byte: compare them, or copy them with --write.

Run without third-party packages: `python tests/kit_copies.py [--write]`.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def copies() -> dict[Path, list[Path]]:
    """Source file -> the places that hold a copy of it."""
    skills = sorted(path.parent for path in (ROOT / "skills").glob("*/SKILL.md"))
    kit = sorted((ROOT / "skills" / "kit").glob("*.py"))
    inspector = ROOT / "training" / "trainyard" / "checkpoint_format.py"
    return {
        **{source: [skill / "src" / source.name for skill in skills] for source in kit},
        inspector: [ROOT / "skills" / "checkpoint-manager" / "src" / inspector.name],
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
