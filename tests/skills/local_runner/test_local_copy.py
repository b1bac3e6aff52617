"""Two folders with one run id: the copy leaves the original's processes alone, and a run that was moved goes on."""

from __future__ import annotations

import os
import shutil
import signal

from conftest import Runner

FAMILY = ["python", "family.py"]


def test_a_copy_of_a_living_run_acts_on_nothing_of_the_original(run, tmp_path, is_alive, wait_for):
    run.submit("--stop-grace-s", "1", job=FAMILY)
    job = run.pid("job")
    copy = Runner(tmp_path / "copy", run.run_id, run.environ)
    shutil.copytree(run.folder, copy.folder)
    seen = copy.call("status", str(copy.folder))
    assert (seen.code, seen.data["state"], seen.data["ranks"]) == (0, "lost", [])
    assert (seen.data["supervisor_pid"], seen.data["copy_of"]) == (None, str(run.folder))
    assert str(run.folder) in seen.document["checks"][0]["fix"]
    for refused in (
        copy.stop(),
        copy.stop("--dry-run"),
        copy.submit("--stop-grace-s", "1", "--resume", job=FAMILY),
        copy.submit("--stop-grace-s", "1", job=FAMILY),
    ):
        assert refused.code == 5 and str(run.folder) in refused.error["message"]
    assert is_alive(job) and run.status()["state"] == "running"


def test_an_orphan_belongs_to_the_folder_that_it_was_started_for(run, tmp_path, is_alive, wait_for):
    run.submit("--stop-grace-s", "1", job=[*FAMILY, "--deaf"])
    job = run.pid("job")
    copy = Runner(tmp_path / "copy", run.run_id, run.environ)
    shutil.copytree(run.folder, copy.folder)
    os.kill(run.runner()["supervisor"]["pid"], signal.SIGKILL)
    wait_for(lambda: run.status()["state"] == "orphaned", "the supervisor's death")
    assert copy.status()["orphans"] == []
    assert copy.stop().code == 5 and is_alive(job)
    assert run.stop().data["state"] == "stopped" and not is_alive(job)


def test_a_run_whose_folder_was_moved_while_it_lived_says_so(run, tmp_path, is_alive, wait_for):
    run.submit("--stop-grace-s", "1", job=FAMILY)
    job = run.pid("job")
    moved = Runner(tmp_path / "moved", run.run_id, run.environ)
    run.folder.rename(moved.folder)
    seen = [moved.status()]
    wait_for(lambda: seen.append(moved.status()) or seen[-1]["state"] == "lost", "the end of its supervisor")
    assert all(f"the folder was moved here from {run.folder}" in each["reason"] for each in seen), seen
    assert not is_alive(job)


def test_a_moved_project_goes_on_where_it_lies_now(run, tmp_path):
    old, new = tmp_path / "project", tmp_path / "elsewhere" / "renamed"
    old.mkdir()
    (old / "train.py").write_text(
        "import os\nprint(os.environ['TRAINYARD_CHECKPOINTS'])\nraise SystemExit(os.environ['TRAINYARD_ATTEMPT'] == '0')\n"
    )
    words = ("--run-id", run.run_id, "--max-restarts", "0", "--backoff-s", "0.05")

    def submit(project, *more):
        folder = (
            "--run-dir",
            str(project / "runs" / "a"),
            "--workdir",
            str(project),
            "--env",
            f"DATA={project}/data",
            "--env",
            f"KEPT={old}/data",
        )
        return run.call("submit", *folder, *words, *more, "--", "python", str(project / "train.py"))

    assert submit(old).code == 0
    assert run.call("wait", str(old / "runs" / "a")).data["state"] == "failed"
    new.parent.mkdir()
    old.rename(new)
    seen = run.call("status", str(new / "runs" / "a"))
    assert (seen.data["state"], seen.data["copy_of"]) == ("failed", None)
    assert seen.data["checkpoints"] == str(new / "runs" / "a" / "checkpoints")
    assert str(old) not in seen.document["next"][-1], "the call that goes on has the new paths"
    assert submit(new, "--resume").code == 0
    done = run.call("wait", str(new / "runs" / "a"))
    assert (done.data["state"], done.data["attempt"]) == ("finished", 1)
    assert run.call("logs", str(new / "runs" / "a")).data["lines"] == [str(new / "runs" / "a" / "checkpoints")]
    assert not old.exists()
