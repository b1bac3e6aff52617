"""Each rule finds what it is about, in its line, and is silent where only that is right."""

from __future__ import annotations

from pathlib import Path

import pytest
from image_call import check, project, severities, statuses

DLC = "FROM public.ecr.aws/deep-learning-containers/pytorch:2.13-cu133-amzn2023\n"
DLC_211 = "FROM public.ecr.aws/deep-learning-containers/pytorch:2.11-cu130-amzn2023\n"
HUB = "FROM pytorch/pytorch:2.14.1-cuda13.2-cudnn9-{}\n"
SLIM = "FROM python:3.12-slim\n"
CU126 = "https://download.example/whl/cu126"
WHEEL = "https://github.example/flash_attn-2.8.3+cu12torch2.8cxx11abiTRUE-cp312-cp312-linux_x86_64.whl"
INSTALL = "COPY requirements.txt .\nRUN pip install -r requirements.txt\n"

Files = dict[str, str]


def needs(text: str) -> Files:
    return {"requirements.txt": text}


def image(start: str, text: str = "") -> Files:
    return {"Dockerfile": start + (INSTALL if text else ""), **({"requirements.txt": text} if text else {})}


RULES: list[tuple[str, str, Files, Files, str, tuple[str, ...]]] = [
    # id, severity, wrong, right, where, words
    (
        "torch.pair",
        "fail",
        needs("torch==2.4.0\ntorchvision==0.20.0\n"),
        needs("torch==2.4.0\ntorchvision==0.19.0\n"),
        "requirements.txt:2",
        (),
    ),
    (
        "torch.pair",
        "fail",
        needs("torch==2.4.0\ntorchaudio==2.5.0\n"),
        needs("torch==2.4.0\ntorchaudio==2.4.0\n"),
        "requirements.txt:2",
        (),
    ),
    (
        "torch.pair",
        "fail",
        needs("triton==3.0.0\ntorch==2.13.0\n"),
        needs("triton==3.7.1\ntorch==2.13.0\n"),
        "requirements.txt:1",
        (),
    ),
    ("torch.pair", "fail", image(DLC, "torchvision==0.25.0\n"), image(DLC, "torchvision==0.28.0\n"), "requirements.txt:1", ()),
    ("torch.pair", "warn", needs("torch==2.9.1\ntorchaudio\n"), needs("torch==2.12.1\ntorchaudio\n"), "requirements.txt:2", ()),
    (
        "torch.pair",
        "fail",
        needs("torch==2.13.0\ntorchvision==0.29.2\n"),
        needs("torch==2.15.0\ntorchvision==0.29.2\n"),
        "requirements.txt:2",
        (),
    ),
    ("torch.again", "fail", image(DLC, "torch==2.12.1\n"), image(DLC, "torch>=2.12\n"), "requirements.txt:1", ()),
    (
        "torch.again",
        "fail",
        image("FROM nvcr.io/nvidia/pytorch:26.05-py3\n", "torch>=2.12\n"),
        image("FROM nvcr.io/nvidia/pytorch:26.05-py3\n", "torch>=2.11\n"),
        "requirements.txt:1",
        (),
    ),
    (
        "torch.build",
        "fail",
        needs(f"-i {CU126[:-3]}128\ntorch==2.15.0\n"),
        needs(f"-i {CU126}\ntorch==2.15.0\n"),
        "requirements.txt:2",
        (),
    ),
    ("torch.version", "unknown", needs("torch==3.1.0\n"), needs("torch==2.15.0\n"), "requirements.txt:1", ()),
    (
        "gpu.kernels",
        "fail",
        needs("torch==2.15.0\n"),
        needs(f"--index-url {CU126}\ntorch==2.15.0\n"),
        "requirements.txt:1",
        ("--instance-type", "p3.2xlarge"),
    ),
    (
        "gpu.kernels",
        "fail",
        needs("torch==2.5.1\n"),
        needs("torch==2.13.0\n"),
        "requirements.txt:1",
        ("--instance-type", "ml.p6-b200.48xlarge"),
    ),
    (
        "gpu.kernels",
        "fail",
        needs(f"-i {CU126[:-6]}/cpu\ntorch==2.13.0+cpu\n"),
        needs(f"-i {CU126[:-3]}130\ntorch==2.13.0+cu130\n"),
        "requirements.txt:2",
        ("--instance-type", "g5.8xlarge"),
    ),
    (
        "gpu.kernels",
        "unknown",
        needs("torch==2.8.0\n"),
        needs("torch==2.7.1\n"),
        "requirements.txt:1",
        ("--instance-type", "V100"),
    ),
    ("gpu.driver", "fail", needs("torch==2.13.0\n"), needs("torch==2.10.0\n"), "requirements.txt:1", ("--driver", "570.26")),
    ("python.torch", "fail", image(SLIM, "torch==2.1.2\n"), image(SLIM, "torch==2.4.1\n"), "requirements.txt:1", ()),
    (
        "python.numpy",
        "fail",
        image("FROM python:3.11-slim\n", "numpy==2.5.5\n"),
        image(SLIM, "numpy==2.5.5\n"),
        "requirements.txt:1",
        (),
    ),
    (
        "python.version",
        "fail",
        {**image(SLIM), "pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=3.13"\n'},
        {**image(SLIM), "pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=3.12.4"\n'},
        "Dockerfile:1",
        (),
    ),
    (
        "python.stages",
        "fail",
        {"Dockerfile": "FROM python:3.11 AS b\nRUN pip install six\n" + SLIM + "COPY --from=b /opt/venv /opt/venv\n"},
        {"Dockerfile": "FROM python:3.12 AS b\nRUN pip install six\n" + SLIM + "COPY --from=b /opt/venv /opt/venv\n"},
        "Dockerfile:4",
        (),
    ),
    ("numpy.abi", "fail", needs("torch==2.2.2\nnumpy\n"), needs("torch==2.2.2\nnumpy<2\n"), "requirements.txt:1", ()),
    ("numpy.abi", "fail", needs("pandas==2.0.3\n"), needs("pandas==2.2.3\n"), "requirements.txt:1", ()),
    ("numpy.abi", "fail", needs("opencv-python<4.10\n"), needs("opencv-python<4.12\n"), "requirements.txt:1", ()),
    (
        "numpy.abi",
        "fail",
        needs("pandas==2.0.3\n"),
        needs("pandas==2.0.3\n-c c.txt\n") | {"c.txt": "numpy==1.26.4\n"},
        "requirements.txt:1",
        (),
    ),
    (
        "extension.torch",
        "fail",
        needs("torch==2.9.1\nxformers==0.0.32.post2\n"),
        needs("torch==2.8.0\nxformers==0.0.32.post2\n"),
        "requirements.txt:2",
        (),
    ),
    (
        "extension.build",
        "fail",
        {"Dockerfile": HUB.format("runtime") + "RUN pip install --no-build-isolation flash-attn\n"},
        {"Dockerfile": HUB.format("devel") + "RUN pip install --no-build-isolation flash-attn\n"},
        "Dockerfile:2",
        (),
    ),
    (
        "extension.build",
        "fail",
        {"Dockerfile": HUB.format("devel") + "RUN uv pip install --system 'transformer_engine[pytorch]'\n"},
        {
            "Dockerfile": HUB.format("devel")
            + "RUN uv pip install --system --no-build-isolation 'transformer_engine[pytorch]'\n"
        },
        "Dockerfile:2",
        (),
    ),
    ("extension.wheel", "fail", needs(f"torch==2.9.1\n{WHEEL}\n"), needs(f"torch==2.8.0\n{WHEEL}\n"), "requirements.txt:2", ()),
    (
        "hyperpod.torch",
        "fail",
        image(DLC, "hyperpod-elastic-agent\n"),
        image(DLC_211, "hyperpod-elastic-agent\n"),
        "requirements.txt:1",
        (),
    ),
    (
        "hyperpod.pip",
        "fail",
        image(DLC_211, "hyperpod-elastic-agent\npip==26.0\n"),
        image(DLC_211, "hyperpod-elastic-agent\npip==25.2\n"),
        "requirements.txt:2",
        (),
    ),
    (
        "nccl.version",
        "fail",
        needs("torch==2.13.0\nnvidia-nccl-cu12\n"),
        needs("torch==2.13.0\nnvidia-nccl-cu13\n"),
        "requirements.txt:2",
        (),
    ),
    (
        "nccl.version",
        "fail",
        needs("torch==2.13.0\nnvidia-nccl-cu13==2.28.9\n"),
        needs("torch==2.13.0\nnvidia-nccl-cu13==2.29.7\n"),
        "requirements.txt:2",
        (),
    ),
    ("nccl.efa", "warn", image(HUB.format("runtime")), image(DLC), "Dockerfile:1", ("--instance-type", "p5.48xlarge")),
    ("glibc.floor", "fail", image("FROM python:3.12-alpine\n", "torch\n"), image(SLIM, "torch\n"), "requirements.txt:1", ()),
    (
        "glibc.floor",
        "fail",
        image("FROM python:3.12-slim-bookworm\n", "nvidia-resiliency-ext==0.7.0\n"),
        image("FROM ubuntu:24.04\n", "nvidia-resiliency-ext==0.7.0\n"),
        "requirements.txt:1",
        (),
    ),
    ("name.trap", "fail", needs("cv2\n"), needs("opencv-python\n"), "requirements.txt:1", ()),
    (
        "name.trap",
        "fail",
        {"Dockerfile": SLIM + "RUN pip install \\\n  six PIL\n"},
        {"Dockerfile": SLIM + "RUN pip install \\\n  six pillow\n"},
        "Dockerfile:3",
        (),
    ),
    (
        "name.trap",
        "fail",
        needs("hyperpod-checkpointless-training\n"),
        needs("hyperpod-elastic-agent\n"),
        "requirements.txt:1",
        (),
    ),
    (
        "base.patch",
        "fail",
        image("FROM public.ecr.aws/deep-learning-containers/pytorch-training:2.8.0-gpu-py312-cu129-ubuntu22.04-ec2\n"),
        image(DLC),
        "Dockerfile:1",
        (),
    ),
    ("base.tag", "warn", image("FROM python\n"), image(SLIM), "Dockerfile:1", ()),
    (
        "base.known",
        "unknown",
        image("ARG IMAGE\nFROM $IMAGE\n"),
        image("ARG IMAGE=python:3.12-slim\nFROM $IMAGE\n"),
        "Dockerfile:2",
        (),
    ),
    (
        "requirements.contradiction",
        "fail",
        needs("numpy==1.26.4\nnumpy>=2\n"),
        needs("numpy==1.26.4\nnumpy>=1.20\n"),
        "requirements.txt:1",
        (),
    ),
    ("requirements.syntax", "fail", needs("torch=2.4\n"), needs("torch==2.4\n"), "requirements.txt:1", ()),
    (
        "requirements.syntax",
        "fail",
        needs("-r gone.txt\nsix\n"),
        needs("-r there.txt\nsix\n") | {"there.txt": "six\n"},
        "requirements.txt:1",
        (),
    ),
    (
        "requirements.missing",
        "warn",
        {"Dockerfile": SLIM + "RUN pip install -r /app/gone.txt six\n"},
        {"Dockerfile": SLIM + "RUN pip install -r /app/there.txt six\n", "there.txt": "six\n"},
        "Dockerfile:2",
        (),
    ),
]


@pytest.mark.parametrize(
    ("id", "severity", "wrong", "right", "where", "words"),
    RULES,
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_a_rule_finds_its_fault_and_nothing_else(
    tmp_path: Path, id: str, severity: str, wrong: Files, right: Files, where: str, words: tuple[str, ...]
) -> None:
    """Only the one thing differs between the two projects."""
    found = check(project(tmp_path / "wrong", wrong), *words)
    finding = next(each for each in found.data["findings"] if each["id"] == id)
    assert (finding["severity"], finding["where"]) == (severity, where)
    assert found.code == (0 if set(severities(found).values()) == {"warn"} else 1)
    control = check(project(tmp_path / "right", right), *words)
    assert id not in severities(control), control.data["findings"]


@pytest.mark.parametrize(
    ("torch", "partner", "wrong"),
    [
        ("2.0.0", "torchvision==0.15.1", "torchvision==0.15.2"),
        ("2.4.0", "torchvision==0.19.0", "torchvision==0.19.1"),
        ("2.5.0", "torchvision==0.20.0", "torchvision==0.20.1"),
        ("2.5.1", "torchvision==0.20.1", "torchvision==0.20.0"),
        ("2.7.0", "torchvision==0.22.0", "torchvision==0.21.0"),
        ("2.7.0", "torchaudio==2.7.0", "torchaudio==2.7.1"),
        ("2.9.0", "triton==3.5.0", "triton==3.4.0"),
        ("2.12.0", "torchvision==0.27.0", "torchvision==0.27.1"),
        ("2.14.0", "torchvision==0.29.2", "torchvision==0.28.0"),
    ],
)
def test_partners_are_those_of_the_very_release(tmp_path: Path, torch: str, partner: str, wrong: str) -> None:
    """`--fix` writes what the project can be installed with; the right one is no finding."""
    found = check(project(tmp_path / "wrong", needs(f"torch=={torch}\n{wrong}\n")), "--fix")
    assert severities(found)["torch.pair"] == "fail" and f"+{partner}" in found.data["diff"]
    assert "torch.pair" not in severities(check(project(tmp_path / "right", needs(f"torch=={torch}\n{partner}\n"))))


def test_a_torch_that_is_left_open_is_the_one_that_its_partner_pins(tmp_path: Path) -> None:
    found = check(project(tmp_path / "right", needs("torch>=2.0\ntorchvision==0.19.1\n")))
    assert severities(found) == {} and found.data["image"]["torch"] == "2.4.1"
    assert severities(check(project(tmp_path / "wrong", needs("torch>=2.5\ntorchvision==0.19.1\n"))))["torch.pair"] == "fail"


def test_a_patch_between_is_no_mismatch_where_nothing_resolves_it(tmp_path: Path) -> None:
    text = "FROM python:3.11-slim\nRUN pip install torch==2.4.0\nRUN pip install --no-deps torchvision==0.19.1\n"
    assert severities(check(project(tmp_path / "a", {"Dockerfile": text}))) == {}
    found = check(project(tmp_path / "b", needs("torch>=2.4,<2.4.1\ntorchvision\n")))
    assert severities(found) == {} and found.data["image"]["torch"] == "2.4.0"


CUDA118 = "FROM nvidia/cuda:11.8.0-cudnn8-devel-ubuntu22.04\n"
CUDA124 = "FROM nvidia/cuda:12.4.1-cudnn-devel-ubuntu22.04\n"
FLASH = "RUN pip install torch==2.5.1{}\nRUN pip install --no-build-isolation flash-attn\n"
SETUP = "from setuptools import setup\nfrom torch.utils.cpp_extension import CUDAExtension\n{}setup(ext_modules=[CUDAExtension('a', ['a.cu'])])\n"
OWN = "COPY . .\nRUN pip install --no-build-isolation .\n"
TCNN = "RUN pip install --no-build-isolation git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch\n"


@pytest.mark.parametrize(
    ("wrong", "right", "expected"),
    [
        # nvcc of another CUDA than torch's
        ({"Dockerfile": CUDA118 + FLASH.format("")}, {"Dockerfile": CUDA124 + FLASH.format("")}, ("fail", "Dockerfile:1")),
        (
            {"Dockerfile": CUDA124 + FLASH.format("+cu118 -i https://x/whl/cu118")},
            {"Dockerfile": CUDA118 + FLASH.format("+cu118 -i https://x/whl/cu118")},
            ("fail", "Dockerfile:1"),
        ),
        # no nvcc
        (
            {"Dockerfile": HUB.format("runtime") + "RUN pip install --no-build-isolation mamba-ssm\n"},
            {"Dockerfile": HUB.format("devel") + "RUN pip install --no-build-isolation mamba-ssm\n"},
            ("fail", "Dockerfile:2"),
        ),
        (
            {"Dockerfile": HUB.format("devel") + "RUN pip install causal-conv1d\n"},
            {"Dockerfile": HUB.format("devel") + "RUN pip install --no-build-isolation causal-conv1d\n"},
            ("warn", "Dockerfile:2"),
        ),
        ({"Dockerfile": HUB.format("runtime") + TCNN}, {"Dockerfile": HUB.format("devel") + TCNN}, ("fail", "Dockerfile:2")),
        (
            {
                "Dockerfile": HUB.format("runtime")
                + "RUN pip install --no-build-isolation git+https://github.com/facebookresearch/pytorch3d\n"
            },
            {
                "Dockerfile": HUB.format("devel")
                + "RUN pip install --no-build-isolation git+https://github.com/facebookresearch/pytorch3d\n"
            },
            ("warn", "Dockerfile:2"),
        ),
        (
            {"Dockerfile": HUB.format("runtime") + "RUN DS_BUILD_OPS=1 pip install deepspeed\n"},
            {"Dockerfile": HUB.format("runtime") + "RUN pip install deepspeed\n"},
            ("fail", "Dockerfile:2"),
        ),
        (
            {"Dockerfile": HUB.format("runtime") + OWN, "setup.py": SETUP.format("")},
            {"Dockerfile": HUB.format("devel") + OWN, "setup.py": SETUP.format("")},
            ("fail", "Dockerfile:3"),
        ),
        (
            {"Dockerfile": HUB.format("runtime") + OWN, "setup.py": SETUP.format("import os; os.environ\n")},
            {
                "Dockerfile": HUB.format("runtime") + OWN,
                "setup.py": "from setuptools import setup\n# CUDAExtension('a')\nsetup()\n",
            },
            ("warn", "Dockerfile:3"),
        ),
        # compiled in a stage that has nvcc
        (
            {"Dockerfile": HUB.format("runtime") + "RUN pip install --no-build-isolation apex\n"},
            {
                "Dockerfile": HUB.format("devel").replace("\n", " AS b\n")
                + "RUN pip wheel x && pip install --no-build-isolation mamba-ssm\n"
                + HUB.format("runtime")
                + "COPY --from=b /opt/conda /opt/conda\n"
            },
            ("fail", "Dockerfile:2"),
        ),
    ],
)
def test_what_is_compiled_needs_the_nvcc_of_torchs_cuda(
    tmp_path: Path, wrong: Files, right: Files, expected: tuple[str, str]
) -> None:
    found = check(project(tmp_path / "wrong", wrong))
    assert [(each["severity"], each["where"]) for each in found.data["findings"] if each["id"] == "extension.build"] == [
        expected
    ]
    control = check(project(tmp_path / "right", right))
    assert "extension.build" not in severities(control), control.data["findings"]
    assert "torch.again" not in severities(found) and "torch.again" not in severities(control)


def test_the_way_out_of_another_nvcc_names_both_versions(tmp_path: Path) -> None:
    found = check(project(tmp_path, {"Dockerfile": CUDA118 + FLASH.format("")}))
    only = next(each for each in found.data["findings"] if each["id"] == "extension.build")
    assert only["instead"] == "FROM nvidia/cuda:12.4.x-devel-..., or torch 2.5.1+cu118"
    assert "nvcc of CUDA 11.8" in only["what"] and "CUDA 12.4" in only["what"]


def test_an_architecture_that_nvcc_does_not_know_is_found(tmp_path: Path) -> None:
    text = 'ENV TORCH_CUDA_ARCH_LIST="{}"\nRUN pip install torch==2.5.1\n'
    found = check(project(tmp_path / "wrong", {"Dockerfile": CUDA124 + text.format("9.0;10.0;12.0")}))
    only = next(each for each in found.data["findings"] if each["id"] == "extension.arch")
    assert only["where"] == "Dockerfile:2" and "10.0, 12.0" in only["what"] and '"9.0"' in only["instead"]
    assert "extension.arch" not in severities(
        check(project(tmp_path / "right", {"Dockerfile": CUDA124 + text.format("8.0 9.0+PTX")}))
    )


@pytest.mark.parametrize(
    "right",
    [
        needs("--extra-index-url https://x/whl/cu118\ntorch==2.3.1+cu118\n"),
        needs("-f https://x/torch_stable.html\ntorch==2.3.1+cu118\n"),
        {**needs("torch==2.3.1+cu118\n"), "pip.conf": "[global]\n"},
        {"Dockerfile": SLIM + "ENV PIP_EXTRA_INDEX_URL=https://x/whl/cu118\nRUN pip install torch==2.3.1+cu118\n"},
        {"Dockerfile": SLIM + "RUN pip install -f https://x torch==2.3.1+cu118\n"},
        {"Dockerfile": "FROM pytorch/pytorch:2.3.1-cuda11.8-cudnn8-runtime\nRUN pip install torch==2.3.1+cu118\n"},
        needs("torch==2.3.1\n"),
        needs("https://x.example/torch-2.3.1+cu118-cp311-cp311-linux_x86_64.whl\n"),
    ],
)
def test_a_build_of_torchs_own_index_is_right_where_an_index_is_named(tmp_path: Path, right: Files) -> None:
    assert "torch.index" not in severities(check(project(tmp_path, right)))


@pytest.mark.parametrize(
    ("wrong", "where", "severity"),
    [
        (needs("numpy<2\ntorch==2.3.1+cu118\n"), "requirements.txt:2", "fail"),
        (needs("torch==2.3.1\ntorchvision==0.18.1+cpu\n"), "requirements.txt:2", "fail"),
        ({"Dockerfile": "FROM python:3.11-slim\nRUN pip install 'torch==2.3.1+cu118'\n"}, "Dockerfile:2", "fail"),
        ({"Dockerfile": "FROM registry.example/own:1\nRUN pip install torch==2.3.1+cu118\n"}, "Dockerfile:2", "warn"),
    ],
)
def test_a_build_of_torchs_own_index_without_one_is_found(tmp_path: Path, wrong: Files, where: str, severity: str) -> None:
    found = check(project(tmp_path, wrong))
    only = [each for each in found.data["findings"] if each["id"] == "torch.index"]
    assert [(each["where"], each["severity"]) for each in only] == [(where, severity)], found.data["findings"]


NOTHING = {"Dockerfile": SLIM + "COPY . .\nCMD python train.py\n", "requirements.txt": "torch==2.13.0\n", "train.py": ""}


@pytest.mark.parametrize(
    "right",
    [
        {"Dockerfile": SLIM + "COPY . .\nRUN pip install -r requirements.txt\n"},
        {"Dockerfile": SLIM + "COPY . .\nRUN bash setup.sh\n"},
        {"Dockerfile": SLIM + "COPY . .\nRUN make deps\n"},
        {"Dockerfile": SLIM + "COPY . .\nCMD pip install -r requirements.txt && python train.py\n"},
        {"Dockerfile": "FROM python:3.12 AS b\nRUN pip install torch\n" + SLIM + "COPY --from=b /usr/local /usr/local\n"},
        {"Dockerfile": DLC + "COPY . .\n"},
        {"Dockerfile": "FROM registry.example/own:1\nCOPY . .\n"},
    ],
)
def test_a_dockerfile_that_installs_nothing_of_what_is_asked_is_found(tmp_path: Path, right: Files) -> None:
    found = check(project(tmp_path / "wrong", NOTHING))
    assert found.code == 0 and severities(found) == {"requirements.installed": "warn"}
    control = check(project(tmp_path / "right", {**NOTHING, **right}))
    assert "requirements.installed" not in severities(control), control.data["findings"]


@pytest.mark.parametrize(
    ("copy", "ignore", "warns"), [(".", "", True), (".", ".git\n", False), (".", "**/.git\n", False), ("train.py", "", False)]
)
def test_gits_history_in_the_image_is_a_warning(tmp_path: Path, copy: str, ignore: str, warns: bool) -> None:
    files = {".git/HEAD": "ref", "train.py": "", "Dockerfile": SLIM + f"COPY {copy} /app/\n", ".dockerignore": ignore}
    assert ("context.git" in severities(check(project(tmp_path, files)))) is warns


def test_a_cuda_version_as_the_driver_is_named(tmp_path: Path) -> None:
    found = check(project(tmp_path, needs("six\n")), "--driver", "11040")
    assert found.code == 2 and "CUDA 11.4" in str(found.document) and "470" in str(found.document)


def test_a_file_that_hides_a_package_is_found(tmp_path: Path) -> None:
    found = check(
        project(tmp_path / "wrong", {"requirements.txt": "PyYAML\n", "yaml.py": "", "random.py": "", "src/torch.py": ""})
    )
    assert [(each["severity"], each["what"].split()[0]) for each in found.data["findings"]] == [
        ("fail", "yaml.py"),
        ("warn", "random.py"),
    ]
    control = {"requirements.txt": "PyYAML\n", "config.py": "", "wandb/run.log": "", "yaml/readme.md": ""}
    assert check(project(tmp_path / "right", control)).data["findings"] == []


def test_a_package_of_that_name_is_no_trap_for_itself(tmp_path: Path) -> None:
    files = {
        "pyproject.toml": '[project]\nname = "yaml"\ndependencies = ["yaml ; python_version < \'3\'"]\n',
        "yaml/__init__.py": "",
    }
    assert severities(check(project(tmp_path, files))) == {}


def test_ends_of_patch_are_judged_on_the_day(tmp_path: Path) -> None:
    folder = project(tmp_path, image(DLC))
    assert ("base.patch", "pass") in statuses(check(folder))
    assert severities(check(folder, "--as-of", "2027-07-01")) == {"base.patch": "warn"}
    assert severities(check(folder, "--as-of", "2027-07-21")) == {"base.patch": "fail"}


def test_an_image_of_ones_own_is_not_judged(tmp_path: Path) -> None:
    found = check(project(tmp_path, image("FROM registry.example:5000/team/base:1.2\n", "six\n")))
    assert found.code == 0 and ("base.known", "skipped") in statuses(found)


def test_nothing_to_judge_is_unknown(tmp_path: Path) -> None:
    found = check(project(tmp_path / "a", {"readme.md": "hello\n"}))
    assert found.code == 1 and severities(found) == {"requirements.read": "unknown"}
    assert check(project(tmp_path / "b", {"train.py": "import numpy\n"})).code == 0


def test_the_answer_says_what_judged(tmp_path: Path) -> None:
    judge = check(project(tmp_path, needs("six\n"))).data["judged_by"]
    assert judge["judge"] == "table" and judge["index_asked"] is False and judge["dates"]["package_rules"] >= "2026-11-29"
