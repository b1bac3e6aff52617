"""Two ways to hash: with xxhash and isal, and in a Python where neither can be imported."""

from __future__ import annotations

from pathlib import Path

import pytest

BLOCKER = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("xxhash", "isal"):
            raise ModuleNotFoundError(f"no {name} here", name=name)

sys.meta_path.insert(0, Blocked())
"""


@pytest.fixture(params=["xxh3_128", "crc32"])
def hashing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, dict[str, str]]:
    """(the algorithm that the program must use, the environment that makes it so)."""
    if request.param == "xxh3_128":
        return "xxh3_128", {}
    folder: Path = tmp_path_factory.mktemp("blocked")
    (folder / "sitecustomize.py").write_text(BLOCKER)
    return "crc32", {"PYTHONPATH": str(folder)}
