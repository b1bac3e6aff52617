"""build: from a folder to an image in ECR, the same call again, several at once, and what ends without an image."""

from __future__ import annotations

import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from codebuild_call import BUCKET, PROJECT, CodeBuild

from tests.components.images.fixtures import full_images


def test_a_folder_becomes_an_image(codebuild: CodeBuild) -> None:
    """The digest is the registry's, the source lies in a bucket that was made, and log and phases were shown."""
    folder = codebuild.project()
    built = codebuild("build", folder)
    assert built.code == 0, built
    data = built.data
    assert re.fullmatch("build-[0-9a-f]{12}", data["tag"]) and data["source_digest"].startswith(data["tag"][6:])
    assert data["digest"] == codebuild.digest("trainyard/net", data["tag"])
    assert data["reference"] == f"{codebuild.aws.registries['us-east-1']}/trainyard/net@{data['digest']}"
    assert [row["ok"] for row in data["attempts"]] == [True] and data["size_bytes"] > 0
    assert "pushing manifest for" in Path(data["log"]).read_text()
    assert "phase COMPLETED" in built.stderr and "#5 [1/1] COPY . /app" in built.stderr
    assert next(line.partition(" ")[0] for line in built.document["changed"]) == "bucket"
    assert codebuild.aws.client("s3").list_objects_v2(Bucket=BUCKET, Prefix="source/")["KeyCount"] == 1


@full_images
def test_the_same_call_again_does_nothing(codebuild: CodeBuild) -> None:
    """And after a change of one file it builds, without a new bucket."""
    folder = codebuild.project()
    first = codebuild("build", folder)
    again = codebuild("build", folder)
    assert (again.code, again.document["changed"], again.data["reused"]) == (0, [], True)
    assert again.data["digest"] == first.data["digest"] and len(codebuild.builds()) == 1
    (folder / "train.py").write_text("print(2)\n")
    other = codebuild("build", folder)
    assert other.data["digest"] != first.data["digest"] and len(codebuild.builds()) == 2
    assert not any(line.startswith("bucket") for line in other.document["changed"])


def test_builds_at_once_do_not_disturb_each_other(codebuild: CodeBuild) -> None:
    """Three folders of one call and one of another: four builds, four images, each of its own source."""
    folders = [codebuild.project(name, {"train.py": f"print({name!r})\n"}) for name in ("a1", "b1", "c1", "d1")]
    with ThreadPoolExecutor() as pool:
        three, alone = pool.submit(codebuild, "build", *folders[:3]), pool.submit(codebuild, "build", folders[3])
    rows = [*three.result().data["builds"], alone.result().data]
    assert three.result().code == alone.result().code == 0, three.result().document
    assert len({row["digest"] for row in rows}) == 4 == len(codebuild.builds())
    told = [each["summary"] for each in three.result().document["checks"] if each["id"] == "context.files"]
    assert [each[:5] for each in told] == ["[a1] ", "[b1] ", "[c1] "] and "bytes" in told[0], told
    for name, row in zip(("a1", "b1", "c1", "d1"), rows, strict=True):
        assert row["digest"] == codebuild.digest(f"trainyard/{name}", row["tag"])


@full_images
def test_the_same_call_twice_at_once_is_one_build(codebuild: CodeBuild) -> None:
    folder = codebuild.project()
    codebuild.aws.builds_fault(phase="BUILD", slow_s=3)
    assert codebuild("build", folder, "--no-wait").code == 0, "the bucket and the source are there"
    (folder / "train.py").write_text("print(3)\n")
    codebuild.aws.builds_fault(phase="BUILD", slow_s=5)
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(codebuild, "build", folder) for _ in range(2)]
    first, second = (each.result() for each in both)
    assert first.code == second.code == 0 and first.data["build_ids"] == second.data["build_ids"], (first, second)
    assert len(codebuild.builds()) == 2


@full_images
def test_the_project_is_never_changed(codebuild: CodeBuild) -> None:
    client = codebuild.aws.client("codebuild")
    before = client.batch_get_projects(names=[PROJECT])["projects"]
    assert codebuild("build", codebuild.project(), "--compute-type", "2XLARGE", "--timeout", "600").code == 0
    assert client.batch_get_projects(names=[PROJECT])["projects"] == before
    asked = codebuild.builds()[0]
    assert asked["environment"]["computeType"] == "BUILD_GENERAL1_2XLARGE" and asked["timeoutInMinutes"] == 10


def test_a_failed_step_is_the_answer_no(codebuild: CodeBuild) -> None:
    """Its class comes from the log; nothing is left in the repository."""
    folder = codebuild.project(files={"Dockerfile": "FROM scratch\nCOPY missing.txt /\n"})
    failed = codebuild("build", folder)
    assert failed.code == 2 and failed.data["attempts"][0]["class"] == "missing-file", failed
    assert "missing.txt" in failed.error["message"]
    assert codebuild.aws.client("ecr").list_images(repositoryName="trainyard/net")["imageIds"] == []


@pytest.mark.parametrize(
    "kill", [pytest.param(signal.SIGKILL, marks=full_images), pytest.param(signal.SIGINT, marks=full_images), signal.SIGTERM]
)
def test_a_caller_that_dies_loses_nothing(codebuild: CodeBuild, kill: signal.Signals) -> None:
    """The build goes on; the same call finds it and gives its image. Ctrl-C and SIGTERM say how to go on."""
    codebuild.aws.builds_fault(phase="BUILD", slow_s=4)
    folder = codebuild.project()
    process = codebuild.started("build", folder)
    deadline = time.monotonic() + 30
    while not codebuild.builds() and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(kill)
    out, _ = process.communicate(timeout=30)
    if kill is not signal.SIGKILL:
        assert process.returncode == 7 and "goes on" in out and f"wait {PROJECT}:" in out
    again = codebuild("build", folder)
    assert again.code == 0 and "found running" in again.stderr, again
    assert len(codebuild.builds()) == 1
    assert again.data["digest"] == codebuild.digest("trainyard/net", again.data["tag"])


@full_images
def test_ctrl_c_leaves_several_builds_alone(codebuild: CodeBuild) -> None:
    """Every one that is followed: the caller ends at once, the builds go on."""
    codebuild.aws.builds_fault(phase="BUILD", slow_s=15, times=2)
    process = codebuild.started("build", codebuild.project("a2"), codebuild.project("b2"))
    deadline = time.monotonic() + 40
    while len(codebuild.builds()) < 2 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(0.5)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 7 and "the builds go on" in out and time.monotonic() - began < 8, out
    assert [each["buildStatus"] for each in codebuild.builds()] == ["IN_PROGRESS"] * 2
