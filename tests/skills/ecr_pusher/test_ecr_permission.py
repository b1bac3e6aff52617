"""What each verb may need of AWS: its policy is enough, it makes no other call, and without one action the hint has the statement that is missing."""

from __future__ import annotations

import json
from collections.abc import Iterable

import pytest
from ecr_call import Pusher
from ecr_made_images import Made

from tests.calling import Answer

REPOSITORY = "arn:aws:ecr:*:123456789012:repository/team/net"
LOOK = ("DescribeRepositories",)
LAYERS = (
    "BatchCheckLayerAvailability",
    "InitiateLayerUpload",
    "UploadLayerPart",
    "CompleteLayerUpload",
    "PutImage",
    "BatchGetImage",
)
NEEDS = {
    "push": (*LOOK, *LAYERS),
    "push --via api": (*LOOK, *LAYERS),
    "push semver": (*LOOK, *LAYERS, "DescribeImages"),
    "push ecr:": (*LOOK, *LAYERS, "GetDownloadUrlForLayer"),
    "ensure-repo": (*LOOK, "CreateRepository", "TagResource", "PutLifecyclePolicy", "GetLifecyclePolicy"),
    "tags": (*LOOK, "DescribeImages"),
    "verify": (*LOOK, "BatchGetImage", "BatchCheckLayerAvailability", "GetDownloadUrlForLayer"),
    "promote": (*LOOK, "BatchGetImage", "PutImage", "DescribeImages", "BatchDeleteImage"),
}
SIGNS_IN = ("push", "push semver", "push ecr:", "verify")
"""Besides ecr:GetAuthorizationToken, which has no resource."""


def policy(actions: Iterable[str], *, token: bool) -> dict[str, object]:
    statements = [{"Effect": "Allow", "Action": [f"ecr:{each}" for each in actions], "Resource": REPOSITORY}]
    if token:
        statements.append({"Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": "*"})
    return {"Version": "2012-10-17", "Statement": statements}


def run(pusher: Pusher, verb: str, image: Made) -> Answer:
    push = ("push", image.word, "--repository", "team/net")
    words = {
        "push": (*push, "--tag", "1"),
        "push --via api": (*push, "--tag", "1", "--via", "api"),
        "push semver": (*push, "--tag-strategy", "semver"),
        "push ecr:": ("push", "ecr:team/net:build-1", "--repository", "team/net", "--tag", "1", "--region", "us-west-2"),
        "ensure-repo": ("ensure-repo", "team/net"),
        "tags": ("tags", "team/net"),
        "verify": ("verify", "team/net:build-1"),
        "promote": ("promote", "team/net", "--from", "build-1", "--tag", "2"),
    }[verb]
    return pusher.call(*words)


def prepare(pusher: Pusher, verb: str, image: Made) -> None:
    if verb != "ensure-repo":
        pusher.ecr().create_repository(repositoryName="team/net")
    if verb == "push ecr:":
        pusher.ecr("us-west-2").create_repository(repositoryName="team/net")
    if verb in ("verify", "promote", "push ecr:"):
        assert pusher.call("push", image.word, "--repository", "team/net", "--tag", "build-1").code == 0


@pytest.mark.parametrize("verb", NEEDS)
def test_the_policy_of_a_verb_is_enough(pusher: Pusher, image: Made, verb: str) -> None:
    """And all of it is used."""
    prepare(pusher, verb, image)
    user = pusher.aws.user(policy(NEEDS[verb], token=verb in SIGNS_IN))
    pusher.env = user
    done = run(pusher, verb, image)
    assert done.code == 0, done
    made = {each["action"] for each in pusher.aws.actions(user)}
    wanted = {f"ecr:{each}" for each in NEEDS[verb]} | ({"ecr:GetAuthorizationToken"} if verb in SIGNS_IN else set())
    assert made == wanted - {"ecr:TagResource"}, "AWS asks for it within CreateRepository, where tags are given"


WITHOUT = [
    ("push", "DescribeRepositories"),
    ("push", "BatchCheckLayerAvailability"),
    ("push", "InitiateLayerUpload"),
    ("push", "PutImage"),
    ("push --via api", "UploadLayerPart"),
    ("ensure-repo", "CreateRepository"),
    ("promote", "PutImage"),
    ("verify", "BatchGetImage"),
]


@pytest.mark.parametrize(("verb", "action"), WITHOUT)
def test_a_missing_permission_is_named(pusher: Pusher, image: Made, verb: str, action: str) -> None:
    """Exit 4, with a statement of the action and the repository; nothing is tagged."""
    prepare(pusher, verb, image)
    before = pusher.tagged("team/net") if verb != "ensure-repo" else {}
    rest = [each for each in NEEDS[verb] if each != action]
    pusher.env = pusher.aws.user(policy(rest, token=verb in SIGNS_IN))
    done = run(pusher, verb, image)
    assert (done.code, done.error["code"]) == (4, "permission"), done
    statement = json.loads(done.error["hint"].partition(": ")[2])
    assert statement["Action"] == f"ecr:{action}" and statement["Resource"].endswith("repository/team/net"), statement
    pusher.env = {}
    if verb != "ensure-repo":
        assert pusher.tagged("team/net") == before


def test_no_sign_in_is_named(pusher: Pusher, repository: str, image: Made) -> None:
    pusher.env = pusher.aws.user(policy(NEEDS["push"], token=False))
    done = run(pusher, "push", image)
    assert done.code == 4 and '"Action": "ecr:GetAuthorizationToken", "Resource": "*"' in done.error["hint"], done


def test_a_repository_without_its_rules_is_removed(pusher: Pusher) -> None:
    """Who may not set the lifecycle policy makes no repository: it goes again, or the answer says that it stayed."""
    actions = ["DescribeRepositories", "CreateRepository", "TagResource"]
    pusher.env = pusher.aws.user(policy([*actions, "DeleteRepository"], token=False))
    done = pusher.call("ensure-repo", "team/net")
    assert done.code == 4 and "ecr:PutLifecyclePolicy" in done.error["hint"], done
    assert pusher.ecr().describe_repositories()["repositories"] == []
    pusher.env = pusher.aws.user(policy(actions, token=False), "another")
    left = pusher.call("ensure-repo", "team/net")
    assert left.code == 4 and "team/net" in left.data["left"], left
