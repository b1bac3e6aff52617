"""What `verify` loads of ours for a file that somebody else wrote: the modules that this file needs, and no other one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from made_checkpoints import PROGRAM

MOST = 19
"""The copies of the kit are counted, the program itself is not."""
AT_THE_END = """
import atexit, os, sys

def write():
    files = [getattr(module, "__file__", None) or "" for name, module in list(sys.modules.items()) if name != "__main__"]
    with open(os.environ["LOADED_TO"], "w") as file:
        file.write("\\n".join(path for path in files if path.startswith(os.environ["LOADED_FROM"] + os.sep)))

atexit.register(write)
"""


def loaded(program: Path, path: Path, tmp_path: Path) -> set[str]:
    """Modules of ours that were there when `verify path` ended, as paths below src/."""
    (tmp_path / "sitecustomize.py").write_text(AT_THE_END)
    there = {"PYTHONPATH": str(tmp_path), "LOADED_FROM": str(program.parent), "LOADED_TO": str(tmp_path / "loaded")}
    words = [sys.executable, str(program), "verify", str(path), "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, env={**os.environ, **there})
    assert done.returncode in (0, 1) and '"verdict"' in done.stdout, done.stderr
    return {str(Path(line).relative_to(program.parent)) for line in (tmp_path / "loaded").read_text().splitlines()}


@pytest.mark.parametrize("name", ["plain.pt", "legacy.pt", "weights.safetensors"])
def test_verify_of_a_single_file_loads_few_modules(torch_samples: Path, tmp_path: Path, name: str) -> None:
    found = loaded(PROGRAM, torch_samples / name, tmp_path)
    assert {"trainyard_shell.py", "checkpoint_formats/any_path.py"} <= found
    assert len(found) <= MOST, sorted(found)


def test_control_one_more_import_is_counted(torch_samples: Path, tmp_path: Path) -> None:
    source = shutil.copytree(PROGRAM.parent, tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    with (source / "torch_reading" / "file.py").open("a") as file:
        file.write("\nimport checkpoint_folder.look\n")
    found = loaded(source / PROGRAM.name, torch_samples / "plain.pt", tmp_path)
    assert "checkpoint_format.py" in found and len(found) > MOST
