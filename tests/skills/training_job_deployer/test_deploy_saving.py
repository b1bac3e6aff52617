"""A program that saves nothing: the plan says it beforehand, and every view says it afterwards."""

from __future__ import annotations

from deployer_calls import Project, deploy

SAVES_NOTHING = """import time
for step in range(1, 21):
    print(f"step {step} loss {3 / step:.3f}", flush=True)
    time.sleep(0.01)
"""


def test_a_restart_from_step_0_is_told_beforehand_and_in_the_result(project: Project) -> None:
    (project.folder / "src" / "train.py").write_text(SAVES_NOTHING)
    project.write_job(run="python train.py")
    planned = deploy("plan", project.job).check("restart.point")
    assert planned["status"] == "warn" and "a restart begins at step 0" in planned["summary"] and planned["fix"]
    ran = deploy("run", project.job)
    assert ran.exit_code == 0 and ran.check("restart.point")["status"] == "warn"
    status = deploy("status", project.job).data
    assert "restart.point" in [concern["id"] for concern in status["concerns"]] and status["checkpoints"] is None
    stopped = deploy("stop", project.job)
    assert (
        stopped.check("restart.point")["status"] == "warn"
        and "nothing that is known here was saved" in stopped.document["next"][0]
    )


def test_an_end_without_a_training_step_is_told_in_the_result(project: Project) -> None:
    (project.folder / "src" / "train.py").write_text("print('needs 8 GPUs, bye')\n")
    project.write_job(run="python train.py")
    ran = deploy("run", project.job)
    assert ran.exit_code == 0 and ran.check("run.trained")["status"] == "warn"


def test_a_program_that_names_trainyard_passes(project: Project) -> None:
    (project.folder / "src" / "lib.py").write_text("import trainyard\n")
    assert deploy("plan", project.job).check("restart.point")["status"] == "pass"
