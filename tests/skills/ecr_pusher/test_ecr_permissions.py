"""Each verb of push_image.py calls what its policy in infrastructure/aws-cli/policies names, and that is enough."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ecr_call import Pusher
from ecr_made_images import Made

from tests.infrastructure import aws_policies as policies

REPOSITORY = "team/net"


def as_user(pusher: Pusher, verb: str, name: str, without: str = "") -> Pusher:
    return replace(pusher, env=pusher.aws.user(policies.policy(verb, repository=REPOSITORY, without=without), name))


def exact(pusher: Pusher, verb: str, called: set[str]) -> None:
    assert policies.refused(pusher.aws, pusher.env) == set()
    assert called == policies.actions(policies.policy(verb, repository=REPOSITORY)) - policies.IN_ANOTHER_CALL


def test_ensure_repo_needs_its_policy(pusher: Pusher) -> None:
    """Making it, and finding it there."""
    user = as_user(pusher, "ensure-repo", "maker")
    for _ in range(2):
        assert user.call("ensure-repo", REPOSITORY).code == 0
    exact(user, "ensure-repo", policies.called(user.aws, user.env))


def test_push_needs_its_policy(pusher: Pusher, repository: str, image: Made) -> None:
    """Through the API of layers, through the registry, and with the next version as tag: one policy for all."""
    user = as_user(pusher, "push", "pusher")
    for more in (("--tag", "1", "--via", "api"), ("--tag", "2"), ("--tag-strategy", "semver")):
        done = user.call("push", image.word, "--repository", repository, *more)
        assert done.code == 0, done
    exact(user, "push", policies.called(user.aws, user.env))


@pytest.mark.parametrize("verb", ["promote", "verify", "tags"])
def test_each_verb_needs_its_policy(pusher: Pusher, repository: str, image: Made, verb: str) -> None:
    assert pusher.call("push", image.word, "--repository", repository, "--tag", "build-1").code == 0
    user = as_user(pusher, verb, verb)
    words = {
        "promote": (repository, "--from", "build-1", "--tag", "1.0.0"),
        "verify": (f"{repository}:build-1",),
        "tags": (repository,),
    }
    done = user.call(verb, *words[verb])
    assert done.code == 0, done
    exact(user, verb, policies.called(user.aws, user.env))


def test_a_missing_permission_is_named(pusher: Pusher, repository: str, image: Made) -> None:
    """The control: without PutImage the push ends with exit 4 and the statement."""
    user = as_user(pusher, "push", "less", without="ecr:PutImage")
    refused = user.call("push", image.word, "--repository", repository, "--tag", "1", "--via", "api")
    assert refused.code == 4 and "ecr:PutImage" in refused.error["hint"], refused
