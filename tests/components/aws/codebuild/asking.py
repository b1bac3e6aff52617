"""BatchGetBuilds and its neighbours, and StopBuild."""

from __future__ import annotations

from typing import Any

from tests.components.aws.codebuild import projects
from tests.components.aws.codebuild.build import Build
from tests.components.aws.codebuild.service import CODEBUILD
from tests.components.aws.wire.json_service import Call
from tests.components.aws.wire.refused import Refused

Document = dict[str, Any]
PAGE = 100


def of_id(call: Call, id: str) -> Build | None:
    """By id or ARN."""
    return call.world.codebuild.builds.get((call.region, id.rpartition("build/")[2]))


@CODEBUILD.verb
def batch_get_builds(call: Call) -> Document:
    found = {id: of_id(call, id) for id in call.request["ids"]}
    return {
        "builds": [build.shown() for build in found.values() if build],
        "buildsNotFound": [id for id, build in found.items() if build is None],
    }


@CODEBUILD.verb
def stop_build(call: Call) -> Document:
    build = of_id(call, call.request["id"])
    if build is None:
        raise Refused("ResourceNotFoundException", f"Build cannot be found: {call.request['id']}")
    build.stop.set()
    with call.world.codebuild.turn:
        call.world.codebuild.turn.notify_all()
    return {"build": build.shown()}


@CODEBUILD.verb
def list_builds(call: Call) -> Document:
    return listed(call, [id for region, id in call.world.codebuild.builds if region == call.region])


@CODEBUILD.verb
def list_builds_for_project(call: Call) -> Document:
    name = projects.existing(call, call.request["projectName"])["name"]
    builds = call.world.codebuild.builds
    return listed(call, [id for (region, id), build in builds.items() if region == call.region and build.project == name])


def listed(call: Call, oldest_first: list[str]) -> Document:
    """A page, the newest first unless asked otherwise."""
    ids = oldest_first if call.request.get("sortOrder") == "ASCENDING" else oldest_first[::-1]
    start = int(call.request.get("nextToken") or 0)
    more = {"nextToken": str(start + PAGE)} if start + PAGE < len(ids) else {}
    # Without a build `ids` is left out: the model wants one member at least.
    return {"ids": ids[start : start + PAGE], **more} if ids else {}


@CODEBUILD.verb
def batch_delete_builds(call: Call) -> Document:
    deleted, kept = [], []
    for id in call.request["ids"]:
        build = of_id(call, id)
        if build and build.complete:
            del call.world.codebuild.builds[call.region, build.id]
            deleted.append(build.arn)
        elif build:
            kept.append({"id": id, "statusCode": "BUILD_IN_PROGRESS"})
    return {"buildsDeleted": deleted, "buildsNotDeleted": kept}
