"""What a project declares: the lines that count, those that are left out, and files that cannot be used."""

from __future__ import annotations

from pathlib import Path

import probing
import pytest

TEXT = """\
# a comment
torch>=2.9 ; python_version >= "3.8"
NumPy == 1.26.4   # pinned
-r more.txt
-e .
--extra-index-url https://example.com/simple
./wheels/own.whl
git+https://me:s3cr3t@example.com/x.git
pillow==11.0 --hash=sha256:aa
transformers[torch] \\
  >=4.40
not a requirement!
"""


UNREAD = ["-e .", "./wheels/own.whl", "git+https://***@example.com/x.git", "not a requirement!"]


def declared(folder: Path) -> object:
    return probing.module("tester_project").declared(str(folder))


def test_requirements(tmp_path: Path) -> None:
    probing.write(tmp_path, {"requirements.txt": TEXT, "more.txt": "-r requirements.txt\npyyaml\n"})
    found = declared(tmp_path)
    assert [each.name for each in found.found.values()] == ["torch", "numpy", "pyyaml", "pillow", "transformers"]
    assert [each.specifier for each in found.found.values()] == [">=2.9", "==1.26.4", "", "==11.0", ">=4.40"]
    assert found.files == ["requirements.txt", "more.txt"]
    assert [each.rpartition(": ")[2] for each in found.unread] == UNREAD, "what brings a package without a name is said"


def test_pyproject(tmp_path: Path) -> None:
    probing.write(tmp_path, {"pyproject.toml": '[project]\nname = "x"\ndependencies = ["torch", "numpy<2"]\n'})
    assert [each.name for each in declared(tmp_path).found.values()] == ["torch", "numpy"]


@pytest.mark.parametrize("files", [{}, {"pyproject.toml": "[tool.x]\n"}], ids=["nothing", "no dependencies"])
def test_nothing_is_declared(tmp_path: Path, files: dict[str, str]) -> None:
    """A project may have its requirements in its imports, in conda's file or nowhere: that is said, and no error."""
    probing.write(tmp_path, files)
    found = declared(tmp_path)
    assert found.found == {} and "neither requirements.txt nor pyproject.toml" in found.unread[0]


def test_a_torn_declaration(tmp_path: Path) -> None:
    probing.write(tmp_path, {"pyproject.toml": "[[["})
    with pytest.raises(Exception, match="cannot be read"):
        declared(tmp_path)


def test_nothing_outside_is_read(tmp_path: Path) -> None:
    probing.write(tmp_path, {"secret.txt": "torch\n", "p/requirements.txt": "-r ../secret.txt\nnumpy\n", "p/keep": ""})
    found = declared(tmp_path / "p")
    assert [each.name for each in found.found.values()] == ["numpy"] and "leads out" in found.unread[0]


@pytest.mark.parametrize(
    ("command", "entry", "python"),
    [
        ("torchrun --log-dir x train.py --steps 4", ("train.py", "", ""), "python3"),
        ("torchrun -m pkg.train", ("", "pkg.train", ""), "python3"),
        ("/opt/conda/bin/python -m torch.distributed.run train.py", ("train.py", "", ""), "python3"),
        ("python -u train.py", ("train.py", "", ""), "python"),
        ("/opt/conda/bin/python3 -m pkg", ("", "pkg", ""), "/opt/conda/bin/python3"),
        ("accelerate launch train.py", ("train.py", "", "accelerate"), "python3"),
        ("bash run.sh", ("", "", "bash"), "python3"),
        ("python -c pass", None, "python"),
    ],
)
def test_the_entry_point_of_a_command(command: str, entry: tuple[str, str, str] | None, python: str) -> None:
    """And the Python that it is started with, by the engines too: another one in the image would answer for other packages."""
    asked = probing.module("tester_asked")
    found = asked.entry_of(command.split())
    assert (found and (found.path, found.module, found.program)) == entry
    assert asked.pythons_of(tuple(command.split()), None) == (python,)
    assert python != "python3" or asked.pythons_of(tuple(command.split()), "rayjob") == ("python",)


@pytest.mark.parametrize(
    ("text", "size"), [("4Gi", 4 << 30), ("512m", 512_000_000), ("1.5Gi", 3 << 29), ("7", 7), ("64MiB", 64 << 20)]
)
def test_sizes(text: str, size: int) -> None:
    assert probing.module("tester_asked").size_bytes(text) == size


@pytest.mark.parametrize("text", ["", "-1", "4Xi", "1e9", "4 Gi Gi"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ValueError):
        probing.module("tester_asked").size_bytes(text)


def test_the_runtime_is_this_checkouts() -> None:
    text = (Path(__file__).resolve().parents[3] / "pyproject.toml").read_text()
    assert f'\nversion = "{probing.module("tester_asked").RUNTIME}"\n' in text
