"""The policies of infrastructure/aws-cli/policies for push_image.py are what test_ecr_permission.py finds out by calling."""

from __future__ import annotations

import pytest
from ecr_call import Pusher
from test_ecr_permission import NEEDS, SIGNS_IN

from tests.infrastructure import aws_policies as policies


@pytest.mark.parametrize("verb", ["push", "ensure-repo", "promote", "verify", "tags"])
def test_a_file_holds_what_its_verb_needs(verb: str) -> None:
    """`push` in all its ways; `ensure-repo` also where it finds a repository."""
    needed = {f"ecr:{action}" for way, actions in NEEDS.items() if way.split(" ")[0] == verb for action in actions}
    needed |= {"ecr:GetAuthorizationToken"} if verb in SIGNS_IN else set()
    needed |= {"ecr:ListTagsForResource"} if verb == "ensure-repo" else set()
    assert policies.actions(policies.policy(verb, repository="team/net")) == needed


def test_a_repository_that_is_there_is_looked_at(pusher: Pusher, repository: str) -> None:
    granted = policies.policy("ensure-repo", repository=repository)
    pusher.env = pusher.aws.user(granted)
    assert pusher.call("ensure-repo", repository).document["changed"] == []
    assert "ecr:ListTagsForResource" in policies.called(pusher.aws, pusher.env)
