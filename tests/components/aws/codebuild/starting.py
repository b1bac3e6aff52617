"""StartBuild and RetryBuild: the project with this build's overrides, what AWS refuses, and the queue's limits."""

from __future__ import annotations

import copy
import functools
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any

from tests.components.aws.codebuild import projects, worker
from tests.components.aws.codebuild.build import Build
from tests.components.aws.codebuild.combinations import refuse_combination
from tests.components.aws.codebuild.service import CODEBUILD
from tests.components.aws.codebuild.state import QUEUE_FACTOR, CodeBuildState
from tests.components.aws.wire.json_service import Call
from tests.components.aws.wire.refused import Refused

Document = dict[str, Any]
TOKEN_VALID_S = 300.0
RENAMED = {
    "sourceTypeOverride": ("source", "type"),
    "sourceLocationOverride": ("source", "location"),
    "sourceAuthOverride": ("source", "auth"),
    "gitCloneDepthOverride": ("source", "gitCloneDepth"),
    "gitSubmodulesConfigOverride": ("source", "gitSubmodulesConfig"),
    "buildspecOverride": ("source", "buildspec"),
    "insecureSslOverride": ("source", "insecureSsl"),
    "reportBuildStatusOverride": ("source", "reportBuildStatus"),
    "buildStatusConfigOverride": ("source", "buildStatusConfig"),
    "environmentTypeOverride": ("environment", "type"),
    "imageOverride": ("environment", "image"),
    "computeTypeOverride": ("environment", "computeType"),
    "certificateOverride": ("environment", "certificate"),
    "privilegedModeOverride": ("environment", "privilegedMode"),
    "registryCredentialOverride": ("environment", "registryCredential"),
    "imagePullCredentialsTypeOverride": ("environment", "imagePullCredentialsType"),
    "fleetOverride": ("environment", "fleet"),
    "hostKernelOverride": ("environment", "hostKernel"),
    "artifactsOverride": ("artifacts",),
    "secondaryArtifactsOverride": ("secondaryArtifacts",),
    "secondarySourcesOverride": ("secondarySources",),
    "secondarySourcesVersionOverride": ("secondarySourceVersions",),
    "cacheOverride": ("cache",),
    "serviceRoleOverride": ("serviceRole",),
    "timeoutInMinutesOverride": ("timeoutInMinutes",),
    "queuedTimeoutInMinutesOverride": ("queuedTimeoutInMinutes",),
    "encryptionKeyOverride": ("encryptionKey",),
    "logsConfigOverride": ("logsConfig",),
    "autoRetryLimitOverride": ("autoRetryLimit",),
    "sourceVersion": ("sourceVersion",),
}
"""Member of StartBuild -> where it goes in the project."""
SHOWN = (
    "sourceVersion",
    "source",
    "secondarySources",
    "secondarySourceVersions",
    "cache",
    "environment",
    "serviceRole",
    "timeoutInMinutes",
    "queuedTimeoutInMinutes",
    "encryptionKey",
    "vpcConfig",
)
"""What a build shows of its settings."""


@CODEBUILD.verb
def start_build(call: Call) -> Document:
    project = projects.existing(call, call.request["projectName"])
    state = call.world.codebuild
    with call.world.lock:
        if again := of_token(state, call):
            return {"build": again.shown()}
        settings = overridden(project, call.request)
        refuse_combination(settings, call.request)
        if "serviceRoleOverride" in call.request:
            projects.refuse_role(call.world, settings["serviceRole"])
        admit(state, project)
        build = new_build(call, settings)
        if token := call.request.get("idempotencyToken"):
            state.by_token[call.region, token] = (time.monotonic(), call.request, build)
    return {"build": begin(call, build)}


def of_token(state: CodeBuildState, call: Call) -> Build | None:
    """The build that the same request has started before. Raises Refused for another request with its token."""
    token = call.request.get("idempotencyToken")
    since, request, build = state.by_token.get((call.region, token or ""), (0.0, {}, None))
    if not token or build is None or time.monotonic() - since > TOKEN_VALID_S:
        return None
    if request != call.request:
        raise Refused(
            "InvalidInputException", f"Parameter mismatch: the idempotency token {token} was used with other parameters"
        )
    return build


def overridden(project: Document, request: Document) -> Document:
    settings = copy.deepcopy(project)
    for member, (*way, last) in RENAMED.items():
        if member in request:
            target = settings
            for step in way:
                target = target.setdefault(step, {})
            target[last] = copy.deepcopy(request[member])
    settings["environment"]["environmentVariables"] = variables(settings, request)
    if request.get("sourceTypeOverride") == "NO_SOURCE":
        settings["source"].pop("location", None)
    return settings


def variables(settings: Document, request: Document) -> list[Document]:
    """StartBuild's win over the project's."""
    merged = {each["name"]: each for each in settings["environment"].get("environmentVariables", [])}
    merged |= {each["name"]: each for each in request.get("environmentVariablesOverride", [])}
    return [{"type": "PLAINTEXT", **each} for each in merged.values()]


def admit(state: CodeBuildState, project: Document) -> None:
    """Raises Refused (AccountLimitExceededException) where the account's queue or the project is full."""
    active = [build for build in state.builds.values() if not build.complete]
    limit = project.get("concurrentBuildLimit")
    if limit is not None and sum(build.project == project["name"] for build in active) >= limit:
        raise Refused("AccountLimitExceededException", f"Cannot have more than {limit} active builds for the account")
    queued = sum(build.running_at is None for build in active)
    most = QUEUE_FACTOR * state.limits.concurrent
    if len(active) - queued >= state.limits.concurrent and queued >= most:
        raise Refused("AccountLimitExceededException", f"Cannot have more than {most} builds in queue for the account")


def new_build(call: Call, settings: Document) -> Build:
    state, name = call.world.codebuild, settings["name"]
    number = state.numbers[call.region, name] = state.numbers.get((call.region, name), 0) + 1
    fault, minute_s = state.faults.take(name), state.limits.minute_s
    build = Build(call.region, f"{name}:{uuid.uuid4()}", call.request, settings, number, fault, minute_s)
    build.retry_limit = settings.get("autoRetryLimit") or 0
    build.document = {
        "id": build.id,
        "arn": build.arn,
        "buildNumber": number,
        "startTime": time.time(),
        "buildStatus": "IN_PROGRESS",
        "buildComplete": False,
        "projectName": name,
        "phases": [],
        "artifacts": {"location": ""},
        "initiator": call.caller.key,
        **{member: copy.deepcopy(settings[member]) for member in SHOWN if member in settings},
    }
    if build.retry_limit:
        build.document["autoRetryConfig"] = {"autoRetryLimit": build.retry_limit, "autoRetryNumber": 0}
    state.builds[call.region, build.id] = build
    return build


def begin(call: Call, build: Build) -> Document:
    """Submitted, and on its way in a thread of its own; as it was when it was submitted."""
    build.enter("SUBMITTED")
    build.leave("SUCCEEDED")
    build.enter("QUEUED")
    shown = build.shown()
    thread = threading.Thread(target=worker.work, args=(call.world, build, functools.partial(retry, call)), daemon=True)
    call.world.codebuild.threads.append(thread)
    thread.start()
    return shown


def retry(call: Call, before: Build) -> tuple[Build, Callable[[], object]]:
    """The same build again, as the next link of an automatic chain, and what begins it."""
    config = before.document.get("autoRetryConfig", {"autoRetryNumber": 0})
    with call.world.lock:
        build = new_build(call, copy.deepcopy(before.settings))
    build.retry_limit = before.retry_limit
    build.document["autoRetryConfig"] = {
        "autoRetryLimit": before.retry_limit,
        "autoRetryNumber": config["autoRetryNumber"] + 1,
        "previousAutoRetry": before.arn,
    }
    return build, functools.partial(begin, call, build)


@CODEBUILD.verb
def retry_build(call: Call) -> Document:
    before = call.world.codebuild.builds.get((call.region, call.request.get("id", "")))
    if before is None:
        raise Refused("ResourceNotFoundException", f"Build cannot be found: {call.request.get('id')}")
    again = Call(call.world, call.caller, "StartBuild", before.request, call.headers)
    with call.world.lock:
        admit(call.world.codebuild, before.settings)
        build = new_build(again, copy.deepcopy(before.settings))
    return {"build": begin(again, build)}
