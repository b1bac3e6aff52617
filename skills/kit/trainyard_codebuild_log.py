"""A build of CodeBuild as it runs: its lines and phases as they come, through the builds that CodeBuild starts again by itself.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
CloudWatch Logs, GetLogEvents: a page may be empty before the end, and at the end the same token comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import trainyard_shell as shell
from trainyard_aws import AwsError, asking
from trainyard_codebuild import Build, get

POLL_FIRST_S, POLL_S = 0.25, 4.0
RETRY_GRACE_S = 15.0
"""So long after its end a build with retries left may still name the next one."""
SETTLE_S = 2.0
"""The last lines of a failed build may come after its end; they say why."""
MAX_LINE_CHARS = 4000
PAGES = 200
"""In one reading; a page is at most 1 MB."""


class LogTail:
    """The lines of a build's log stream, each once. Without permission, or without a log, there are none, which is said once."""

    def __init__(self, logs: Any) -> None:
        self.logs = logs
        self.stream: tuple[str, str] | None = None
        self.token: str | None = None
        self.silent = ""
        """Why no lines come; empty while they may."""

    def lines(self, build: Build) -> Iterator[str]:
        """The lines that are new."""
        place = build.raw.get("logs") or {}
        if (place.get("cloudWatchLogs") or {}).get("status") == "DISABLED":
            self._say(f"the project of {build.id} keeps no log in CloudWatch Logs")
        if self.silent or not place.get("groupName") or not place.get("streamName"):
            return
        if self.stream != (place["groupName"], place["streamName"]):
            self.stream, self.token = (place["groupName"], place["streamName"]), None
        for _ in range(PAGES):
            page = self._page(*self.stream)
            if page is None:
                return
            for event in page["events"]:
                for line in str(event.get("message", "")).splitlines():
                    yield shell.clean(line, MAX_LINE_CHARS)
            if page["nextForwardToken"] == self.token:
                return
            self.token = page["nextForwardToken"]

    def _page(self, group: str, stream: str) -> dict[str, Any] | None:
        more = {"nextToken": self.token} if self.token else {}
        try:
            with asking(f"read the log {stream}"):
                page: dict[str, Any] = self.logs.get_log_events(
                    logGroupName=group, logStreamName=stream, startFromHead=True, **more
                )
            return page
        except AwsError as error:
            if error.reason == "ResourceNotFoundException":  # before its first line
                return None
            if error.code == "permission":
                self._say(f"{error}; the build goes on without its log. {error.hint}")
                return None
            if error.retryable:
                return None
            raise

    def _say(self, why: str) -> None:
        if not self.silent:
            shell.progress(why)
        self.silent = why


def follow(
    builds: Any,
    logs: Any,
    build_id: str,
    *,
    timeout_s: float,
    show: Callable[[str, str | None], None],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Build:
    """The build after its end; the last of its retries. `show(phase, line)` gets every line, and None for a new phase.

    AWS that does not answer is waited for. Raises SkillError timeout after `timeout_s` seconds: the build goes on.
    """
    deadline, tail, phase, pause, away = clock() + timeout_s, LogTail(logs), "", POLL_FIRST_S, False
    while True:
        build = _patiently(builds, build_id, away)
        away = build is None
        if build:
            if (build.id, build.phase) != (build_id, phase):
                phase, pause = build.phase, POLL_FIRST_S
                show(phase, None)
            for line in tail.lines(build):
                show(phase, line)
            if build.ended:
                follower = _retry(builds, build, clock, sleep)
                if follower is None:
                    return _settled(build, tail, show, clock, sleep)
                shell.progress(f"{build_id} {build.status}: {build.failure()}; CodeBuild has started it again as {follower}")
                build_id, phase = follower, ""
                continue
        if clock() >= deadline:
            raise still_going(build_id, timeout_s, build)
        sleep(min(pause, max(0.0, deadline - clock())))
        pause = min(POLL_S, pause * 1.5)


def _patiently(builds: Any, build_id: str, away: bool) -> Build | None:
    try:
        return get(builds, build_id)
    except AwsError as error:
        if not error.retryable:
            raise shell.SkillError(
                error.code, f"{error}; the build goes on", hint=f"{error.hint}; then the same call", data={"build_id": build_id}
            ) from error
        if not away:
            shell.progress(f"{error}; waiting for it")
        return None


def _retry(builds: Any, build: Build, clock: Callable[[], float], sleep: Callable[[float], None]) -> str | None:
    """The id of the build that takes over; a build that succeeded or was stopped is not started again."""
    if build.status in ("SUCCEEDED", "STOPPED"):
        return None
    until = clock() + RETRY_GRACE_S
    while build.retry is None and build.retries_left > 0 and clock() < until:
        sleep(1.0)
        build = _patiently(builds, build.id, True) or build
    return build.retry


def _settled(
    build: Build,
    tail: LogTail,
    show: Callable[[str, str | None], None],
    clock: Callable[[], float],
    sleep: Callable[[float], None],
) -> Build:
    until = clock() + SETTLE_S
    while build.status != "SUCCEEDED" and not tail.silent and clock() < until:
        sleep(0.5)
        for line in tail.lines(build):
            show(build.phase, line)
    return build


def still_going(build_id: str, timeout_s: float, build: Build | None) -> shell.SkillError:
    where = f"it is in phase {build.phase}" if build else "AWS does not answer"
    return shell.SkillError(
        "timeout",
        f"{build_id} has not ended within {timeout_s:.0f} s: {where}; the build goes on",
        hint=f"build_image_codebuild.py wait {build_id}",
        retryable=True,
        data={"build_id": build_id, "status": build.status if build else None, "phase": build.phase if build else None},
    )
