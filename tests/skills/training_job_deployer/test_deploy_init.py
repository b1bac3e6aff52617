"""`init`: a job file that runs, from what a project's files look like."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from deployer_calls import deploy

LOOP = """
import torch
{imports}
def main():
    model = torch.nn.Linear(1, 1)
    for step in range(3):
        loss = model(torch.ones(1, 1)).sum()
        loss.backward()
        print("step", step + 1, "loss", loss.item())
{more}
if __name__ == "__main__":
    main()
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "My Project_2"
    (folder / "tools").mkdir(parents=True)
    (folder / "train.py").write_text(LOOP.format(imports="", more=""))
    (folder / "evaluate.py").write_text(LOOP.format(imports="", more=""))
    (folder / "tools" / "main.py").write_text(LOOP.format(imports="", more=""))
    (folder / "model.py").write_text("class Model: pass\n")
    return folder


def test_the_file_that_it_writes_is_planned_and_run(project: Path) -> None:
    made = deploy("init", project)
    assert made.exit_code == 0, made.document
    assert (made.data["script"], made.data["launcher"], made.data["other_scripts"]) == ("train.py", "python", ["tools/main.py"])
    text = (project / "job.yaml").read_text()
    assert "name: my-project-2 " in text and all("#" in line for line in text.splitlines()), text
    assert [line.partition(" ")[2].split()[0] for line in made.document["next"]] == ["plan", "run"]
    assert deploy("plan", project / "job.yaml").exit_code == 0
    done = deploy("run", project / "job.yaml", "--timeout", "60")
    assert (done.exit_code, done.data["state"]) == (0, "finished"), done.document


def test_no_file_is_replaced_and_a_dry_run_writes_none(project: Path) -> None:
    assert deploy("init", project, "--dry-run").data["text"] and not (project / "job.yaml").exists()
    (project / "job.yaml").write_text("mine\n")
    assert deploy("init", project).exit_code == 5 and (project / "job.yaml").read_text() == "mine\n"
    assert deploy("init", project, "--output", "other.yaml").exit_code == 0


@pytest.mark.parametrize(
    "imports,document,launcher,run",
    [
        ("import torch.distributed as dist; dist.init_process_group", "", "torchrun", "torchrun train.py"),
        ("import accelerate", "", "accelerate launch", "accelerate launch train.py"),
        ("", "torchrun --nproc_per_node=8 train.py --lr 3e-4", "torchrun", "torchrun train.py --lr 3e-4"),
        ("", "$ CUDA_VISIBLE_DEVICES=0 python train.py --data $DATA", "python", "python train.py"),
        (
            "",
            "python train.py --config 'a b.yaml' \\\n    --steps 3",
            "python",
            "python train.py --config 'a b.yaml' --steps 3",
        ),
        ("", "python train.py; rm -rf /", "python", "python train.py"),
    ],
)
def test_launcher_and_options_are_those_of_the_projects_documents(
    project: Path, imports: str, document: str, launcher: str, run: str
) -> None:
    (project / "train.py").write_text(LOOP.format(imports=imports, more=""))
    (project / "README.md").write_text(f"# Project\n```bash\n{document}\n```\n")
    made = deploy("init", project, "--dry-run")
    assert made.data["launcher"] == launcher
    assert any(line.startswith((f"run: {run} ", f"run: {json.dumps(run)} ")) for line in made.data["text"]), made.data["text"]


@pytest.mark.parametrize(
    "more,words",
    [
        ("", "saves nothing"),
        ("    torch.save(model, 'm.pt')", "nothing in it resumes"),
        ("    torch.save(model, 'm.pt')  # resume", "may resume by itself"),
        ("    import trainyard", None),
    ],
)
def test_what_the_script_lacks_is_said(project: Path, more: str, words: str | None) -> None:
    (project / "train.py").write_text(LOOP.format(imports="", more=more))
    lacks = deploy("init", project, "--dry-run").data["lacks"]
    assert bool(lacks) == (words is not None) and (words is None or words in lacks[0]), lacks


def test_a_project_without_a_script_and_a_script_that_is_not_there(tmp_path: Path) -> None:
    empty = deploy("init", tmp_path)
    assert empty.exit_code == 3 and "--script" in empty.error["hint"]
    assert deploy("init", tmp_path, "--script", "no.py").exit_code == 2
    assert deploy("init", tmp_path, "--target", "moon").exit_code == 2
    (tmp_path / "odd.py").write_text("print('step 1 loss 2')\n")
    assert deploy("init", tmp_path, "--script", "odd.py").data["script"] == "odd.py"


@pytest.mark.parametrize("target", ["eks", "hyperpod"])
def test_for_a_cluster_it_names_what_must_be_filled_in(project: Path, target: str) -> None:
    """The file is right in itself; what the cluster has, `plan` asks."""
    made = deploy("init", project, "--target", target, "--output", f"{target}.yaml")
    assert made.exit_code == 0, made.document
    text = (project / f"{target}.yaml").read_text()
    assert "instance_type: " in text and "storage: " in text and ("ml.p5" in text) == (target == "hyperpod")
    assert sys.executable not in text
