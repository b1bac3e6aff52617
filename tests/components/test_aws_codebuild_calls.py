"""CodeBuild at the wire: which calls it takes, and in which words it refuses the others."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.components.aws.building import ended, reached, refusal, shown, spec, start
from tests.components.aws.running import Aws


def test_queue_limit(aws: Aws) -> None:
    """A held account takes no build; a full queue says how many it takes; a build that waits runs when another ends."""
    aws.make_project()
    aws.limits(concurrent=0)
    with pytest.raises(ClientError) as raised:
        start(aws)
    assert refusal(raised) == ("AccountLimitExceededException", "Cannot have more than 0 builds in queue for the account")
    aws.limits(concurrent=1)
    first, *others = [start(aws, buildspecOverride=spec(build=["sleep 60"])), *(start(aws) for _ in range(5))]
    reached(aws, first, "BUILD")
    with pytest.raises(ClientError) as raised:
        start(aws)
    assert refusal(raised)[1] == "Cannot have more than 5 builds in queue for the account"
    assert {shown(aws, id)["currentPhase"] for id in others} == {"QUEUED"}
    aws.client("codebuild").stop_build(id=first)
    assert {ended(aws, id)["buildStatus"] for id in others} == {"SUCCEEDED"}


def test_project_limit(aws: Aws) -> None:
    """A project with a limit of its own refuses at once, and takes a build again afterwards."""
    aws.make_project(concurrentBuildLimit=1)
    id = start(aws, buildspecOverride=spec(build=["sleep 60"]))
    with pytest.raises(ClientError) as raised:
        start(aws)
    assert refusal(raised)[0] == "AccountLimitExceededException"
    aws.client("codebuild").stop_build(id=id)
    ended(aws, id)
    ended(aws, start(aws))


def test_token(aws: Aws) -> None:
    """The same request with the same token is the same build; another request with it is refused."""
    aws.make_project()
    id = start(aws, idempotencyToken="one")
    assert start(aws, idempotencyToken="one") == id
    with pytest.raises(ClientError) as raised:
        start(aws, idempotencyToken="one", timeoutInMinutesOverride=5)
    assert refusal(raised)[0] == "InvalidInputException"
    assert start(aws, idempotencyToken="two") != id


def test_not_found(aws: Aws) -> None:
    """Ids that nobody knows are named, and projects too."""
    answer = aws.client("codebuild").batch_get_builds(ids=["trainyard:none"])
    assert (answer["builds"], answer["buildsNotFound"]) == ([], ["trainyard:none"])
    with pytest.raises(ClientError) as raised:
        start(aws)
    assert refusal(raised)[0] == "ResourceNotFoundException"
    assert aws.client("codebuild").batch_get_projects(names=["trainyard"])["projectsNotFound"] == ["trainyard"]


def test_lambda(aws: Aws) -> None:
    """Lambda compute takes no privileged build; without that it does; and its sizes are not those of containers."""
    aws.make_project()
    on_lambda = {"environmentTypeOverride": "LINUX_LAMBDA_CONTAINER", "computeTypeOverride": "BUILD_LAMBDA_4GB"}
    with pytest.raises(ClientError) as raised:
        start(aws, **on_lambda)
    assert refusal(raised)[0] == "InvalidInputException"
    with pytest.raises(ClientError):
        start(aws, computeTypeOverride="BUILD_LAMBDA_4GB")
    ended(aws, start(aws, privilegedModeOverride=False, **on_lambda))


def test_projects(aws: Aws) -> None:
    """Created once, updated, deleted; a role that does not exist is refused."""
    codebuild = aws.client("codebuild")
    aws.make_project("9th_project", environment={"type": "LINUX_EC2", "image": "i", "computeType": "BUILD_GENERAL1_XLARGE"})
    with pytest.raises(ClientError) as raised:
        aws.make_project(
            "9th_project", serviceRole=codebuild.batch_get_projects(names=["9th_project"])["projects"][0]["serviceRole"]
        )
    assert refusal(raised)[0] == "ResourceAlreadyExistsException"
    codebuild.update_project(name="9th_project", timeoutInMinutes=10)
    [project] = codebuild.batch_get_projects(names=["9th_project"])["projects"]
    assert (project["timeoutInMinutes"], project["environment"]["type"]) == (10, "LINUX_EC2")
    codebuild.delete_project(name="9th_project")
    assert codebuild.list_projects()["projects"] == []
    with pytest.raises(ClientError) as raised:
        aws.make_project("other", serviceRole="arn:aws:iam::123456789012:role/none")
    assert "sts:AssumeRole" in refusal(raised)[1]


def test_failing_calls(aws: Aws) -> None:
    """A call fails as often as asked, with AWS's code or without an answer, and then no more."""
    aws.make_project()
    aws.fail("codebuild:StartBuild", "ThrottlingException", "Rate exceeded", times=2)
    for _ in range(2):
        with pytest.raises(ClientError) as raised:
            start(aws)
        assert refusal(raised) == ("ThrottlingException", "Rate exceeded")
    aws.fail("codebuild:StartBuild", "HANG_UP")
    with pytest.raises(ConnectionClosedError):
        start(aws)
    ended(aws, start(aws))
