"""`make wheel`: the runtime as one file for an image of your own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "training" / "trainyard"


def modules(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.py")}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built by the Makefile in a copy of the checkout that holds an old build, with this Python's environment as .venv."""
    checkout = tmp_path_factory.mktemp("checkout")
    for name in ("Makefile", "pyproject.toml", "LICENSE", "README.md", "constraints.txt"):
        shutil.copy(ROOT / name, checkout)
    shutil.copytree(PACKAGE, checkout / "training" / "trainyard", ignore=shutil.ignore_patterns("__pycache__"))
    stale = checkout / "build" / "lib" / "trainyard" / "removed_long_ago.py"
    stale.parent.mkdir(parents=True)
    stale.write_text("")
    environment = Path(sys.prefix)
    # -o: the environment counts as set up, whatever the times of the copied files are.
    words = ["make", "--no-print-directory", "wheel", f"VENV={environment}", "-o", f"{environment}/.installed"]
    done = subprocess.run(words, cwd=checkout, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = (checkout / "dist").glob("*.whl")
    assert done.stdout.strip() == f"dist/{built.name}"
    return built


def test_the_wheel_holds_every_module_of_the_runtime_and_none_of_an_old_build(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    held = {name for name in names if name.endswith(".py")}
    assert held == {f"trainyard/{name}" for name in modules(PACKAGE)}
    assert "trainyard/py.typed" in names


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh Python with the wheel alone in it, installed as an image would."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    interpreter = folder / "bin" / "python"
    words = [
        str(Path(sys.prefix) / "bin" / "uv"),
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-deps",
        "--python",
        str(interpreter),
    ]
    subprocess.run([*words, str(wheel)], check=True, timeout=60)
    return interpreter


def run_in(python: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """With torch and the others from this environment, where trainyard itself is only a link that PYTHONPATH does not follow."""
    environment = {**os.environ, "PYTHONPATH": sysconfig.get_path("purelib")}
    return subprocess.run([python, *words], capture_output=True, text=True, timeout=120, env=environment, cwd=python.parent)


def test_the_installed_runtime_is_the_wheels_own_and_imports(python: Path) -> None:
    done = run_in(python, "-c", "import trainyard; print(trainyard.__file__, trainyard.Checkpointer.__name__)")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(next(python.parents[1].rglob("trainyard/__init__.py"))), "Checkpointer"]


@pytest.mark.skipif(not (PACKAGE / "launch.py").exists(), reason="training/trainyard/launch.py is not there yet")
def test_the_launcher_of_cluster_jobs_is_in_it(python: Path) -> None:
    done = run_in(python, "-m", "trainyard.launch", "--help")
    assert done.returncode == 0, done.stderr
    assert "--" in done.stdout
