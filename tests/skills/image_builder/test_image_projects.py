"""Projects as public training repositories are written: what is in force, what is no fault, and the Dockerfile that is made of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from image_call import check, project, severities

from tests.skills.image_builder.test_image_generated import TRAIN, made, text_of

Files = dict[str, str]
P5 = ("--instance-type", "p5.48xlarge")
UBUNTU, SLIM, OWN = (
    "FROM nvidia/cuda:12.8.1-devel-ubuntu22.04\n",
    "FROM python:3.12-slim\n",
    "FROM registry.example/team/base:1.2\n",
)
NGC = "FROM nvcr.io/nvidia/pytorch:25.06-py3\n"
CPU_AND_GPU = """[project]
name = "chat"
version = "1"
dependencies = ["numpy", "torch==2.9.1"]
[project.optional-dependencies]
cpu = ["torch==2.9.1"]
gpu = ["torch==2.9.1"]
[tool.uv.sources]
torch = [{ index = "c", extra = "cpu" }, { index = "g", extra = "gpu" }]
[[tool.uv.index]]
name = "c"
url = "https://download.example/whl/cpu"
explicit = true
[[tool.uv.index]]
name = "g"
url = "https://download.example/whl/cu126"
explicit = true
"""
LOCK = """version = 1
[[package]]
name = "chat"
version = "1"
source = { virtual = "." }
dependencies = [
    { name = "numpy" },
    { name = "torch", version = "2.9.1", source = { registry = "https://pypi.org/simple" }, marker = "extra != 'x'" },
    { name = "torch", version = "2.9.1+cpu", source = { registry = "https://download.example/whl/cpu" }, marker = "extra == 'x'" },
    { name = "sklearn", marker = "sys_platform == 'win32'" },
]
[package.optional-dependencies]
gpu = [{ name = "yaml" }]
[package.dev-dependencies]
dev = [{ name = "cv2" }]
[[package]]
name = "numpy"
version = "2.4.6"
source = { registry = "https://pypi.org/simple" }
[[package]]
name = "torch"
version = "2.9.1"
source = { registry = "https://pypi.org/simple" }
[[package]]
name = "torch"
version = "2.9.1+cpu"
source = { registry = "https://download.example/whl/cpu" }
[[package]]
name = "sklearn"
version = "0.0"
source = { registry = "https://pypi.org/simple" }
"""
CONDA = "dependencies:\n- python=3.10\n- pytorch=2.4.0\n- cudatoolkit=11.8\n- libgcc-ng=13\n- yaml=0.2.5\n- numpy=1.26=py310h_0\n- pip:\n  - rich\n"


def run(start: str, *lines: str, **files: str) -> Files:
    return {"Dockerfile": start + "".join(f"RUN {line}\n" for line in lines), **files}


# --- no fault of these, and the fault beside it ----------------------------------------------------------------------

GOOD: dict[str, tuple[Files, Files, dict[str, str], tuple[str, ...]]] = {
    # what it is about: a good project, one that differs in that alone, what is found in the second
    "a range that ends before tomorrow": (
        {"requirements.txt": "torch<=2.12.1,>=2.11\nnumpy\n"},
        {"requirements.txt": "torch<=2.2.2,>=2.1\nnumpy\n"},
        {"numpy.abi": "fail"},
        (),
    ),
    "torch alone brings no NumPy": (
        {"requirements.txt": "torch==2.1.2\n"},
        {"requirements.txt": "torch==2.1.2\ntorchvision==0.16.2\n"},
        {"numpy.abi": "fail"},
        (),
    ),
    "a package that keeps NumPy below 2": (
        {"requirements.txt": "pandas==2.0.3\nnumba==0.59.0\n"},
        {"requirements.txt": "pandas==2.0.3\nnumba==0.61.0\n"},
        {"numpy.abi": "fail"},
        (),
    ),
    "the newest torch that the Python has": (
        {"requirements.txt": "torch>=2.0\n", "environment.yaml": "dependencies:\n- python=3.10\n"},
        {"requirements.txt": "torch==2.15.0\n", "environment.yaml": "dependencies:\n- python=3.10\n"},
        {"python.torch": "fail"},
        (),
    ),
    "the newest torch that the index has": (
        run(UBUNTU, "pip3 install torch --index-url https://download.example/whl/cu128"),
        run(UBUNTU, "python3.12 -m pip install torch==2.15.0 --index-url https://download.example/whl/cu128"),
        {"torch.build": "fail"},
        (),
    ),
    "one command after the other": (
        run(SLIM, "pip install protobuf==3.20.3", "pip install protobuf==3.20.3 six"),
        run(SLIM, "pip install protobuf==3.20.3", "pip install protobuf==3.19.6"),
        {"requirements.contradiction": "warn"},
        (),
    ),
    "an image of one's own for a GPU": (run(OWN, "pip install torch>=2.4"), run(OWN, "pip install torch==2.1.2+cpu"), {"gpu.kernels": "fail"}, P5),
    "an image without torch for a GPU": (run(SLIM, "pip install rich"), run(SLIM, "pip install torch"), {"nccl.efa": "warn"}, P5),
    "what NVIDIA's image has": (run(NGC, "pip install flash-attn"), run(SLIM, "pip install flash-attn"), {"extension.build": "fail"}, ()),
    "a torch over NVIDIA's": (run(NGC, "pip install torch>=2.4"), run(NGC, "pip install torch==2.8.0"), {"torch.again": "fail"}, ()),
    "a torch over NVIDIA's that somebody wants": (
        run(NGC, "pip uninstall -y torch && pip install torch==2.8.0"),
        run(NGC, "pip install torch==2.8.0"),
        {"torch.again": "fail"},
        (),
    ),
    "a lock that pip does not read": (
        run(SLIM, "pip install .", **{"pyproject.toml": CPU_AND_GPU, "uv.lock": LOCK.replace("win32", "linux")}),
        run(SLIM, "uv sync --frozen", **{"pyproject.toml": CPU_AND_GPU, "uv.lock": LOCK.replace("win32", "linux")}),
        {"name.shadow": "fail"},
        (),
    ),
    "constraints of the command": (
        run("FROM python:3.11-slim\n", "pip install pandas==2.0.3 -c c.txt", **{"c.txt": "numpy<2\n"}),
        run("FROM python:3.11-slim\n", "pip install pandas==2.0.3", **{"c.txt": "numpy<2\n"}),
        {"numpy.abi": "fail"},
        (),
    ),
    "pyproject.toml as a list": (
        run(SLIM, "uv pip install -r pyproject.toml", **{"pyproject.toml": '[project]\nname = "n"\ndependencies = ["rich"]\n'}),
        run(SLIM, "uv pip install -r pyproject.toml", **{"pyproject.toml": '[project]\nname = "n"\ndependencies = ["cv2"]\n'}),
        {"name.trap": "fail"},
        (),
    ),
    "nvcc from a package": (
        run(SLIM, "apt-get install -y cuda-toolkit-12-8", "pip install --no-build-isolation flash-attn"),
        run(SLIM, "pip install --no-build-isolation flash-attn"),
        {"extension.build": "fail"},
        (),
    ),
    "another Python than the distribution's": (
        run(UBUNTU, "add-apt-repository ppa:deadsnakes/ppa", "pip install numpy==2.5.5"),
        run(UBUNTU, "pip install numpy==2.5.5"),
        {"python.numpy": "fail"},
        (),
    ),
    "an index for an extra alone": (
        run(SLIM, "pip install .", **{"pyproject.toml": CPU_AND_GPU}),
        run(SLIM, "uv pip install '.[cpu]'", **{"pyproject.toml": CPU_AND_GPU}),
        {"gpu.kernels": "fail"},
        ("--instance-type", "g5.8xlarge"),
    ),
    "conda's yaml is a library": (
        {"environment.yml": "dependencies:\n- yaml=0.2.5\n- pip:\n  - rich\n"},
        {"environment.yml": "dependencies:\n- python\n- pip:\n  - yaml\n"},
        {"name.trap": "fail"},
        (),
    ),
    "alternatives in a folder, beside pyproject.toml": (
        {"pyproject.toml": '[project]\nname = "n"\ndependencies = ["rich"]\n', "requirements/npu.txt": "sklearn\n"},
        {"pyproject.toml": "[tool.ruff]\n", "requirements/npu.txt": "sklearn\n"},
        {"name.trap": "fail"},
        (),
    ),
    "an option's file behind a variable": (
        run(SLIM, 'for f in $(ls requirements); do pip install -r "$f"; done'),
        run(SLIM, "pip install -r gone.txt"),
        {"requirements.missing": "warn"},
        (),
    ),
    "the lock for other systems, extras and groups": (
        {"pyproject.toml": CPU_AND_GPU, "uv.lock": LOCK},
        {"pyproject.toml": CPU_AND_GPU, "uv.lock": LOCK.replace("win32", "linux")},
        {"name.shadow": "fail"},
        (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_project_gets_no_alarm(tmp_path: Path, name: str) -> None:
    good, bad, found, words = GOOD[name]
    extra = {"sklearn/__init__.py": ""} if "name.shadow" in found else {}
    answer = check(project(tmp_path / "good", good | extra), *words)
    assert {id: how for id, how in severities(answer).items() if how != "warn"} == {} and answer.code == 0, answer.data
    assert found.items() <= severities(check(project(tmp_path / "bad", bad | extra), *words)).items()


FOLLOWED = {
    "a folder that is copied": ("COPY src/ /fsdp/\nRUN pip install -r /fsdp/requirements.txt\n", "src/requirements.txt"),
    "WORKDIR": ("COPY . /app\nWORKDIR /app/src\nRUN pip install -r requirements.txt\n", "src/requirements.txt"),
    "cd": ("COPY . /app\nRUN cd /app/src && pip install -r requirements.txt\n", "src/requirements.txt"),
    "another name": ('COPY ["src/requirements.txt", "/tmp/r.txt"]\nRUN pip install -r /tmp/r.txt\n', "src/requirements.txt"),
    "a pattern": ("WORKDIR /w\nCOPY src/req*.txt ./\nRUN pip install -r requirements.txt\n", "src/requirements.txt"),
    "a variable": ("ARG D=/opt/x\nCOPY src $D\nRUN pip install -r $D/requirements.txt\n", "src/requirements.txt"),
    "a mount": ("RUN --mount=type=bind,source=src,target=/m pip install -r /m/requirements.txt\n", "src/requirements.txt"),
    "the stage before": ("COPY src /a\nFROM base\nRUN pip install -r /a/requirements.txt\n", "src/requirements.txt"),
    "a shell in a shell": ('RUN bash -lc "pip install sklearn"\n', "Dockerfile"),
    "conda run": ("RUN conda run -n env pip install sklearn\n", "Dockerfile"),
    "xargs": ("RUN echo x | xargs -n 1 pip install sklearn\n", "Dockerfile"),
    "a stage that is mounted": (
        "RUN pip install sklearn\nFROM python:3.12-slim\nRUN --mount=type=bind,from=base,target=/m cp -r /m /n\n",
        "Dockerfile",
    ),
    "conda's file": ("COPY src/env.yml /e/\nRUN conda env create -n x -f /e/env.yml\n", "src/env.yml"),
    "none": ("RUN pip install -e sklearn\n", None),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_a_file_is_followed_to_where_it_comes_from(tmp_path: Path, name: str) -> None:
    """A folder with a requirements.txt at its top that is not the one."""
    text, file = FOLLOWED[name]
    files = {
        "src/requirements.txt": "sklearn\n",
        "src/env.yml": "dependencies:\n- pip:\n  - sklearn\n",
        "requirements.txt": "six\n",
    }
    found = check(project(tmp_path, files | {"Dockerfile": f"FROM python:3.12-slim AS base\n{text}"}))
    traps = [each["where"].partition(":")[0] for each in found.data["findings"] if each["id"] == "name.trap"]
    assert traps == ([file] if file else []), found.data


def test_neither_code_nor_a_lock_is_edited(tmp_path: Path) -> None:
    lock = LOCK.replace('name = "numpy"', 'name = "torchvision"').replace("2.4.6", "0.20.0")
    files = {"pyproject.toml": CPU_AND_GPU.replace('"numpy"', '"torchvision"'), "uv.lock": lock}
    found = check(project(tmp_path / "lock", files), "--apply")
    assert severities(found) == {"torch.pair": "fail"} and found.document["changed"] == []
    code = {"train.py": "import torch, torchaudio\n", ".python-version": "3.9\n"}
    found = check(project(tmp_path / "code", code), "--apply")
    assert severities(found) == {"torch.pair": "warn"} and found.document["changed"] == []


# --- the Dockerfile that is made -------------------------------------------------------------------------------------


def pip(text: str) -> list[list[str]]:
    lines = [json.loads(line[4:]) for line in text.splitlines() if line.startswith('RUN ["python3", "-m", "pip", "install"')]
    return [line[4:] for line in lines]


PYPROJECT = '[project]\nname = "n"\nversion = "1"\nrequires-python = ">=3.10"\ndependencies = [{}]\n'
MADE: dict[str, tuple[Files, str, list[list[str]]]] = {
    # the project, its last FROM, the calls of pip
    "torch is imported and not asked for": ({"requirements.txt": "rich\n"}, "pytorch:2.13-cu133-amzn2023", [["-r", "requirements.txt"]]),
    "something brings torch": ({"requirements.txt": "accelerate\n", "train.py": "print(1)\n"}, "pytorch:2.13-cu133-amzn2023", [["-r", "requirements.txt"]]),
    "a torch that no image has": ({"requirements.txt": "torch==2.7.1\n"}, "python:3.12", [["-r", "requirements.txt"]]),
    "an old torch, and its Python": ({"requirements.txt": "torch==2.1.2\n"}, "python:3.11", [["-r", "requirements.txt"]]),
    "an old torchvision": ({"requirements.txt": "torchvision==0.19.1\n"}, "python:3.12", [["-r", "requirements.txt"]]),
    "a Python that no image has": ({".python-version": "3.10\n", "requirements.txt": "rich\n"}, "python:3.10", [["torch"], ["-r", "requirements.txt"]]),
    "training's own file": ({"requirements.txt": "torch\n", "requirements-training.txt": "fsspec\n"}, "pytorch:2.13-cu133-amzn2023", [["-r", "requirements.txt", "-r", "requirements-training.txt"]]),
    "a list in a file": (
        {"pyproject.toml": '[project]\nname = "n"\ndynamic = ["dependencies"]\n[tool.setuptools.dynamic]\ndependencies = {file = ["deps/run.txt"]}\n', "deps/run.txt": "torch\n"},
        "pytorch:2.13-cu133-amzn2023",
        [["-r", "deps/run.txt"]],
    ),
    "setup.cfg": ({"setup.cfg": "[metadata]\nname = n\n[options]\npython_requires = >=3.8\ninstall_requires =\n  torch>=2\n  rich\n"}, "pytorch:2.13-cu133-amzn2023", [["torch>=2", "rich"]]),
    "setup.py that reads a file": ({"setup.py": "from setuptools import setup\nsetup(name='n', install_requires=open('requirements/base.txt').read())\n", "requirements/base.txt": "torch\n", "requirements/npu.txt": "x\n"}, "pytorch:2.13-cu133-amzn2023", [["-r", "requirements/base.txt"]]),
    "conda": ({"environment.yml": CONDA}, "python:3.10", [["torch==2.4.0.*", "numpy==1.26.*", "rich"]]),
    "an address alone": ({"environment.yml": "dependencies:\n- python=3.10\n- pip:\n  - torch==2.4.0\n  - git+https://x.example/tiny/#subdirectory=bindings\n  - own @ git+https://x.example/own\n"}, "python:3.10", [["torch==2.4.0", "git+https://x.example/tiny/#subdirectory=bindings", "own @ git+https://x.example/own"]]),
    "an extra that brings torch": ({"pyproject.toml": PYPROJECT.format('"rich"') + '[project.optional-dependencies]\ngpu = ["torch==2.13.0"]\ndev = ["six"]\n'}, "pytorch:2.13-cu133-amzn2023", [["rich", "torch==2.13.0"]]),
    "what is compiled comes last": ({"pyproject.toml": PYPROJECT.format('"flash-attn", "torch==2.13.0"')}, "pytorch:2.13-cu133-amzn2023", [["torch==2.13.0"], ["--no-build-isolation", "flash-attn"]]),
    "imports, and whose they are": ({"a/train.py": "import yaml, PIL, apex, sklearn.svm, helper, git\nfrom a import b\ntry:\n  import six\nexcept Exception: pass\n", "a/helper.py": "", "tests/x.py": "import hypothesis\n"}, "pytorch:2.13-cu133-amzn2023", [["GitPython", "PyYAML", "pillow", "scikit-learn", "torch"]]),
    "an index of its own": ({"pyproject.toml": PYPROJECT.format('"torch==2.13.0"') + '[[tool.uv.index]]\nname = "h"\nurl = "https://house.example/simple"\n'}, "pytorch:2.13-cu133-amzn2023", [["torch==2.13.0", "--extra-index-url", "https://house.example/simple"]]),
    "poetry": ({"pyproject.toml": '[tool.poetry]\nname = "n"\n[tool.poetry.dependencies]\npython = "^3.10"\ntorch = "^2.4"\nown = {git = "https://x.example/own.git", tag = "v1"}\n'}, "pytorch:2.13-cu133-amzn2023", [["torch<3,>=2.4", "own @ git+https://x.example/own.git@v1"]]),
    "indexes for extras": ({"pyproject.toml": CPU_AND_GPU}, "python:3.12", [["numpy", "torch==2.9.1"]]),
}  # fmt: skip


@pytest.mark.parametrize("name", MADE)
def test_the_dockerfile_that_a_person_would_write(tmp_path: Path, name: str) -> None:
    files, base, calls = MADE[name]
    text = text_of(made(tmp_path, {"train.py": TRAIN, **files}))
    last = [line for line in text.splitlines() if line.startswith("FROM ")][-1]
    assert last.rpartition("/")[2].removeprefix("FROM ") == base and pip(text) == calls, text


def test_a_list_that_powershell_wrote_is_read(tmp_path: Path) -> None:
    """UTF-16 with a byte-order mark, as pip reads it; nothing in it is edited."""
    (tmp_path / "requirements.txt").write_bytes("torch==2.4.0\r\ntorchvision==0.20.0\r\n".encode("utf-16"))
    found = check(tmp_path, "--apply")
    assert severities(found) == {"torch.pair": "fail"} and found.document["changed"] == []


def test_what_only_conda_has_is_left_out_and_said(tmp_path: Path) -> None:
    source = made(tmp_path, {"train.py": TRAIN, "environment.yml": CONDA})
    assert "conda's alone, left out: cudatoolkit, libgcc-ng, yaml" in source.notes


def test_a_project_that_installs_itself_is_there_when_it_does(tmp_path: Path) -> None:
    """`-e .` points to where the project lies when it runs; nothing else is copied before."""
    files = {
        "train.py": TRAIN,
        "requirements.txt": "-e .\nrich\n",
        "setup.py": "from setuptools import setup\nsetup(name='n')\n",
    }
    lines = text_of(made(tmp_path, files)).splitlines()
    at = lines.index("WORKDIR /workspace")
    assert lines[at + 1 : at + 3] == ["COPY . .", 'RUN ["python3", "-m", "pip", "install", "-r", "requirements.txt"]']
    assert not any(line.startswith("COPY [") for line in lines)


def test_a_version_from_git_is_given_where_no_git_is(tmp_path: Path) -> None:
    files = {
        "train.py": "print(1)\n",
        "pyproject.toml": PYPROJECT.format("") + '[project.scripts]\nn = "n:main"\n[tool.setuptools_scm]\n',
    }
    install = '"python3", "-m", "pip", "install", "--no-deps", "--no-cache-dir", "."]'
    assert f'RUN ["env", "SETUPTOOLS_SCM_PRETEND_VERSION=0", {install}' in text_of(made(tmp_path / "a", files))
    files["pyproject.toml"] = files["pyproject.toml"].replace("setuptools_scm", "x")
    assert f"RUN [{install}" in text_of(made(tmp_path / "b", files))


def test_code_in_a_folder_of_data_stays(tmp_path: Path) -> None:
    files = {"train.py": "print(1)\n", "data/loader.py": "", "data/c.json": "{}", "data/train.bin": "x", "runs/a.bin": "x", "env/game.py": "", "env2/pyvenv.cfg": ""}  # fmt: skip
    source: Any = made(tmp_path, files)
    kept = {each.path for each in source.listing.files}
    assert {"data/loader.py", "data/c.json", "env/game.py"} <= kept and not {"data/train.bin", "runs/a.bin"} & kept
    (tmp_path / "net" / "env" / "pyvenv.cfg").write_text("home = /usr\n")
    again: Any = made(tmp_path, {})
    assert "env/game.py" not in {each.path for each in again.listing.files}


STARTS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "a package's": (("titan/__init__.py", "titan/train.py", "titan/experiments/a/train.py", ".github/x.py"), "titan/train.py"),
    "one of many examples": (("mnist/main.py", "dcgan/main.py", "time/train.py", "lang/sub/train.py"), None),
    "without a guard": (("train_gpt.py", "train_utils.py", "sample.py"), "train_gpt.py"),
    "by its folder": (("src/clip/model.py", "src/clip_train/main.py", "scripts/a.py"), "src/clip_train/main.py"),
    "not an extension's": (("gpt/__main__.py", "extensions/thunder/pretrain.py"), "gpt/__main__.py"),
    "two": (("base_train.py", "chat_train.py"), None),
}


@pytest.mark.parametrize("name", STARTS)
def test_what_is_started_is_what_a_person_would_start(tmp_path: Path, name: str) -> None:
    names, start = STARTS[name]
    text = text_of(made(tmp_path, dict.fromkeys(names, TRAIN), base="python:3.11-slim"))
    assert (f'CMD ["python3", "{start}"]' in text) == (start is not None) and ("CMD" in text) == (start is not None), text
