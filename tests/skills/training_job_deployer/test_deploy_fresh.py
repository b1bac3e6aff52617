"""run --fresh whose new run cannot start leaves the old one in its place; copies and moved projects know what they are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from deployer_calls import DEPLOY, TRAINER, Project, deploy, end, wait_for
from deployer_cluster_calls import ClusterProject

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="by design: mounting a small disk needs root")


def names(run_dir: Path) -> list[str]:
    return sorted(path.name for path in run_dir.parent.iterdir() if not path.name.endswith(".lock"))


def settled(project: Project) -> tuple[str, str]:
    """(run id, state) of what lies under the run's name."""
    data = deploy("status", project.job).data
    return data["run_id"], data["state"]


def test_a_fresh_run_that_is_refused_leaves_the_old_one_where_it_was(project: Project) -> None:
    old = deploy("run", project.job).data["run_id"]
    files = sorted(path.name for path in project.run_dir.iterdir())
    script = project.folder / "src" / "train.py"
    script.rename(script.with_suffix(".away"))
    assert deploy("run", project.job, "--fresh").exit_code == 1, "the plan fails"
    script.with_suffix(".away").rename(script)
    assert (settled(project), names(project.run_dir)) == ((old, "finished"), ["toy"])
    project.write_job(env={"OUTPUT": "x" * 90_000, "MORE": "y" * 5_000}, monitor={"max_restarts": 100_000})
    refused = deploy("run", project.job, "--fresh")  # a file that is right, and a runner that takes no such number
    assert refused.exit_code == 2, refused
    assert (settled(project), names(project.run_dir)) == ((old, "finished"), ["toy"])
    assert sorted(path.name for path in project.run_dir.iterdir()) == files
    project.write_job()
    assert deploy("run", project.job, "--fresh").data["state"] == "finished"
    assert names(project.run_dir) == ["toy", f"toy@{old}"]


def test_a_fresh_run_that_was_cut_off_ends_with_one_of_the_two_runs(project: Project) -> None:
    old = deploy("run", project.job).data["run_id"]
    note, aside = project.run_dir.parent / ".toy.fresh", project.run_dir.with_name(f"toy@{old}")
    before = (project.run_dir / "run.json").read_text()
    # what a kill leaves behind: the note alone; the folder moved; the new run.json written and nothing submitted
    for point in ("noted", "moved", "written"):
        note.write_text(json.dumps({"old": old}))
        if point != "noted":
            project.run_dir.rename(aside)
        if point == "written":
            project.run_dir.mkdir()
            new = {**json.loads(before), "run_id": "f" * 16, "stages": {}}
            (project.run_dir / "run.json").write_text(json.dumps(new))
        assert (settled(project), names(project.run_dir)) == ((old, "finished"), ["toy"]), point
        assert (project.run_dir / "run.json").read_text() == before
    # a real kill, wherever it hits
    command = [sys.executable, str(DEPLOY), "run", str(project.job), "--fresh"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: note.exists() or process.poll() is not None, "the note")
    os.kill(process.pid, signal.SIGKILL)
    end(process)
    run_id, state = settled(project)
    assert names(project.run_dir) == (["toy"] if run_id == old else ["toy", f"toy@{old}"])
    assert not note.exists() and (state == "finished" or run_id != old)


@needs_root
def test_a_full_disk_stops_a_run_before_it_leaves_anything(project: Project, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    # without inodes: what is there in bytes is what the plan looks at
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m,nr_inodes=60", "tmpfs", disk], check=True)
    try:
        old = deploy("run", project.job, "--state-dir", disk / "there").data["run_id"]
        with suppress(OSError):
            for number in range(60):
                (disk / f"filler-{number}").touch()
        answer = deploy("run", project.job, "--state-dir", disk / "new")
        assert answer.exit_code == 8 and str(disk) in answer.error["message"], answer
        answer = deploy("run", project.job, "--state-dir", disk / "there", "--fresh")
        assert answer.exit_code == 8 and str(disk) in answer.error["message"], answer
        runs = disk / "there" / "runs"
        assert names(runs / "toy") == ["toy"] and json.loads((runs / "toy" / "run.json").read_text())["run_id"] == old
        report = deploy("report", project.job, "--state-dir", disk / "there", "--output", disk / "report.html")
        assert report.exit_code == 8 and str(disk) in report.error["message"]
        assert [name for name in sorted(os.listdir(disk)) if not name.startswith("filler")] == ["there"]
        # room for the note and the folder, and not for what the new run writes
        for number in range(3):
            (disk / f"filler-{number}").unlink()
        assert deploy("run", project.job, "--state-dir", disk / "there", "--fresh").exit_code == 8
        assert names(runs / "toy") == ["toy"] and json.loads((runs / "toy" / "run.json").read_text())["run_id"] == old
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_on_a_cluster_a_refused_fresh_run_brings_the_old_one_back_with_its_end(eks: ClusterProject) -> None:
    eks.say(state="finished")
    old = eks.deploy("run", "--yes").data["run_id"]
    eks.say(answers={"create for real": {"error": "permission"}})
    assert eks.deploy("run", "--fresh", "--yes").exit_code == 4
    seen = eks.deploy("status").data
    assert (seen["run_id"], seen["state"]) == (old, "finished"), "though its object gave the name away"
    kept = [name for name in names(eks.run_dir) if name != "toy"]
    assert len(kept) == 1 and old not in kept[0], "the new run had made a claim, which is told in its run.json"
    eks.say(answers={})
    assert eks.deploy("run", "--fresh", "--yes").exit_code == 0
    assert f"toy@{old}" in names(eks.run_dir)


def test_a_copy_of_a_run_on_a_cluster_ends_nothing_and_can_become_a_run_of_its_own(eks: ClusterProject, tmp_path: Path) -> None:
    eks.deploy("run", "--yes", "--detach")
    copy = ClusterProject(tmp_path / "copy")
    copy.folder.mkdir()
    shutil.copytree(eks.folder / ".trainyard", copy.folder / ".trainyard")
    shutil.copytree(eks.folder / "skills", copy.folder / "skills")
    copy.stand_in.symlink_to(eks.stand_in)
    copy.write_job()
    for words in (("stop",), ("stop", "--dry-run"), ("resume",), ("run", "--yes")):
        refused = copy.deploy(*words)
        assert refused.exit_code == 5 and str(eks.run_dir) in refused.error["message"], words
    assert [row["id"] for row in copy.deploy("status").data["concerns"]][-1] == "run.copy"
    assert list(eks.made()["jobs"]) == ["toy"]
    assert copy.deploy("run", "--fresh", "--yes").exit_code == 5, "the name is the original's job's on that cluster"
    assert list(eks.made()["jobs"]) == ["toy"] and eks.deploy("status").data["state"] == "running"
    copy.write_job(name="other")
    assert copy.deploy("run", "--yes", "--detach").exit_code == 0
    assert sorted(eks.made()["jobs"]) == ["other", "toy"]


def test_a_moved_project_is_resumed_and_its_copy_is_told_where_the_run_is(tmp_path: Path) -> None:
    old, new, copy = (Project(tmp_path / name) for name in ("old", "new", "copy"))
    (old.folder / "src").mkdir(parents=True)
    shutil.copy(TRAINER, old.folder / "src" / "train.py")
    old.write_job("python train.py --fail", monitor={"max_restarts": 0})
    run_id = deploy("run", old.job).data["run_id"]
    shutil.copytree(old.folder, copy.folder)
    refused = deploy("resume", copy.job)
    assert (refused.exit_code, str(old.run_dir) in refused.error["message"]) == (5, True), refused
    assert deploy("stop", copy.job).document["changed"] == []
    assert "run.copy" in [row["id"] for row in deploy("status", copy.job).data["concerns"]]
    old.folder.rename(new.folder)
    resumed = deploy("resume", "toy", cwd=new.folder)  # the job file that run.json names has moved with it
    assert (resumed.data["run_id"], resumed.data["state"], resumed.data["step"]) == (run_id, "failed", 2), resumed
    assert resumed.data["run_dir"] == str(new.run_dir) and not old.folder.exists()
