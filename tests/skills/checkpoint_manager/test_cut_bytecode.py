"""A program that was first used on a full disk works again when there is room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from made_checkpoints import PROGRAM


def test_bytecode_that_a_full_disk_cut_short_is_named_and_made_again(tmp_path: Path) -> None:
    source = shutil.copytree(PROGRAM.parent, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))

    def answer() -> tuple[int, str]:
        words = [sys.executable, source / PROGRAM.name, "convert", "/nonexistent/x", "/nonexistent/y"]
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        done = subprocess.run(words, capture_output=True, env=env, timeout=60)
        return done.returncode, json.loads(done.stdout)["error"]["message"]

    right = (3, "no folder /nonexistent")
    assert answer() == right
    (kept,) = (source / "checkpoint_formats" / "__pycache__").glob("convert.*.pyc")
    os.truncate(kept, 100)
    code, message = answer()
    assert code == 8 and "was cut short" in message
    assert answer() == right

    program = source / "checkpoint_formats" / "convert.py"
    program.write_text(program.read_text() + "\nraise EOFError('the end of something else')\n")
    kept_before = set(source.rglob("*.pyc"))
    assert answer()[0] == 7, "control: another end of a file is not taken for that, and nothing is removed"
    assert kept_before <= set(source.rglob("*.pyc"))
