"""Where requirements stand: what is in force, and how pip, uv, poetry, conda and setuptools write it."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_call import check, project, severities

TOML = '[project]\nname = "net"\ndependencies = [\n  "torch==2.4.0",\n  "torchvision==0.20.0",\n]\n'
POETRY = '[tool.poetry.dependencies]\npython = "^3.11"\ntorch = "2.4.0"\ntorchvision = {version = "0.20.0", optional = true}\n'
CONDA = "name: net\ndependencies:\n  - python=3.11\n  - pytorch::pytorch=2.4.0=py3.11_cuda12.1\n  - pip:\n    - torchvision==0.20.0\n"
SETUP = 'import os\nNEEDS = [\n    "torch==2.4.0",\n    "torchvision==0.20.0",\n]\nos.system("touch run")\nfrom setuptools import setup\nsetup(install_requires=NEEDS)\n'
LOCK = 'version = 1\n\n[[package]]\nname = "torch"\nversion = "2.4.0"\nsource = { registry = "https://x.example/simple" }\n\n[[package]]\nname = "torchvision"\nversion = "0.20.0"\n'

SOURCES = {
    "requirements.txt": ({"requirements.txt": "torch==2.4.0\ntorchvision==0.20.0\n"}, "requirements.txt:2"),
    "an include": (
        {"requirements.txt": "torch==2.4.0\n-r deps/b.txt\n", "deps/b.txt": "-r ../requirements.txt\ntorchvision==0.20.0\n"},
        "deps/b.txt:2",
    ),
    "hashes": (
        {"requirements.txt": "torch==2.4.0 \\\n  --hash=sha256:0 \\\n  --hash=sha256:1\ntorchvision==0.20.0  # why\n"},
        "requirements.txt:4",
    ),
    "markers": (
        {
            "requirements.txt": "torch==2.13.0; sys_platform=='win32'\ntorch==2.4.0; sys_platform=='linux'\ntorchvision[x]==0.20.0\n"
        },
        "requirements.txt:3",
    ),
    "a folder of them": (
        {"requirements/base.txt": "torch==2.4.0\ntorchvision==0.20.0\n", "requirements/dev.txt": "torchvision==0.1\n"},
        "requirements/base.txt:2",
    ),
    "a wheel": (
        {"requirements.txt": "torch==2.4.0\nhttps://x.example/torchvision-0.20.0-cp312-cp312-linux_x86_64.whl\n"},
        "requirements.txt:2",
    ),
    "pyproject.toml": ({"pyproject.toml": TOML}, "pyproject.toml:5"),
    "-e .": ({"pyproject.toml": TOML, "requirements.txt": "-e .\n"}, "pyproject.toml:5"),
    "poetry": ({"pyproject.toml": POETRY}, "pyproject.toml:4"),
    "uv.lock": (
        {"pyproject.toml": '[project]\nname = "n"\ndependencies = ["torch", "torchvision"]\n', "uv.lock": LOCK},
        "uv.lock:9",
    ),
    "conda": ({"environment.yml": CONDA}, "environment.yml:6"),
    "setup.py": ({"setup.py": SETUP}, "setup.py:4"),
    "an extra": (
        {
            "pyproject.toml": '[project]\nname = "n"\n[project.optional-dependencies]\nx = ["torch==2.4.0", "torchvision==0.20.0"]\n',
            "Dockerfile": "FROM ubuntu:24.04\nCOPY . .\nRUN pip install '.[x]'\n",
        },
        "pyproject.toml:4",
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_kind_of_file_is_read_with_its_lines(tmp_path: Path, name: str) -> None:
    files, where = SOURCES[name]
    found = check(project(tmp_path / "wrong", files))
    assert [(each["id"], each["where"]) for each in found.data["findings"]] == [("torch.pair", where)], found.data
    control = {file: text.replace("0.20.0", "0.19.0") for file, text in files.items()}
    assert check(project(tmp_path / "right", control)).data["findings"] == []


def test_setup_py_is_never_run(tmp_path: Path) -> None:
    check(project(tmp_path, {"setup.py": SETUP}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["setup.py"]
    computed = check(
        project(
            tmp_path, {"setup.py": "from setuptools import setup\nsetup(name='n', install_requires=open('r').read().split())\n"}
        )
    )
    assert severities(computed)["requirements.computed"] == "warn"


def test_markers_are_judged_for_the_python_of_the_image(tmp_path: Path) -> None:
    files = {"requirements.txt": "sklearn; python_version < '3.12'\n"}
    assert severities(check(project(tmp_path / "a", files | {".python-version": "3.11\n"}))) == {"name.trap": "fail"}
    assert severities(check(project(tmp_path / "b", files | {".python-version": "3.12.4\n"}))) == {}


def test_only_what_the_image_installs_is_judged(tmp_path: Path) -> None:
    files = {
        "requirements.txt": "six\n",
        "requirements-dev.txt": "sklearn\n",
        "pyproject.toml": '[project]\nname = "n"\ndependencies = ["cv2"]\n',
    }
    image = {"Dockerfile": "FROM ubuntu:24.04\nCOPY . /app\nRUN pip install -r /app/requirements.txt\n"}
    assert severities(check(project(tmp_path / "a", files | image))) == {}
    assert severities(
        check(project(tmp_path / "b", files | {"Dockerfile": image["Dockerfile"] + "RUN pip install -e /app . \n"}))
    ) == {"name.trap": "fail"}


def test_imports_count_where_nothing_is_declared(tmp_path: Path) -> None:
    code = "import os, cv2\nfrom torch import nn\nfrom . import own\nimport helper\ntry:\n    import apex\nexcept ImportError:\n    apex = None\n"
    folder = project(tmp_path / "a", {"train.py": code, "helper.py": "", "Dockerfile": "FROM python:3.12-alpine\n"})
    found = check(folder)
    assert found.data["sources"] == ["imports"]
    assert [(each["id"], each["where"]) for each in found.data["findings"]] == [
        ("glibc.floor", "train.py:2"),
        ("requirements.installed", "Dockerfile:1"),
    ], "nothing installs them, and alpine cannot"
    declared = project(tmp_path / "b", {"train.py": code, "requirements.txt": "six\n"})
    assert check(declared).data["sources"] == ["requirements.txt"]


def test_the_cuda_build_comes_from_the_index(tmp_path: Path) -> None:
    uv = '[project]\nname = "n"\ndependencies = ["torch==2.9.1"]\n[[tool.uv.index]]\nname = "x"\nurl = "https://download.example/whl/cu126"\n'
    dockerfile = "FROM ubuntu:24.04\n{}RUN pip install torch==2.9.1 {}\n"
    index = "https://download.example/whl/cu126"
    ways = [
        {"requirements.txt": f"--extra-index-url={index}\ntorch==2.9.1\n"},
        {"requirements.txt": "torch==2.9.1+cu126\n"},
        {"pyproject.toml": uv},
        {"Dockerfile": dockerfile.format("", f"--index-url {index}")},
        {"Dockerfile": dockerfile.format(f"ENV PIP_EXTRA_INDEX_URL={index}\n", "")},
        {"Dockerfile": dockerfile.format("", "--torch-backend=cu126").replace("pip install", "uv pip install")},
    ]
    for number, files in enumerate(ways):
        assert check(project(tmp_path / str(number), files)).data["image"]["cuda"] == "12.6", files
    assert check(project(tmp_path / "none", {"requirements.txt": "torch==2.9.1\n"})).data["image"]["cuda"] == "12.8"
