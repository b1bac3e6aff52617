"""One build from the queue to its end, in a thread of its own: real commands, in a real shell, on this machine."""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.components.aws.codebuild import role
from tests.components.aws.codebuild.build import Build, Interrupted, PhaseFailed
from tests.components.aws.codebuild.commands import run_phases
from tests.components.aws.codebuild.work import Work
from tests.components.aws.iam import guard
from tests.components.aws.iam.caller import Caller
from tests.components.aws.wire.refused import Refused
from tests.components.aws.world import World

Follow = Callable[[Build], tuple[Build, Callable[[], object]]]
"""Makes the next build of an automatic chain, and what begins it."""


def work(world: World, build: Build, follow: Follow) -> None:
    folder = world.folder / "builds" / build.id.partition(":")[2]
    try:
        status, session = attempted(world, build, folder)
    except Exception:
        traceback.print_exc()  # a mistake of the stand-in: its log says so, and the build ends as AWS's own faults do
        status, session = "FAULT", None
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    begin_next = None
    if status in ("FAILED", "FAULT") and session and may_retry(world, build, session):
        following, begin_next = follow(build)
        config = {"autoRetryNumber": 0, **build.document.get("autoRetryConfig", {}), "autoRetryLimit": build.retry_limit}
        build.update(autoRetryConfig=config | {"nextAutoRetry": following.arn})
    build.finish(status)
    with world.codebuild.turn:
        world.codebuild.turn.notify_all()
    if begin_next:
        begin_next()


def attempted(world: World, build: Build, folder: Path) -> tuple[str, role.Session | None]:
    """The build's status, and its role's session where it got that far."""
    session: role.Session | None = None
    job: Work | None = None
    try:
        wait_for_turn(world, build)
        with build.phase("PROVISIONING"):
            session = role.assume(world, build)
            job = Work(build, session, folder)
            job.log.open()
        job.download()
        status = run_phases(job)
    except PhaseFailed as failed:
        status = failed.status
    except Interrupted as interrupted:
        status = interrupted.status
    finally:
        if job:
            job.close()
    build.enter("FINALIZING")
    build.leave("SUCCEEDED")
    return status, session


def wait_for_turn(world: World, build: Build) -> None:
    """The queue: the oldest build of the account goes first. QUEUED has been entered already."""
    state = world.codebuild
    try:
        build.fault.strike("QUEUED", build.check)
        with state.turn:
            while not may_run(world, build):
                build.check()
                state.turn.wait(0.05)
            build.begin_to_run()
    except PhaseFailed as failed:
        build.leave(failed.status, failed.code, failed.message)
        raise
    except Interrupted as interrupted:
        build.leave(interrupted.status)
        raise
    build.leave("SUCCEEDED")


def may_run(world: World, build: Build) -> bool:
    active = [each for each in list(world.codebuild.builds.values()) if not each.complete]
    running = sum(each.running_at is not None for each in active)
    first = next((each for each in active if each.running_at is None), build)
    return first is build and running < world.codebuild.limits.concurrent


def may_retry(world: World, build: Build, session: role.Session) -> bool:
    """Retries are left, and the service role may call RetryBuild."""
    if build.document.get("autoRetryConfig", {"autoRetryNumber": 0})["autoRetryNumber"] >= build.retry_limit:
        return False
    caller = Caller(session.credentials["AccessKeyId"], build.region, "codebuild")
    try:
        guard.allow(world, caller, "codebuild:RetryBuild", build.settings["arn"])
    except Refused:
        return False
    return True
