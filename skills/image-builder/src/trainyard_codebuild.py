"""Builds of AWS CodeBuild: start one, look at it, find those of ours, stop it. What a build says while it runs: trainyard_codebuild_log.

`make kit` copies this file byte for byte into the src/ of each skill that uses it; edit it in skills/kit/ only.
A build of ours carries its key (`TRAINYARD_KEY`) as an environment variable: the same call finds it again, and nothing else is stopped.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import trainyard_shell as shell
from trainyard_aws import AwsError, asking

BUILD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,149}:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
PROJECT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{1,149}", re.ASCII)
KEY = "TRAINYARD_KEY"
NEWEST = 100
"""So many of a project's builds are looked at: one page of ListBuildsForProject, one BatchGetBuilds."""
QUEUE_RETRY_S = 5.0
LIMITS = ("timeoutInMinutesOverride", "queuedTimeoutInMinutesOverride")
"""How long a build may take: no part of what it makes."""
SETUP = "infrastructure/aws-cli/setup-codebuild.sh makes it; or name another project (--help)"
LIST = "build_image_codebuild.py list"


@dataclass(frozen=True)
class Build:
    """A build as BatchGetBuilds and StartBuild describe it."""

    raw: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.raw["id"])

    @property
    def project(self) -> str:
        return self.id.partition(":")[0]

    @property
    def status(self) -> str:
        """IN_PROGRESS, SUCCEEDED, FAILED, FAULT (AWS's own), STOPPED, TIMED_OUT."""
        return str(self.raw.get("buildStatus", "IN_PROGRESS"))

    @property
    def ended(self) -> bool:
        return bool(self.raw.get("buildComplete")) or self.status != "IN_PROGRESS"

    @property
    def phase(self) -> str:
        return str(self.raw.get("currentPhase") or "SUBMITTED")

    @property
    def variables(self) -> dict[str, str]:
        """What StartBuild gave it, by name."""
        given = (self.raw.get("environment") or {}).get("environmentVariables") or []
        return {str(each.get("name")): str(each.get("value")) for each in given}

    @property
    def exported(self) -> dict[str, str]:
        """What its buildspec exported, by name. Only a shell of the build could write it: check it all the same."""
        return {str(each.get("name")): str(each.get("value")) for each in self.raw.get("exportedEnvironmentVariables") or []}

    @property
    def retry(self) -> str | None:
        """The id of the build that CodeBuild has started again by itself after this one."""
        named = str((self.raw.get("autoRetryConfig") or {}).get("nextAutoRetry") or "")
        return named.rpartition("build/")[2] or None

    @property
    def retries_left(self) -> int:
        config = self.raw.get("autoRetryConfig") or {}
        return int(config.get("autoRetryLimit") or 0) - int(config.get("autoRetryNumber") or 0)

    @property
    def seconds(self) -> float:
        """From the start to the end, or to now."""
        began, ended = self.raw.get("startTime"), self.raw.get("endTime")
        if began is None:
            return 0.0
        return max(0.0, round(float((ended.timestamp() if ended else time.time()) - began.timestamp()), 1))

    def phases(self) -> list[dict[str, Any]]:
        """Name, status, seconds and what CodeBuild says of each phase; a phase that runs has no status."""
        return [
            {
                "phase": each.get("phaseType"),
                "status": each.get("phaseStatus"),
                "seconds": each.get("durationInSeconds"),
                "said": [told for context in each.get("contexts") or [] if (told := _told(context))],
            }
            for each in self.raw.get("phases") or []
        ]

    def failure(self) -> str:
        """The phases that did not succeed, each with its code and message."""
        bad = [each for each in self.phases() if each["status"] not in (None, "SUCCEEDED") or each["said"]]
        return "; ".join(
            f"{each['phase']} {each['status'] or ''}: {', '.join(each['said']) or 'no reason given'}" for each in bad
        )


def _told(context: dict[str, Any]) -> str:
    return shell.clean(": ".join(str(context[name]) for name in ("statusCode", "message") if context.get(name)), 600)


def check_id(text: str) -> str:
    """Raises SkillError usage for what is not an id of a build (`project:uuid`)."""
    if not BUILD_ID.fullmatch(text):
        message = f"{shell.clean(text, 100)!r} is not the id of a build"
        raise shell.SkillError("usage", message, hint=f"an id looks like trainyard-image-builder:1b2c...; `{LIST}` shows them")
    return text


def check_project(text: str) -> str:
    if not PROJECT.fullmatch(text):
        message = f"{shell.clean(text, 100)!r} is not a name of a CodeBuild project"
        raise shell.SkillError("usage", message, hint="2 to 150 letters, digits, - and _, a letter or digit first")
    return text


def get(client: Any, build_id: str) -> Build:
    """Raises SkillError not-found, and what `asking` raises."""
    with asking(f"look at the build {build_id}"):
        answer = client.batch_get_builds(ids=[build_id])
    if not answer.get("builds"):
        region = client.meta.region_name
        raise shell.SkillError(
            "not-found", f"no build {build_id} in {region}", hint=f"`{LIST}` shows the builds; or another --region"
        )
    return Build(answer["builds"][0])


def newest(client: Any, project: str, limit: int = NEWEST) -> list[Build]:
    """Up to `limit` builds of a project, the newest first; a build that was deleted in between is left out. Raises as `pages`."""
    builds: list[Build] = []
    for ids in pages(client, project, limit):
        with asking(f"look at builds of {project}"):
            found = {each["id"]: Build(each) for each in client.batch_get_builds(ids=ids).get("builds") or []}
        builds += [found[each] for each in ids if each in found]
    return builds


def pages(client: Any, project: str, limit: int) -> Iterator[list[str]]:
    """Ids of up to `limit` builds, the newest first, at most 100 at a time. Raises SkillError not-found: no such project."""
    more: dict[str, str] = {}
    while limit > 0:
        try:
            with asking(f"list the builds of {project}"):
                answer = client.list_builds_for_project(projectName=project, sortOrder="DESCENDING", **more)
        except AwsError as error:
            raise _no_project(error, client, project) from error
        ids = (answer.get("ids") or [])[:limit]
        limit -= len(ids)
        yield from (ids[start : start + 100] for start in range(0, len(ids), 100))
        if not answer.get("nextToken") or not ids:
            return
        more = {"nextToken": answer["nextToken"]}


def key_of(request: dict[str, Any]) -> str:
    """Names what a StartBuild asks for: the same request has the same key, however long it may take."""
    return _hash({name: value for name, value in request.items() if name not in LIMITS})


def _hash(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def start(
    client: Any,
    project: str,
    request: dict[str, Any],
    *,
    queue_s: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Build, bool]:
    """Starts `request`, or finds the build of the same request that still runs. True: it is a new one.

    The token makes one build of two calls at once: it names the request and the last build of it. AWS keeps a token five minutes.
    A full queue is tried again for `queue_s` seconds. Raises SkillError not-found (no project), permission (the account is held at
    no builds at all), timeout (the queue stays full).
    """
    key = key_of(request)
    same = [build for build in newest(client, project) if build.variables.get(KEY) == key]
    running = next((build for build in same if not build.ended), None)
    if running:
        return running, False
    token = hashlib.sha256(f"{_hash(request)} {same[0].id if same else ''}".encode()).hexdigest()
    variables = [*request.get("environmentVariablesOverride", []), {"name": KEY, "value": key, "type": "PLAINTEXT"}]
    asked = {**request, "projectName": project, "environmentVariablesOverride": variables, "idempotencyToken": token}
    deadline, said = clock() + queue_s, False
    while True:
        try:
            with asking(f"start a build of {project}"):
                return Build(client.start_build(**asked)["build"]), True
        except AwsError as error:
            _refused(error, client, project, expired=clock() >= deadline)
        if not said:
            shell.progress(f"the queue of CodeBuild is full; trying for up to {queue_s:.0f} s")
            said = True
        sleep(min(QUEUE_RETRY_S, max(0.0, deadline - clock())))


def _no_project(error: AwsError, client: Any, project: str) -> shell.SkillError:
    """What `error` says of the project, else the error itself."""
    if error.reason != "ResourceNotFoundException":
        return error
    return shell.SkillError("not-found", f"no CodeBuild project {project} in {client.meta.region_name}", hint=SETUP)


def _refused(error: AwsError, client: Any, project: str, *, expired: bool) -> None:
    """Returns where the same call may succeed a little later."""
    region = client.meta.region_name
    if error.reason != "AccountLimitExceededException":
        raise _no_project(error, client, project) from error
    limit = re.search(r"more than (\d+) ", str(error))
    if limit and int(limit[1]) == 0:
        raise shell.SkillError(
            "permission",
            f"AWS lets this account start no builds in {region}: {error}",
            hint="only AWS Support lifts it, whatever Service Quotas shows: open a case; until then build with Docker (build_image.py)",
        ) from error
    if expired:
        hint = f"wait for builds to end (`{LIST}`), then the same call; or ask for a higher quota of CodeBuild"
        raise shell.SkillError("timeout", f"the queue of CodeBuild stays full: {error}", hint=hint, retryable=True) from error


def stop(client: Any, build_id: str) -> Build:
    """Ends a build of ours. Raises SkillError conflict for a build that is not ours, not-found."""
    build = get(client, build_id)
    if KEY not in build.variables:
        message = f"{build_id} was not started by Trainyard; it was left alone"
        raise shell.SkillError("conflict", message, hint=f"aws codebuild stop-build --id {build_id}")
    if build.ended:
        return build
    with asking(f"stop the build {build_id}"):
        return Build(client.stop_build(id=build_id)["build"])
