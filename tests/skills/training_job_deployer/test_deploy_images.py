"""`image: {build: auto}`: what is asked in which order, what the job gets, and when nothing of it is done."""

from __future__ import annotations

import json
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from deployer_cluster_calls import ClusterProject, values

STAND_IN = Path(__file__).with_name("deployer_stand_in_images.py")
PROGRAMS = {
    "image-builder": ["build_image.py", "build_image_codebuild.py"],
    "image-tester": ["test_image.py", "test_image_codebuild.py"],
    "ecr-pusher": ["push_image.py"],
}
ON_AWS = ["build_image_codebuild", "test_image_codebuild", "push_image"]
HERE = ["build_image", "test_image", "push_image"]


@pytest.fixture
def project(eks: ClusterProject) -> ClusterProject:
    for skill, scripts in PROGRAMS.items():
        (eks.folder / "skills" / skill / "src").mkdir(parents=True)
        for script in scripts:
            shutil.copy(STAND_IN, eks.folder / "skills" / skill / "src" / script)
    (eks.folder / "net").mkdir()
    (eks.folder / "net" / "train.py").write_text("import trainyard\n")
    return eks


def write(project: ClusterProject, **image: Any) -> None:
    project.write_job(source="net", run="torchrun train.py", image={"build": "auto", **image})


def done(project: ClusterProject) -> list[str]:
    """The image programs that were called to do something, in order."""
    looks = ("verify", "tags", "ensure-repo")
    return [
        call[0] for call in project.calls() if call[0] in ON_AWS + HERE and call[1] not in looks and "--dry-run" not in call
    ]


def image_of(project: ClusterProject) -> str:
    """That of the job which was made."""
    return next(values(call, "image")[0] for call in project.calls("create") if "--dry-run" not in call)


@pytest.mark.parametrize(("builder", "programs"), [("codebuild", ON_AWS), ("docker", HERE)])
def test_built_tested_pushed_and_run_by_its_digest(project: ClusterProject, builder: str, programs: list[str]) -> None:
    write(project, builder=builder, repository="team/net", tag="v1")
    plan = project.deploy("plan")
    assert (plan.exit_code, plan.data["image"]["there"], done(project)) == (0, None, [])
    assert "7 minutes" in plan.check("image")["summary"]
    project.deploy("run", "--yes", "--detach")
    assert done(project) == programs
    assert image_of(project).startswith("127.0.0.1:5055/team/net@sha256:")
    test = next(call for call in project.calls() if call[0] == programs[1])
    build = next(call for call in project.calls() if call[0] == programs[0])
    assert values(build, "user") == ["0"], "the volume of the job belongs to root"
    push = next(call for call in project.calls() if call[0] == "push_image" and call[1] in ("promote", "push"))
    assert (push[1], len(values(push, "tag")), values(push, "tag")[0]) == (
        {"codebuild": "promote", "docker": "push"}[builder],
        2,
        "v1",
    )
    # whatever takes the tag meanwhile, what was built is tested, and what was tested is pushed
    pushed = values(push, "from")[0].partition("@")[2] if builder == "codebuild" else push[2]
    assert pushed.startswith("sha256:") and test[2].endswith(pushed)


def test_an_image_that_went_through_is_taken_as_it_is(project: ClusterProject) -> None:
    """Also for other options of its script: below level full nothing of them is tried."""
    write(project)
    project.deploy("run", "--yes", "--detach")
    first = image_of(project)
    project.deploy("stop")
    project.write_job(source="net", run="torchrun train.py --steps 5", image={"build": "auto"})
    project.deploy("run", "--fresh", "--yes", "--detach")
    assert (len(done(project)), image_of(project)) == (3, first)
    assert project.run_json()["stages"]["build"]["result"]["skipped"]
    assert project.deploy("plan").data["image"] == {"reference": first}


CHANGES: list[str | dict[str, Any]] = [
    "train.py",
    "requirements.txt",
    {"image": {"build": "auto", "test": "full"}},
    {"image": {"build": "auto", "tag": "v2"}},
    {"run": "torchrun other.py"},
    {"run": "torchrun -m train"},
    {"env": {"PYTHONPATH": "/opt/more"}},
]


@pytest.mark.parametrize("change", CHANGES, ids=str)
def test_another_source_or_test_is_another_image(project: ClusterProject, change: str | dict[str, Any]) -> None:
    """A requirements.txt is no program file, and still another image; an entry point that was never looked at is another test."""
    (project.folder / "net" / "other.py").write_text("import trainyard\n")
    write(project)
    project.deploy("run", "--yes", "--detach")
    project.deploy("stop")
    if isinstance(change, dict):
        project.write_job(**{"source": "net", "run": "torchrun train.py", "image": {"build": "auto"}, **change})
    else:
        (project.folder / "net" / change).write_text("# changed\n")
    project.deploy("run", "--fresh", "--yes", "--detach")
    assert len(done(project)) == 6


def test_an_image_that_fails_its_test_is_not_pushed(project: ClusterProject) -> None:
    write(project)
    check = {
        "id": "image.imports",
        "status": "fail",
        "summary": "numpy does not import",
        "evidence": None,
        "fix": "numpy in requirements.txt",
    }
    project.say(answers={"test": {"checks": [check]}})
    refused = project.deploy("run", "--yes", "--detach")
    assert (refused.exit_code, refused.error["hint"]) == (5, check["fix"])
    assert "numpy does not import" in refused.error["message"]
    assert (done(project), project.made()["jobs"]) == (ON_AWS[:2], {})
    project.say(answers={})
    assert project.deploy("run", "--yes", "--detach").exit_code == 0
    assert image_of(project)


def test_a_torch_that_the_engine_does_not_take_is_refused_before_the_push(project: ClusterProject) -> None:
    project.write_job(source="net", run="torchrun train.py", image={"build": "auto"}, target="hyperpod", engine="hyperpodjob")
    refused = project.deploy("run", "--yes", "--detach")
    assert refused.exit_code == 5 and "torch 2.13.0" in refused.error["message"]
    assert done(project) == ON_AWS[:2]


def test_an_image_tested_for_tcp_is_not_taken_for_efa(project: ClusterProject) -> None:
    """Only for EFA its libraries are required."""
    for network in ("tcp", "efa"):
        project.write_job(source="net", run="torchrun train.py", image={"build": "auto"}, network=network)
        project.deploy("run", "--fresh", "--yes", "--detach")
        project.deploy("stop")
    assert len(done(project)) == 6


def test_another_run_was_faster(project: ClusterProject) -> None:
    """Two runs of one job build, test and push at once: the second takes what the first has pushed. Control: a tag of another image."""
    write(project)
    project.say(answers={"faster": True})
    assert project.deploy("run", "--yes", "--detach").exit_code == 0
    assert image_of(project) and len(done(project)) == 3
    project.deploy("stop")
    (project.folder / "net" / "train.py").write_text("# changed\n")
    error = {"code": "conflict", "message": "v1 is another image's", "hint": "another tag", "retryable": False}
    project.say(answers={"push": {"error": error}})
    refused = project.deploy("run", "--fresh", "--yes", "--detach")
    assert refused.exit_code == 5 and "v1 is another image's" in refused.error["message"]


def test_ctrl_c_says_that_the_build_goes_on(project: ClusterProject) -> None:
    """On CodeBuild, where it costs money; how to end it is the hint."""
    write(project)
    project.say(answers={"hangs": True})
    with project.running() as process:
        deadline = time.monotonic() + 30
        while not done(project) and time.monotonic() < deadline:
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    error = json.loads(out)["error"]
    assert (process.returncode, error["retryable"]) == (7, True) and "goes on" in error["message"], out
    assert "cancel BUILD_ID" in error["hint"]


def test_no_job_is_made_of_an_image_without_a_digest(project: ClusterProject) -> None:
    """By its tag alone it would be looked for in another registry."""
    write(project)
    project.say(answers={"push": {"ok": True, "data": {"repository": "team/net", "reference": "team/net:v1"}}})
    refused = project.deploy("run", "--yes", "--detach")
    assert refused.exit_code == 70 and "digest" in refused.error["message"]
    assert project.made()["jobs"] == {}


def test_a_tag_that_another_source_has_is_found_before_the_build(project: ClusterProject) -> None:
    write(project, repository="team/net", tag="v1")
    digest = "sha256:" + "0" * 64
    project.say(images={"v1": digest, "src-0123456789abcdef-01234567": digest})
    found = project.deploy("plan").check("image.tag")
    assert (
        found["status"] == "fail"
        and f"team/net:v1 already names {digest}, of another source (src-0123456789abcdef-" in found["summary"]
    )
    refused = project.deploy("run", "--yes", "--detach")
    assert refused.exit_code != 0 and done(project) == [] and not project.made()["claims"]
    assert "another image.tag" in refused.check("image.tag")["fix"]
    project.say(images={"latest": digest})
    write(project, repository="team/net", tag="latest")
    assert project.deploy("run", "--yes", "--detach").exit_code == 0, "a tag that moves is moved"


def test_a_tag_that_a_push_of_this_source_has_set_is_no_obstacle(project: ClusterProject) -> None:
    """A promotion was killed between its two tags; and a push from here, which leaves nothing that says whose the image is."""
    write(project, repository="team/net", tag="v1")
    built, digest = project.deploy("plan").data["image"]["tag"].split("-")[1][:12], "sha256:" + "0" * 64
    project.say(images={"v1": digest, f"build-{built}": digest})
    assert "image.tag" not in {check["id"] for check in project.deploy("plan").document["checks"]}
    write(project, builder="docker", repository="team/net", tag="v1")
    project.say(images={"v1": digest})
    assert project.deploy("plan").check("image.tag")["status"] == "warn"
    assert project.deploy("run", "--yes", "--detach").exit_code == 0


def test_an_image_of_another_user_on_a_volume_of_several_nodes_is_said_in_the_plan(project: ClusterProject) -> None:
    def owner() -> str | None:
        checks = project.deploy("plan").document["checks"]
        return next((check["summary"] for check in checks if check["id"] == "volume.owner"), None)

    write(project)
    assert owner() is None, "a generated image is root's"
    (project.folder / "net" / "Dockerfile").write_text("FROM base:1\nUSER 1000:1000\n")
    assert "the Dockerfile ends as user 1000:1000" in str(owner())
    project.write_job(source="net", run="torchrun train.py", image={"build": "auto"}, cluster={"security": {"run_as_user": 0}})
    assert owner() is None


def test_an_image_that_was_only_built_is_said_in_the_plan(project: ClusterProject) -> None:
    """Built before, and neither tested nor pushed: a plan promises no build. Control: the plan of one that is to be built."""
    write(project)
    assert "will be built on base:1" in project.deploy("plan").check("image")["summary"]
    plan = {
        "estimate": {"minutes": 0.0, "usd": 0.0, "basis": "built before, by p:1"},
        "reused": True,
        "source_digest": "0" * 64,
    }
    project.say(answers={"build": {"ok": True, "data": plan}})
    assert project.deploy("plan").check("image")["summary"] == "built before, by p:1; it is still to be tested and pushed"


def test_a_missing_skill_is_named(eks: ClusterProject) -> None:
    eks.write_job(image={"build": "auto"})
    refused = eks.deploy("run", "--yes")
    assert (refused.exit_code, eks.calls()) == (8, [])
    assert "image-builder" in refused.error["message"] and "ecr-pusher" in refused.error["message"]
