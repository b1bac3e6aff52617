"""The benchmarks of images run and find what they measure. Nothing here judges a time."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components.images.fixtures import full_images

ROOT = Path(__file__).resolve().parents[1]
BOUNDS = {"image-source": 2, "image-skip": 2, "image-rebuild": 1}


@full_images
@pytest.mark.parametrize("name", BOUNDS)
def test_it_measures_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    kept = tmp_path / "result.json"
    words = ["--only", name, "--repeat", "1", "--dir", str(tmp_path), "--output", str(kept)]
    done = subprocess.run([sys.executable, "-m", "benchmarks", *words], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 and "left out" not in done.stderr, done.stderr
    for group in json.loads(kept.read_text())["groups"]:
        assert len(group["bounds"]) == BOUNDS[name] and all(each["seconds"][0] > 0 for each in group["series"])
    assert [path.name for path in tmp_path.iterdir()] == [kept.name]
