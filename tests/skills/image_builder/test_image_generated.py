"""A project without a Dockerfile: what is found in it, the Dockerfile that is made, the runtime's wheel, and a real build of it."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.calling import call
from tests.components.images.fixtures import full_images
from tests.components.images.old_docker import OldDocker
from tests.skills.image_builder.image_call import SMOKE, build, check, module, project

ENTRY: Any = module("generated.entry")
SOURCE: Any = module("generated.source")
WHEEL: Any = module("generated.runtime_wheel")
FILES: Any = module("asked.files")
WANTED: Any = module("build_source")
SHELL: Any = module("trainyard_shell")
ROOT = Path(__file__).resolve().parents[3]
TRAIN = "import torch\nif __name__ == '__main__':\n    print(torch.ones(1))\n"


def made(folder: Path, files: Mapping[str, str], **wishes: Any) -> Any:
    root = project(folder / "net", files)
    return SOURCE.generated(FILES.open_folder(str(root)), WANTED.Wanted(), SOURCE.Wishes(**{"runtime_wheel": "none", **wishes}))


def text_of(source: Any) -> str:
    return str(source.recipe.dockerfile)


PIP = ["python3", "-m", "pip", "install"]
DECLARED = {
    "requirements": ({"requirements.txt": "numpy==2.4.6\n"}, [["-r", "requirements.txt"]], "from requirements.txt"),
    "included": (
        {"requirements.txt": "-r more/base.txt\n-c pins.txt\n", "more/base.txt": "numpy\n", "pins.txt": "numpy<3\n"},
        [["-r", "requirements.txt"]],
        "from requirements.txt",
    ),
    "pyproject": (
        {"pyproject.toml": '[project]\nname = "net"\nversion = "1"\ndependencies = ["numpy>=2; python_version>\'3\'", "rich[jupyter]"]\n'},
        [['numpy>=2 ; python_version > "3"', "rich[jupyter]"]],
        "from pyproject.toml",
    ),
    "uv": (
        {
            "pyproject.toml": '[project]\nname = "net"\nversion = "1"\ndependencies = ["numpy"]\n',
            "uv.lock": 'version = 1\n\n[[package]]\nname = "numpy"\nversion = "2.4.6"\nsource = { registry = "https://index.example/simple" }\n',
        },
        [["uv>=0.5"]],
        "uv.lock holds every version",
    ),
    "conda": ({"environment.yml": "dependencies:\n- python=3.11\n- numpy=2.1\n- pip:\n  - rich==13.7\n"}, [["numpy==2.1.*", "rich==13.7"]], "from environment.yml"),
    "setup": ({"setup.py": "from setuptools import setup\nsetup(name='net', install_requires=['numpy<3'])\n"}, [["numpy<3"]], "from setup.py"),
    "imports": ({"train.py": "import cv2, numpy\nimport os\n"}, [["numpy", "opencv-python-headless"]], "from the imports"),
    "nothing": ({"train.py": "import os\n"}, [], "needs no package"),
}  # fmt: skip


@pytest.mark.parametrize("name", DECLARED)
def test_what_the_project_asks_for_is_installed_with_the_reason(tmp_path: Path, name: str) -> None:
    files, calls, reason = DECLARED[name]
    source = made(tmp_path, {"train.py": "print(1)\n", **files})
    text = text_of(source)
    lines = [
        json.loads(line.removeprefix("RUN ")) for line in text.splitlines() if line.startswith('RUN ["python3", "-m", "pip"')
    ]
    assert [line[len(PIP) :] for line in lines] == calls, text
    assert any(reason in note for note in source.notes), source.notes
    for file in files:
        if file.endswith((".txt", ".lock")):
            assert f'COPY ["{file}", "{file}"]' in text
    assert not text.lower().startswith("# syntax") and "\n# syntax=" not in text


PYTHONS = {
    "3.11": {".python-version": "3.11.4\n"},
    "3.13": {"pyproject.toml": '[project]\nname = "n"\nversion = "1"\nrequires-python = ">=3.13"\n'},
    "3.10": {"environment.yml": "dependencies:\n- python=3.10\n"},
    "3.12": {"train.py": "print(1)\n"},
}


@pytest.mark.parametrize("version", PYTHONS)
def test_the_projects_python_is_taken(tmp_path: Path, version: str) -> None:
    text = text_of(made(tmp_path, {"train.py": "print(1)\n", **PYTHONS[version]}))
    assert f"FROM python:{version} AS build\n" in text and f"FROM python:{version}-slim\n" in text


@pytest.mark.parametrize(
    ("files", "entry"),
    [
        ({"train.py": "", "main.py": ""}, "train.py"),
        ({"src/train.py": "", "tool.py": ""}, "src/train.py"),
        ({"a.py": "x = 1\n", "go.py": TRAIN}, "go.py"),
        ({"run_training.py": TRAIN, "plot.py": TRAIN, "tests/train_test.py": TRAIN}, "run_training.py"),
        ({"one.py": TRAIN, "two.py": TRAIN}, None),
        ({"lib.py": "x = 1\n"}, None),
    ],
)
def test_the_entry_point_is_found_or_left_open(tmp_path: Path, files: dict[str, str], entry: str | None) -> None:
    source = made(tmp_path, files, base="python:3.11-slim")
    assert (f'CMD ["python3", "{entry}"]' in text_of(source)) == (entry is not None)
    assert ("CMD" in text_of(source)) == (entry is not None)
    assert any(note.startswith(f"starts {entry or 'nothing'}: ") for note in source.notes)


def test_a_user_that_is_asked_for_owns_the_project(tmp_path: Path) -> None:
    source = made(tmp_path, {"train.py": TRAIN}, base="python:3.11-slim", user="0")
    assert "USER 0:0\n" in text_of(source) and "COPY --chown=0:0 . .\n" in text_of(source)
    with pytest.raises(Exception, match="is not a number"):
        made(tmp_path, {"train.py": TRAIN}, base="python:3.11-slim", user="root; rm")


def test_torch_takes_a_base_image_that_has_it_and_its_python(tmp_path: Path) -> None:
    """One stage: a copied environment would hold torch twice. The whole is judged by conflict_analyzer."""
    source = made(tmp_path, {"train.py": TRAIN, "requirements.txt": "torch>=2.12\nnumpy==2.4.6\n"}, instance_type="p5.48xlarge")
    text = text_of(source)
    assert "FROM public.ecr.aws/deep-learning-containers/pytorch:2.13-cu133-amzn2023\n" in text
    assert "/opt/venv" not in text and text.count("FROM ") == 1 and "USER 1000:1000\n" in text
    (source.folder.path / "Dockerfile").write_text(text)
    judged = check(source.folder.path, "--instance-type", "p5.48xlarge")
    assert not [each for each in judged.data["findings"] if each["severity"] in ("fail", "unknown")], judged.data["findings"]


def test_efa_needs_an_image_that_has_it(tmp_path: Path) -> None:
    files = {"train.py": TRAIN, "requirements.txt": "torch\n"}
    assert "deep-learning-containers" in text_of(made(tmp_path, files, job_network="efa"))
    with pytest.raises(SHELL.SkillError, match="EFA libraries"):
        made(tmp_path / "2", files, job_network="efa", base="python:3.11-slim")
    with pytest.raises(SHELL.SkillError, match="EFA libraries"):
        made(tmp_path / "3", {"train.py": "print(1)\n"}, job_network="efa")


def test_a_requirement_is_a_word_and_no_instruction(tmp_path: Path) -> None:
    """What a hostile file says stays one word of pip's."""
    hostile = '[project]\nname = "n"\nversion = "1"\ndependencies = ["numpy @ https://x/$(touch /tmp/x)\'\\"; RUN rm"]\n'
    text = text_of(made(tmp_path, {"train.py": "print(1)\n", "pyproject.toml": hostile, "a\nRUN b.txt": ""}))
    assert [line.split()[0] for line in text.splitlines() if line and not line.startswith("#")] == (
        ["FROM", "WORKDIR", "RUN", "ENV", "FROM", "COPY", "ENV", "ENV", "RUN", "WORKDIR", "COPY", "USER", "CMD"]
        if "touch" not in text
        else ["FROM", "WORKDIR", "RUN", "ENV", "RUN", "FROM", "COPY", "ENV", "ENV", "RUN", "WORKDIR", "COPY", "USER", "CMD"]
    )


# --- the runtime's wheel -----------------------------------------------------------------------------------------


def test_the_wheel_is_what_make_wheel_builds(tmp_path: Path) -> None:
    """The same modules, requirements and version; an installer takes it; the same checkout gives the same bytes."""
    wheel = WHEEL.made(ROOT)
    assert wheel.data == WHEEL.made(ROOT).data
    path = tmp_path / wheel.name
    path.write_bytes(wheel.data)
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    with zipfile.ZipFile(path) as archive:
        modules = {name for name in archive.namelist() if name.endswith(".py")}
        about = f"trainyard-{stated['version']}.dist-info"
        needs = [
            line.partition(": ")[2]
            for line in archive.read(f"{about}/METADATA").decode().splitlines()
            if line.startswith("Requires-Dist")
        ]
        for line in archive.read(f"{about}/RECORD").decode().splitlines():
            name, digest, _ = line.split(",")
            if digest:
                held = base64.urlsafe_b64encode(hashlib.sha256(archive.read(name)).digest()).rstrip(b"=").decode()
                assert digest == f"sha256={held}", name
    package = ROOT / "training" / "trainyard"
    assert modules == {f"trainyard/{path.relative_to(package)}" for path in package.rglob("*.py")}
    assert needs == stated["dependencies"]
    words = [
        Path(sys.prefix) / "bin" / "uv",
        "pip",
        "install",
        "-q",
        "--offline",
        "--no-deps",
        "--target",
        tmp_path / "site",
        path,
    ]
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and (tmp_path / "site" / "trainyard" / "launch.py").exists(), done.stderr


def test_a_wheel_can_be_named_or_left_out(tmp_path: Path) -> None:
    files = {"train.py": "print(1)\n"}
    wheel = WHEEL.made(ROOT)
    (tmp_path / wheel.name).write_bytes(wheel.data)
    named = made(tmp_path, files, runtime_wheel=str(tmp_path / wheel.name))
    assert f'RUN ["python3", "-m", "pip", "install", "wheels/{wheel.name}"]' in text_of(named)
    assert dict(named.recipe.files) == {f"wheels/{wheel.name}": wheel.data}
    without = made(tmp_path, files, runtime_wheel="none")
    assert "wheels/" not in text_of(without) and any(each.id == "generated.runtime" for each in SOURCE.checks(without))
    (tmp_path / "other-1.whl").touch()
    for wrong in ("other-1.whl", "nowhere/trainyard-1-py3-none-any.whl"):
        with pytest.raises(SHELL.SkillError, match="--runtime-wheel"):
            made(tmp_path, files, runtime_wheel=str(tmp_path / wrong))


# --- built -------------------------------------------------------------------------------------------------------


@pytest.fixture
def docker(old_docker: OldDocker) -> dict[str, str]:
    return old_docker.environment()


def test_a_generated_image_runs_as_an_unprivileged_user(tmp_path: Path, docker: dict[str, str], old_docker: OldDocker) -> None:
    """Shown before it is built; nothing is written into the project without --write."""
    root = project(
        tmp_path / "net",
        {
            "train.py": "import os, pwd, helper\nprint(os.getcwd(), *pwd.getpwuid(os.getuid())[2:])\nopen('x', 'w')\n",
            "src/helper.py": "",
        },
    )
    before = sorted(root.rglob("*"))
    answer = build(root, "--base", "python:3.11-slim", "--runtime-wheel", "none", "--network", "host", env=docker)
    assert answer.code == 0, answer.document
    assert answer.data["dockerfile"] == "generated" and "    FROM python:3.11-slim AS build" in answer.stderr
    assert sorted(root.rglob("*")) == before
    image = f"{answer.data['image']}:{answer.data['tag']}"
    named = "/workspace 1000 1000  /home/trainer /bin/sh\n"
    assert old_docker.run("run", "--rm", "--network", "none", "--cap-drop", "ALL", image).stdout == named


def test_write_keeps_what_was_generated(tmp_path: Path, docker: dict[str, str]) -> None:
    """And the same call again builds from it; a Dockerfile of somebody's is never replaced."""
    root = project(tmp_path / "net", {"train.py": "print(1)\n"})
    words = ("--base", "python:3.11-slim", "--network", "host")
    answer = build(root, *words, "--write", "--timeout", "1", env=docker)
    written = {path.name for path in root.rglob("*") if path.is_file()} - {"train.py"}
    assert written == {"Dockerfile", "Dockerfile.dockerignore", WHEEL.made(ROOT).name}
    assert answer.code == 7  # what was generated is kept whatever becomes of the build
    again = build(root, *words, "--dry-run", env=docker)
    assert again.data["dockerfile"] == "given" and again.data["would_run"][-1] == str(root)
    (root / "Dockerfile").unlink()
    (root / "Dockerfile.dockerignore").write_text("mine\n")
    refused = build(root, *words, "--write", env=docker)
    assert refused.code == 5 and "Dockerfile.dockerignore is there already" in refused.error["message"]
    assert (root / "Dockerfile.dockerignore").read_text() == "mine\n" and not (root / "Dockerfile").exists()


SHIPPED = "from setuptools import setup\nsetup(name='net', version='1', py_modules=['helper'], package_dir={'': 'lib'})\n"
BUILT: dict[str, dict[str, str]] = {
    "it installs itself": {
        "train.py": "import helper, six\nprint(helper.__file__, six.__version__)\n",
        "setup.py": SHIPPED,
        "lib/helper.py": "",
        "requirements.txt": "-e .\nsix==1.17.0\n",
    },
    "uv.lock": {
        "train.py": "import six, sys\nprint('/workspace/lib/helper.py', six.__version__)\n",
        "pyproject.toml": '[project]\nname = "net"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["six==1.17.0"]\n',
    },
    "conda's file": {
        "train.py": "import six\nprint('/workspace/lib/helper.py', six.__version__)\n",
        "environment.yml": "dependencies:\n- python=3.11\n- cudatoolkit=11.8\n- libgcc-ng\n- six=1.17\n",
    },
}


@full_images
@pytest.mark.parametrize("name", BUILT)
def test_what_is_generated_builds_and_runs(tmp_path: Path, docker: dict[str, str], old_docker: OldDocker, name: str) -> None:
    root = project(tmp_path / "net", BUILT[name])
    if name == "uv.lock":
        uv = [str(Path(sys.prefix) / "bin" / "uv"), "lock", "--quiet", "--python", sys.executable]
        subprocess.run(uv, cwd=root, check=True, timeout=120)
    words = ("--base", "python:3.11-slim", "--runtime-wheel", "none", "--network", "host", "--attempts", "1")
    answer = build(root, *words, env=docker)
    assert answer.code == 0, answer.stderr[-3000:]
    image = f"{answer.data['image']}:{answer.data['tag']}"
    assert old_docker.run("run", "--rm", "--network", "none", image).stdout == "/workspace/lib/helper.py 1.17.0\n"


@full_images
def test_a_generated_image_trains(tmp_path: Path, docker: dict[str, str], old_docker: OldDocker) -> None:
    """With torch, the runtime and all they need; then the smoke test of it, and its one step of training."""
    code = "import torch, trainyard\nx = torch.nn.Linear(2, 2)\nx(torch.ones(1, 2)).sum().backward()\nprint('trained', float(x.bias.grad.sum()))\n"
    root = project(tmp_path / "net", {"train.py": code, "requirements.txt": "torch\nnumpy\n"})
    answer = build(root, "--base", "python:3.11-slim", "--network", "host", env=docker, timeout_s=900)
    assert answer.code == 0, answer.document
    image = f"{answer.data['image']}:{answer.data['tag']}"
    assert old_docker.run("run", "--rm", "--network", "none", image).stdout == "trained 2.0\n"
    smoked = call(SMOKE, "run", image, "--import", "trainyard", env=docker)
    assert smoked.code == 0, smoked.document
    assert smoked.check("smoke.all-reduce")["status"] == "pass" and smoked.check("smoke.start")["summary"].endswith("user 1000")
