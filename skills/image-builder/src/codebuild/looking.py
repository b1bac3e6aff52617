"""The verbs that look at builds which were started before, or end one: status, logs, wait, cancel, list."""

from __future__ import annotations

import threading
import time
from typing import Any

import trainyard_codebuild as codebuilds
import trainyard_codebuild_log as running
import trainyard_shell as shell
from codebuild import outcome
from codebuild.account import Account
from trainyard_codebuild import Build

PROGRAM = "build_image_codebuild.py"
TESTER = "test_image_codebuild.py"
"""Of image-tester."""
MAX_COUNTED = 10_000
INTERRUPTED = threading.Event()
"""Set by Ctrl-C where several builds are followed at once: a signal reaches the main thread only."""


def status(account: Account, build_id: str) -> shell.Result:
    build = latest(account, codebuilds.get(account.builds, codebuilds.check_id(build_id)))
    verbs = ["logs"] if build.ended else ["wait", "logs", "cancel"]
    checks = [outcome.judge(build)] if build.ended and build.status != "SUCCEEDED" else []
    return shell.Result(outcome.view(build), checks, next=[f"{PROGRAM} {verb} {build.id}" for verb in verbs], ok=True)


def latest(account: Account, build: Build) -> Build:
    """The last of the builds that CodeBuild has started again by itself."""
    for _ in range(10):
        if build.retry is None:
            break
        build = codebuilds.get(account.builds, build.retry)
    return build


def wait(account: Account, build_id: str, timeout_s: float) -> shell.Result:
    """Raises SkillError timeout: it goes on."""
    build = follow(account, codebuilds.check_id(build_id), timeout_s, quiet=True)
    check = outcome.judge(build)
    data = outcome.view(build)
    if check.status != "pass" or "IMAGE_REPOSITORY" not in build.variables:
        return shell.Result(data, [check], next=[f"{PROGRAM} logs {build.id}"])
    found, checks = outcome.verified(account, build)
    return shell.Result({**data, **found}, [check, *checks])


def follow(account: Account, build_id: str, timeout_s: float, *, quiet: bool = False, take: Any = None) -> Build:
    """To its end; phases on stderr, lines to `take`, or to stderr. Ctrl-C leaves the build alone, and says how to go on."""

    def show(phase: str, line: str | None) -> None:
        if line is None:
            shell.progress(f"phase {phase}")
        elif take:
            take(line)
        elif not quiet:
            shell.progress(line)

    try:
        return running.follow(account.builds, account.logs, build_id, timeout_s=timeout_s, show=show, sleep=_sleep)
    except KeyboardInterrupt:
        message = f"interrupted; the build {build_id} goes on"
        hint = f"{PROGRAM} wait {build_id}; or cancel {build_id}"
        raise shell.SkillError("timeout", message, hint=hint, retryable=True, data={"build_id": build_id}) from None


def _sleep(seconds: float) -> None:
    if INTERRUPTED.wait(seconds):
        raise KeyboardInterrupt


def logs(account: Account, build_id: str, lines: int) -> shell.Result:
    """The last lines of what is there by now."""
    build = codebuilds.get(account.builds, codebuilds.check_id(build_id))
    tail = running.LogTail(account.logs)
    found = list(tail.lines(build))
    data = {
        "build_id": build.id,
        "status": build.status,
        "lines": found[-lines:],
        "total": len(found),
        "silent": tail.silent or None,
    }
    return shell.Result(data, truncated=len(found) > lines)


def stream(account: Account, build_id: str, timeout_s: float) -> shell.Result:
    """Every line as it comes, one JSON object each."""
    count = 0

    def show(phase: str, line: str | None) -> None:
        nonlocal count
        if line is not None:
            count += 1
            shell.emit("line", phase=phase, line=line)
        else:
            shell.emit("phase", phase=phase)

    build = running.follow(account.builds, account.logs, codebuilds.check_id(build_id), timeout_s=timeout_s, show=show)
    return shell.Result({"build_id": build.id, "status": build.status, "lines": count})


def cancel(account: Account, build_id: str, *, dry_run: bool, timeout_s: float = 60.0) -> shell.Result:
    """Stops it and sees its end. Raises SkillError conflict (not ours), timeout (it is still being stopped)."""
    build = latest(account, codebuilds.get(account.builds, codebuilds.check_id(build_id)))
    if dry_run or build.ended:
        would = None if build.ended else f"stop {build.id} in phase {build.phase}"
        told = [shell.Check("codebuild.cancel", "pass", f"{build.id} has ended, {build.status}; nothing to stop")]
        return shell.Result({**outcome.view(build), "would": would}, told if build.ended else [])
    build = codebuilds.stop(account.builds, build.id)
    deadline = time.monotonic() + timeout_s
    while not build.ended:
        if time.monotonic() > deadline:
            raise running.still_going(build.id, timeout_s, build)
        time.sleep(1.0)
        build = codebuilds.get(account.builds, build.id)
    return shell.Result(outcome.view(build), changed=[f"stopped {build.id}"] if build.status == "STOPPED" else [])


def listed(account: Account, project: str, limit: int) -> shell.Result:
    """The newest builds of a project, those of ours marked."""
    builds = codebuilds.newest(account.builds, codebuilds.check_project(project), limit)
    total = sum(map(len, codebuilds.pages(account.builds, project, MAX_COUNTED)))
    rows = [_row(build) for build in builds]
    return shell.Result({"project": project, "total": total, "builds": rows}, truncated=total > limit)


def _row(build: Build) -> dict[str, Any]:
    """A test of image-tester names its image. Its build succeeds as soon as the container has answered, whatever the answer is: the
    verdict is image-tester's to read.
    """
    seen, tested = outcome.view(build), build.variables.get("TEST_IMAGE")
    columns = ("build_id", "status", "phase", "image", "digest", "seconds")
    more = {"kind": "test", "image": tested} if tested else {"kind": "build" if seen["image"] else None}
    if tested and seen["status"] == "SUCCEEDED":
        more["verdict"] = f"unknown here: {TESTER} run has printed it"
    return {**{each: seen[each] for each in columns}, **more, "ours": codebuilds.KEY in build.variables}
