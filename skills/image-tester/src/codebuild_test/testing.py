"""The whole of `run` on CodeBuild: image, plan, one build, and the verdicts that a test here gives."""

from __future__ import annotations

import dataclasses
import time

import tester_answer
import tester_bundle
import trainyard_aws
import trainyard_codebuild as codebuilds
import trainyard_shell as shell
from codebuild_test import ecr_image, remote
from image_verdicts import verdict_container
from image_verdicts.verdict_of import Scene
from tester_asked import Asked
from tester_local import Room, limits_of
from tester_plan import plan_of
from tester_verdict import answer, inside
from trainyard_codebuild import Build

PROGRAM = "test_image_codebuild.py"
PULL_S = 1800.0
HOST_ARCH = "x86_64"


def test(
    name: str, asked: Asked, room: Room, *, region: str | None, project: str, compute_type: str, queue_s: float
) -> shell.Result:
    """Raises SkillError: what AWS refuses, not-found, unreachable (the host or its log), timeout."""
    since = time.monotonic()
    found = ecr_image.find(name, region)
    builds, logs = trainyard_aws.client("codebuild", region), trainyard_aws.client("logs", region)
    plan = plan_of(asked, found.image)
    limits = limits_of(asked, room, plan)
    text = tester_bundle.text(plan)
    order = remote.order(found, builds.meta.region_name, text, asked.pythons, limits, compute_type, queue_s)
    build, _ = codebuilds.start(builds, project, order.request, queue_s=queue_s)
    shell.progress(f"testing {found.reference} at level {asked.level} in {build.id}: at most {limits.timeout_s:.0f} s")
    build = remote.followed(order, builds, logs, build.id, limits.timeout_s + queue_s + PULL_S)
    _refuse(build)
    ran, unsigned, size_bytes = remote.answer(order, build)
    image = dataclasses.replace(found.image, size_bytes=size_bytes or found.image.size_bytes)
    scene = Scene(asked, image, tester_answer.read(ran.output, plan))
    outside = [verdict_container.platform(scene, HOST_ARCH), *verdict_container.container(scene, ran)]
    more = {
        "unsigned_lines": scene.answers.unsigned + unsigned,
        "project_lines_not_understood": list(asked.unread)[:20],
        "build_id": build.id,
        "reference": found.reference,
    }
    return answer(scene, [*outside, *inside(scene)], seconds=time.monotonic() - since, more=more)


def _refuse(build: Build) -> None:
    """The host that tests, not the image: a build that did not come to the container's answer says nothing about it."""
    if build.status == "SUCCEEDED":
        return
    why = build.failure() or "CodeBuild gives no reason"
    code = "conflict" if build.status == "STOPPED" else "timeout" if build.status == "TIMED_OUT" else "unreachable"
    message = f"the test {build.id} ended {build.status} before its answer: {why}"
    raise shell.SkillError(
        code, message, hint=f"{PROGRAM} logs {build.id}", retryable=code != "conflict", data={"build_id": build.id}
    )


def status(build_id: str, region: str | None) -> shell.Result:
    build = codebuilds.get(trainyard_aws.client("codebuild", region), codebuilds.check_id(build_id))
    data = {
        "build_id": build.id,
        "status": build.status,
        "phase": build.phase,
        "seconds": build.seconds,
        "image": build.variables.get("TEST_IMAGE"),
        "phases": build.phases(),
    }
    told = "the container has answered; whether the image passed is what `run` has printed"
    checks = [shell.Check("test.verdict", "unknown", told, fix="`run` again judges it again")]
    return shell.Result(data, checks if build.status == "SUCCEEDED" else [], next=[f"{PROGRAM} logs {build.id}"], ok=True)
