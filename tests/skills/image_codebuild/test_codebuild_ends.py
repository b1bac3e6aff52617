"""How a build may end other than with an image: AWS's faults, retries, time-outs, a full queue, a cancelled build, a lost log."""

from __future__ import annotations

import time

import pytest
from codebuild_call import PROJECT, CodeBuild

from tests.calling import SKILLS
from tests.components.images.fixtures import full_images


def test_a_fault_of_aws_may_be_repeated(codebuild: CodeBuild) -> None:
    """FAULT is no answer about the source: exit 8, retryable, with phase and reason."""
    codebuild.aws.builds_fault(phase="PROVISIONING", status_code="INTERNAL_SERVICE_ERROR", message="no host", status="FAULT")
    folder = codebuild.project()
    failed = codebuild("build", folder)
    assert (failed.code, failed.error["code"], failed.error["retryable"]) == (8, "unreachable", True), failed
    assert "PROVISIONING FAULT: INTERNAL_SERVICE_ERROR: no host" in failed.error["message"]
    assert codebuild("build", folder).code == 0


def test_what_to_do_can_be_done_there(codebuild: CodeBuild) -> None:
    """CodeBuild has no --network, and a build argument does not reach FROM's pull; the control: a Docker here has the option."""
    failed = codebuild("build", codebuild.project(files={"Dockerfile": "FROM registry.invalid/x:1\n"}), "--attempts", "1")
    row = failed.data["attempts"][0]
    assert (failed.code, row["class"]) == (8, "network") and failed.error["hint"] == row["fix"], failed
    assert "NAT gateway" in row["fix"] and "--network" not in row["fix"]
    assert "--network host" in (SKILLS / "image-builder/assets/build_failures.yaml").read_text()


@full_images
def test_a_failure_before_the_log_names_its_phase(codebuild: CodeBuild) -> None:
    fault = {"phase": "PROVISIONING", "status_code": "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE"}
    codebuild.aws.builds_fault(**fault, message="Unable to pull customer's container image")
    failed = codebuild("build", codebuild.project(), "--attempts", "1")
    assert failed.code == 1, failed
    assert "BUILD_CONTAINER_UNABLE_TO_PULL_IMAGE" in failed.data["attempts"][0]["cause"]


@full_images
def test_a_time_out_is_said(codebuild: CodeBuild) -> None:
    """The build's own limit, which ended it; not the caller's, which leaves it running."""
    codebuild.aws.limits(minute_s=0.2)
    codebuild.aws.builds_fault(phase="BUILD", slow_s=30)
    failed = codebuild("build", codebuild.project(), "--timeout", "300", "--attempts", "1")
    assert failed.error["code"] == "timeout" and failed.data["attempts"][0]["class"] == "time-out", failed
    assert codebuild.builds()[0]["buildStatus"] == "TIMED_OUT"


@full_images
def test_waiting_ends_before_the_build(codebuild: CodeBuild) -> None:
    codebuild.aws.builds_fault(phase="BUILD", slow_s=5)
    started = codebuild("build", codebuild.project(), "--no-wait")
    assert started.code == 0 and started.data["digest"] is None
    (build_id,) = started.data["build_ids"]
    assert started.document["next"] == [f"build_image_codebuild.py wait {build_id}"]
    early = codebuild("wait", build_id, "--timeout", "1")
    assert (early.code, early.error["retryable"], early.error["hint"]) == (
        7,
        True,
        f"build_image_codebuild.py wait {build_id}",
    ), early
    assert codebuild("status", build_id).data["status"] == "IN_PROGRESS"
    done = codebuild("wait", build_id)
    assert done.code == 0 and done.data["digest"] == codebuild.digest("trainyard/net", done.data["tag"]), done


def test_an_automatic_retry_is_followed(codebuild: CodeBuild) -> None:
    """CodeBuild starts a failed build again by itself: the second one's image is the answer."""
    project = codebuild.aws.client("codebuild")
    project.update_project(name=PROJECT, autoRetryLimit=2)
    codebuild.aws.builds_fault(phase="PRE_BUILD", status_code="COMMAND_EXECUTION_ERROR", message="a hiccup")
    built = codebuild("build", codebuild.project(), "--attempts", "1")
    assert built.code == 0 and len(codebuild.builds()) == 2, built
    assert "CodeBuild has started it again as" in built.stderr
    first = codebuild.builds()[1]["id"]
    assert codebuild("status", first).data["digest"] == built.data["digest"], "status of the first one follows too"


def test_a_held_account_is_not_tried_again(codebuild: CodeBuild) -> None:
    codebuild.aws.limits(concurrent=0)
    began = time.monotonic()
    held = codebuild("build", codebuild.project())
    assert (held.code, held.error["code"], held.error["retryable"]) == (4, "permission", False), held
    assert "AWS Support" in held.error["hint"] and time.monotonic() - began < 30


@full_images
def test_a_full_queue_is_waited_for(codebuild: CodeBuild) -> None:
    """For as long as --queue-timeout says; a place that comes free is taken."""
    codebuild.aws.limits(concurrent=1)
    folder = codebuild.project()
    codebuild.aws.builds_fault(phase="PROVISIONING", slow_s=12, times=6)
    client = codebuild.aws.client("codebuild")
    others = [client.start_build(projectName=PROJECT)["build"]["id"] for _ in range(6)]
    full = codebuild("build", folder, "--queue-timeout", "1")
    assert (full.code, full.error["code"], full.error["retryable"]) == (7, "timeout", True), full
    for each in others:
        client.stop_build(id=each)
    assert codebuild("build", folder, "--queue-timeout", "60").code == 0


@full_images
def test_a_lost_log_loses_no_image(codebuild: CodeBuild) -> None:
    codebuild.aws.builds_fault(log="lost")
    built = codebuild("build", codebuild.project())
    assert built.code == 0 and built.data["digest"] == codebuild.digest("trainyard/net", built.data["tag"]), built


def test_cancel_stops_a_build_of_ours(codebuild: CodeBuild) -> None:
    """Its caller hears of it; nothing is pushed."""
    codebuild.aws.builds_fault(phase="BUILD", slow_s=20)
    folder = codebuild.project()
    caller = codebuild.started("build", folder)
    deadline = time.monotonic() + 30
    while not codebuild.builds() and time.monotonic() < deadline:
        time.sleep(0.1)
    build_id = codebuild.builds()[0]["id"]
    rehearsed = codebuild("cancel", build_id, "--dry-run")
    assert rehearsed.data["would"].startswith(f"stop {build_id}") and rehearsed.data["status"] == "IN_PROGRESS"
    cancelled = codebuild("cancel", build_id)
    assert cancelled.document["changed"] == [f"stopped {build_id}"] and cancelled.data["status"] == "STOPPED", cancelled
    out, _ = caller.communicate(timeout=30)
    assert caller.returncode == 5 and "was stopped in phase" in out
    late = codebuild("cancel", build_id)
    assert (late.document["changed"], late.check("codebuild.cancel")["summary"][-17:]) == ([], "; nothing to stop")
    waited = codebuild("wait", build_id).check("codebuild.build")
    assert waited["fix"] == "it was stopped on request; `build` builds it anew"
    assert codebuild.aws.client("ecr").list_images(repositoryName="trainyard/net")["imageIds"] == []


@full_images
def test_somebody_elses_build_is_left_alone(codebuild: CodeBuild) -> None:
    codebuild.aws.builds_fault(phase="PROVISIONING", slow_s=10)
    build_id = codebuild.aws.client("codebuild").start_build(projectName=PROJECT)["build"]["id"]
    refused = codebuild("cancel", build_id)
    assert refused.code == 5 and codebuild.builds()[0]["buildStatus"] == "IN_PROGRESS", refused


@full_images
def test_logs_are_read_and_streamed(codebuild: CodeBuild) -> None:
    build_id = codebuild("build", codebuild.project()).data["build_ids"][0]
    some = codebuild("logs", build_id, "--lines", "5")
    assert len(some.data["lines"]) == 5 and some.document["truncated"] and some.data["total"] > 20
    streamed = codebuild("logs", build_id, "--follow", streams=True)
    lines = [each["line"] for each in streamed.stream if each["type"] == "line"]
    assert len(lines) == streamed.data["lines"] == some.data["total"] and lines[-5:] == some.data["lines"]
    codebuild("build", codebuild.project("other"))
    listed = codebuild("list", "--limit", "1")
    assert (len(listed.data["builds"]), listed.data["total"], listed.document["truncated"]) == (1, 2, True)
    rows = codebuild("list").data["builds"]
    assert rows[1]["build_id"] == build_id and rows[1]["ours"]


def test_keys_that_end_while_it_waits(codebuild: CodeBuild) -> None:
    """Exit 4 says how to sign in, and that the build goes on; the same call finds it."""
    folder = codebuild.project()
    codebuild.aws.builds_fault(phase="PRE_BUILD", slow_s=4)
    codebuild.aws.fail("codebuild:BatchGetBuilds", "ExpiredTokenException", "The security token is expired", times=1, skip=1)
    ended = codebuild("build", folder)
    assert (ended.code, ended.error["code"]) == (4, "credentials") and "the build goes on" in ended.error["message"], ended
    assert "then the same call" in ended.error["hint"] and len(ended.data["build_ids"]) == 1
    again = codebuild("build", folder)
    assert again.code == 0 and again.data["build_ids"] == ended.data["build_ids"], again


@pytest.mark.parametrize("verb", ["status", "logs", "wait", "cancel"])
def test_an_unknown_build_is_not_found(codebuild: CodeBuild, verb: str) -> None:
    assert codebuild(verb, f"{PROJECT}:3d1f9c1e-8a7b-4c5d-9e0f-1a2b3c4d5e6f").code == 3
    assert codebuild(verb, "trainyard-image-builder:$(id)").code == 2
