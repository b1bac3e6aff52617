"""The base image that is chosen, with its reason; an instance type that nobody knows is an error."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest
import yaml
from image_call import SRC, project, select

ASSETS = SRC.parent / "assets"
BASES = yaml.safe_load((ASSETS / "base_images.yaml").read_text())
GPUS = yaml.safe_load((ASSETS / "gpu_builds.yaml").read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return project(tmp_path / "net", {"requirements.txt": "torch\n"})


@pytest.mark.parametrize(
    ("words", "image"),
    [
        ((), "pytorch:2.13-cu133-amzn2023"),
        (("--instance-type", "p5.48xlarge"), "pytorch:2.13-cu133-amzn2023"),
        (("--instance-type", "ml.p6-b300.48xlarge"), "pytorch:2.13-cu133-amzn2023"),
        (("--instance-type", "p3.16xlarge"), "pytorch:2.14.1-cuda12.6-cudnn9-runtime"),
        (("--instance-type", "m5.large"), "pytorch:2.13-cpu-amzn2023"),
        (("--torch", ">=2.4,<2.12"), "pytorch-training:2.10.0-gpu-py313-cu130-ubuntu22.04-ec2"),
        (("--torch", "2.11"), "pytorch:2.11-cu130-amzn2023"),
        (("--torch", "2.14", "--instance-type", "H100"), "pytorch:2.14.1-cuda13.2-cudnn9-runtime"),
        (("--python", "3.13"), "pytorch-training:2.10.0-gpu-py313-cu130-ubuntu22.04-ec2"),
    ],
)
def test_the_image_fits_what_is_asked(folder: Path, words: tuple[str, ...], image: str) -> None:
    found = select(folder, *words)
    assert found.code == 0 and found.data["image"].rpartition("/")[2] == image, (found.data["image"], found.data["reason"])
    assert found.data["reason"] and found.data["table_date"] == str(BASES["date"])
    assert found.data["facts"]["torch"] and found.data["image"] not in [each["image"] for each in found.data["runners_up"]]


def test_the_project_is_asked_where_no_option_says_it(tmp_path: Path) -> None:
    one = project(tmp_path / "a", {"requirements.txt": "torch==2.12.1\n"})
    assert select(one).data["facts"]["torch"] == "2.12.1"
    assert select(one, "--torch", "2.13").data["facts"]["torch"] == "2.13.0"
    other = project(
        tmp_path / "b", {"pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=3.13"\ndependencies = ["torch"]\n'}
    )
    assert select(other).data["facts"]["python"] == "3.13"
    for name, text in ((".python-version", "3.13.2\n"), ("environment.yml", "dependencies:\n- python=3.13\n- pytorch\n")):
        assert select(project(tmp_path / name, {name: text})).data["facts"]["python"] == "3.13"


def test_none_that_fits_is_exit_1_with_the_reasons(folder: Path) -> None:
    found = select(folder, "--torch", "2.9")
    assert found.code == 1 and found.data["image"] is None and found.check("base.fit")["status"] == "fail"
    assert len(found.data["refused"]) == len(BASES["images"]) and all("2.9" in each["reason"] for each in found.data["refused"])


def test_another_gpu_is_told_by_its_architecture(folder: Path) -> None:
    unknown = select(folder, "--instance-type", "RTX 5090")
    assert unknown.code == 2 and "sm_120" in str(unknown.error) and "m5" not in str(unknown.error)
    found = select(folder, "--instance-type", "sm_120")
    assert found.code == 0 and found.data["needs"]["sm"] == 120 and found.data["needs"]["cuda_builds"][0] == "12.8"
    assert select(folder, "--instance-type", "sm_999").code == 2


def test_a_torch_that_no_image_has_is_told_where_to_look(tmp_path: Path) -> None:
    folder = project(tmp_path, {"requirements.txt": "torch==2.5.1\n"})
    fix = str(select(folder).check("base.fit")["fix"])
    assert "torch 2.10 to 2.14" in fix and "pytorch/pytorch:2.5.1-cuda" in fix and "11.8 or 12.1 or 12.4" in fix


def test_another_torch_than_that_of_the_projects_own_image_is_said(tmp_path: Path) -> None:
    files = {"Dockerfile": "FROM pytorch/pytorch:1.13.1-cuda11.6-cudnn8-devel\nRUN pip install six\n"}
    found = select(project(tmp_path / "a", files))
    assert found.code == 0 and "torch 1.13.1" in str(found.check("base.change")["summary"])
    same = {"Dockerfile": files["Dockerfile"].replace("1.13.1-cuda11.6", "2.13.0-cuda13.0")}
    assert "base.change" not in str(select(project(tmp_path / "b", same)).document)


def test_images_past_their_end_of_patch_are_refused(folder: Path) -> None:
    late = select(folder, "--as-of", "2028-01-01")
    assert "no patches since" in str(late.data["refused"]) and late.data["image"].startswith("pytorch/pytorch:")
    assert "no patches since" not in str(select(folder).data["refused"]), "control"
    soon = select(folder, "--as-of", "2027-07-01")
    assert soon.check("base.patch")["status"] == "warn" and soon.code == 0


@pytest.mark.parametrize(
    "name",
    ["p9.48xlarge", "p5.banana", "H900", "trn1.32xlarge", "g5g.xlarge", "p5", "", "\x1b[31mp5.48xlarge", "p5.48xlarge; rm"],
)
def test_an_unknown_instance_type_is_an_error_that_names_it(folder: Path, name: str) -> None:
    found = select(folder, "--instance-type", name) if name else select(folder, "--instance-type", " ")
    assert (
        found.code == 2 and name.removeprefix("\x1b[31m")[:4] in found.error["message"] and "\x1b" not in found.error["message"]
    )


@pytest.mark.parametrize(
    ("option", "value"), [("--torch", "newest"), ("--python", ">>3"), ("--as-of", "tomorrow"), ("--limit", "0")]
)
def test_a_wrong_option_is_exit_2(folder: Path, option: str, value: str) -> None:
    assert select(folder, option, value).code == 2


def test_runners_up_are_limited(folder: Path) -> None:
    assert len(select(folder, "--limit", "1").data["runners_up"]) == 1
    assert len(select(folder, "--limit", "4").data["runners_up"]) == 4


def test_accounts_of_regions_are_told_for_aws_images_alone(folder: Path) -> None:
    facts = select(folder).data["facts"]
    assert re.fullmatch(r"\d{12}", facts["account"]) and "eu-south-1" in facts["account_elsewhere"]
    assert select(folder, "--torch", "2.14").data["facts"]["account"] is None


def test_every_row_has_its_source_and_date() -> None:
    for row in BASES["images"]:
        assert row["source"] in BASES["sources"] and row["evidence"] in ("run", "read", "seen"), row
        assert datetime.date(2026, 1, 1) < row["read"] <= BASES["date"], row
        assert set(row) >= {"image", "torch", "cuda", "python", "nccl", "efa", "account", "end_of_patch"}, row
        assert row["account"] is None or row["account"] in BASES["accounts"]
        assert row["cuda"] == "cpu" or row["cuda"] in GPUS["kernels"], "each CUDA build has its kernels in the other table"


def test_every_gpu_of_a_family_has_a_row() -> None:
    assert set(GPUS["families"].values()) - {"cpu", "neuron", "arm64"} == set(GPUS["gpus"])
    assert set(GPUS["efa"]) <= set(GPUS["families"])
