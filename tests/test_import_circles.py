"""No import circle in any skill, in the kit or in the runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.import_circles import circles

ROOT = Path(__file__).resolve().parents[1]
PLACES = [*sorted(ROOT.glob("skills/*/src")), ROOT / "skills" / "kit", ROOT / "training" / "trainyard"]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: str(place.relative_to(ROOT)))
def test_no_import_circle(place: Path) -> None:
    assert circles(place, package="trainyard" if place.name == "trainyard" else "") == []


CIRCLES = {
    "of two": ({"a.py": "import b", "b.py": "from a import x", "c.py": "import a"}, ["a", "b"]),
    "in a function": ({"a.py": "def f():\n    import b", "b.py": "import a"}, ["a", "b"]),
    "for types only": ({"a.py": "import b", "b.py": "if TYPE_CHECKING:\n    from a import x"}, ["a", "b"]),
    "of three in folders": ({"a.py": "from p import q", "p/q.py": "import p.r", "p/r.py": "import a"}, ["a", "p.q", "p.r"]),
    "by dots": ({"a.py": "from . import b", "b.py": "from .a import x"}, ["a", "b"]),
    "by the package's name": ({"a.py": "import mine.b", "b.py": "from mine import a"}, ["a", "b"]),
}


@pytest.mark.parametrize("case", CIRCLES)
def test_a_circle_is_found(tmp_path: Path, case: str) -> None:
    files, expected = CIRCLES[case]
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert circles(tmp_path, package="mine") == [expected]


def test_a_chain_is_no_circle(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import b, c")
    (tmp_path / "b.py").write_text("from c import x")
    (tmp_path / "c.py").write_text("")
    assert circles(tmp_path) == []
