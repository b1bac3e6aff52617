"""`conflict_analyzer.py check`, the whole program: a project with conflicts, and one of 2,000 files."""

from __future__ import annotations

from pathlib import Path

from benchmarks.images import PROGRAMS, measured, ours, places
from benchmarks.measuring import Bound, Contestant, Group

MAX_S = 0.5
DOCKERFILE = """FROM nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04
ARG VERSION=2.6.0
RUN apt-get update && apt-get install -y python3-pip git
COPY requirements.txt .
RUN pip install torch==${VERSION} --index-url https://download.pytorch.org/whl/cu118 && pip install -r requirements.txt
COPY . /app
CMD ["torchrun", "/app/train.py"]
"""
REQUIREMENTS = """torchvision==0.15.0
torchaudio
flash-attn==2.5.8
xformers
transformer-engine
numpy>=2
scikit-learn==1.3.0
transformers
deepspeed
hyperpod-elastic-agent
"""
FILES = 2_000
MODULE = "import os\nimport torch\nimport numpy as np\n\n\n" + "def f(x):\n    return torch.relu(x) + np.pi\n\n\n" * 40
"""3 kB, as modules are."""


def run(root: Path, folder: Path, repeats: int) -> Group:
    """Seconds of the whole program, its start included."""
    sizes = {"a project of 3 files": 1, f"a project of {FILES:,} modules": FILES}
    contestants: dict[str, Contestant] = {
        name: _checker(root, folder, make_project(folder / str(files), files)) for name, files in sizes.items()
    }
    series, notes = measured(contestants, repeats)
    bounds = [Bound(f"check of {name}", series[name].seconds, MAX_S) for name in sizes]
    return Group("conflicts of an image", list(series.values()), notes=notes, bounds=bounds)


def make_project(folder: Path, files: int) -> Path:
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / "requirements.txt").write_text(REQUIREMENTS)
    for number in range(files):
        (place := folder / f"part{number // 50}").mkdir(exist_ok=True)
        (place / f"module{number}.py").write_text(MODULE)
    return folder


def _checker(root: Path, folder: Path, project: Path) -> Contestant:
    env = places(folder)

    def once() -> float:
        ran = ours(
            root / PROGRAMS / "conflict_analyzer.py",
            "check",
            "--offline",
            project,
            "--instance-type",
            "p5.48xlarge",
            env=env,
            codes=[1],
        )
        if not any(each["severity"] == "fail" for each in ran.document["data"]["findings"]):
            raise RuntimeError(f"no conflict was found: {ran.document['data']}")
        return ran.seconds

    return once
