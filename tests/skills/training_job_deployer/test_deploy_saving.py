"""A program that saves nothing: the plan says it beforehand, and every view says it afterwards."""

from __future__ import annotations

from deployer_calls import Project, deploy, wait_for

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
    assert stopped.check("restart.point")["status"] == "warn"
    assert [line.split()[2] for line in stopped.document["next"]] == ["report"], "nothing of it is left to resume"


def test_stop_and_resume_say_where_the_run_begins_again(project: Project) -> None:
    waits = f"{SAVES_NOTHING}    if step == 3:\n        import pathlib\n        while not pathlib.Path('../end').exists(): time.sleep(0.05)\n"
    (project.folder / "src" / "train.py").write_text(waits)
    project.write_job(run="python train.py")
    deploy("run", project.job, "--detach")
    log = project.run_dir / "logs" / "attempt-0000.log"
    wait_for(lambda: log.exists() and "step 3" in log.read_text(), "the third step")
    begins = "begins again at step 0, unless the script resumes by itself"
    assert begins in deploy("stop", project.job).document["next"][0]
    project.let_it_end()
    resumed = deploy("resume", project.job)
    assert resumed.exit_code == 0 and f"toy is stopped; it {begins}" in resumed.stderr


def test_what_cannot_be_helped_by_a_restart_is_not_offered_one_and_status_names_the_last_death(project: Project) -> None:
    (project.folder / "src" / "train.py").write_text("raise ValueError('no such column: text')\n")
    project.write_job(run="python train.py")
    failed = deploy("run", project.job)
    assert "a restart cannot help" in failed.data["reason"] and failed.check("job.finished")["summary"].startswith("toy failed")
    status = deploy("status", project.job)
    assert "no such column" in status.data["last_failure"]
    for answer in (failed, status):
        assert [line.split()[2] for line in answer.document["next"]] == ["why", "logs"]


def test_an_end_without_a_training_step_is_told_in_the_result(project: Project) -> None:
    (project.folder / "src" / "train.py").write_text("print('needs 8 GPUs, bye')\n")
    project.write_job(run="python train.py")
    ran = deploy("run", project.job)
    assert ran.exit_code == 0 and ran.check("run.trained")["status"] == "warn"


def test_a_program_that_names_trainyard_passes(project: Project) -> None:
    (project.folder / "src" / "lib.py").write_text("import trainyard\n")
    assert deploy("plan", project.job).check("restart.point")["status"] == "pass"
